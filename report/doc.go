// Package report draws a run: one HTML page that works offline, PNG pictures,
// a table for the terminal, and Markdown. It reads the run folder and nothing
// else, so that a report can be drawn again at any time, also of a run that
// was broken off.
//
// All four forms are drawn from one [View], which holds the sentences, tables
// and charts; the forms differ in dress only. The path of a figure is
//
//	run folder → runs.Folder → view (view.go, findings.go, attention.go,
//	tables.go, charts.go) → html.go, png.go, text.go, markdown.go
//
// Rules that every form keeps:
//
//   - What needs attention comes first, with its remedy.
//   - A figure that was withheld shows the reason in its place; one that does
//     not apply shows nothing.
//   - An interval is stated only from six repetitions on; below, the report
//     says how many there were and states none.
//   - Engines are told apart by colour, by line style and by name, never by
//     colour alone.
package report
