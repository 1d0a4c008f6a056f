// Package window groups the records of a keyed stream by time, by count or by
// activity, and evaluates each group: Flink's windows under Flink's names.
//
//	w := window.On(pipeline.KeyBy(views, campaignOf), window.TumblingEventTime(10*time.Second)).
//		AllowedLateness(time.Minute).
//		SideOutputLate(late)
//	counts := window.AggregateWith(w, "count", window.Count[View](), row)
//
// A window is evaluated by Reduce, Aggregate or Process (all its records at
// once); ReduceWith and AggregateWith hand the incremental result to a function
// that sees the window, too.
//
// # Semantics
//
// Times are Unix milliseconds. A window [start, end) holds the records with
// start ≤ timestamp < end; its max timestamp is end − 1. With event time it
// fires when the watermark has reached that, and is kept for the allowed
// lateness after it: a record that comes in between fires it again. A record all
// of whose windows are gone is late and leaves by the side output. What a window
// emits has the window's max timestamp for event time. With processing time the
// window fires when processing time has reached its max timestamp; in
// micro-batch that is the timestamp of a batch.
//
// # Two operators
//
// Tumbling and sliding windows that have their default trigger, no evictor and
// an incremental function share panes (panes.go): each record is added to one
// pane, whatever size/slide is, and a window that fires merges its panes; with
// an inverse, a running result takes in the pane that comes and gives up the one
// that goes. All else is done window by window (windows.go), with a trigger, as
// Flink's WindowOperator does.
//
// # Non-obvious
//
//   - State is one table entry a key that holds the key's panes or windows with
//     their timers. What is due when is an index over it (agenda.go), rebuilt
//     after a restore; nothing but the table is in the snapshot.
//   - A key's entry goes when its last window goes.
//   - With many keys the operators are shown the records that come next and load
//     their entries together (Operator.Warm); this changes nothing but the cost.
//   - A window does not exist before it has a record: empty windows do not fire.
//   - Reduce functions and accumulators must copy what they keep of a record.
package window
