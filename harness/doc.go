// Package harness runs the cells of a scenario: it starts the broker, the load
// and the worker as processes of their own, does to them what the scenario says,
// lets an observer and a ledger judge what comes out, and writes the run folder.
//
// It imports no engine: it speaks the worker protocol. What the engine says of
// itself explains figures (when it read a new partition, how much it holds); it
// never is the latency, the count of copies or the count of losses.
//
// # A cell
//
//	broker, topics → load ready, worker started, observers reading
//	→ the schedule's zero → the phases with their faults → closing records
//	→ drained → the worker stops → the ends of the output are read → judgement
//
// Only the worker, or one of the processes that it has, is ever killed. Everything that a cell started is gone when it
// returns, whatever happened in it.
package harness
