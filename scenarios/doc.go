// Package scenarios holds the scenario files of schema
// streamduel/scenario/v1: their types, the strict loader, the values that may
// be overridden from the command line, the gate language, and the expansion of
// a file into the cells that are run.
//
// A scenario is data. It says what load is offered, what is done to the system
// under test and what must hold afterwards; it never says how. Loading one is
// therefore the place where every mistake of a user should be found: a
// misspelt field, a window of 0 s, a crash point that the engine does not have
// or a gate over a figure that no run will ever contain. Each of them is one
// line that names file, line, column, value and what is allowed:
//
//	duel.yaml:7:9: load.rate: value "-1": a rate above 0, such as 5000/s or 10k/s
//
// # What this package may know
//
// It is on the ground floor and imports nothing of ours. What the engines,
// the workloads and the result format contribute to the language comes in
// through a [Vocabulary], which the command fills.
//
// # How a file becomes cells
//
//	bytes → syntax tree → plain tree of nodes with positions
//	      → --set values grafted onto the tree (they carry "--set" as position)
//	      → strict decoding into a [Scenario]      (unknown fields, wrong types)
//	      → validation against the vocabulary      (impossible values)
//	      → matrix: one Scenario a combination, decoded again from the tree
//	      → [Expand]: guarantee × engine × matrix × repetition → ordered [Cell]s
//
// Overrides work on the tree and not on the decoded value, so that they are
// checked by the same code as the file, and an error in one names it.
//
// # Subset of YAML
//
// Anchors, aliases, tags and merge keys are refused: a scenario hash and a
// line number should mean the same thing to everybody who reads the file.
package scenarios
