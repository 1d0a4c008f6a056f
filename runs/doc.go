// Package runs is the run folder: what a benchmark run leaves behind, how it
// is written while the run is going on, and how it is read back.
//
// The raw results are the artifact. A run only appends to its own folder;
// reports, comparisons and exports re-read it and never need the run again.
//
//	results/<set>/<UTC time>-<commit>/
//	    run.json                what ran where, written first
//	    summary.json            every figure, for machines; written last
//	    report.html, plots/     drawn later by package report
//	    cells/<cell>/cell.json      the cell's part of summary.json
//	                 job.json       what the worker was given
//	                 events.jsonl   the engine's events, each with the observer's clock
//	                 latency.hlog   HdrHistogram interval log, a tag for each kind and phase
//	                 plan.json      both plans of the job
//	                 series.csv     a row each 100 ms
//	                 ledger.json    counts, and the first ids of each anomaly
//	                 stderr.log     what the worker logged
//	results/<set>/latest        link to the newest complete run
//
// Three rules hold everywhere:
//
//   - A figure that does not apply, was not measured or was withheld is
//     absent, never zero. In Go that is a nil pointer or a missing map entry,
//     in series.csv an empty field.
//   - A folder is a result only when it is complete: until [Writer.Finish] it
//     is called <name>.partial, and the link "latest" never names it. A
//     partial folder can be read all the same, from its cells.
//   - The package knows nothing of engines, brokers or workloads: names in it
//     are text.
//
// Every time within a cell (a phase's bounds, series.csv, events.jsonl,
// latency.hlog, marks) is in seconds since the cell's start on the observer's
// monotonic clock, so that the pictures can be laid over each other.
package runs
