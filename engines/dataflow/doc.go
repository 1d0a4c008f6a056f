// Package dataflow is the event-driven engine: long-running tasks take each
// record as it comes, hand it on in buffers, and make progress durable by
// barriers that travel with the records. It does what Flink does.
//
// # From a job to goroutines
//
// The stream graph, as written, is cut into fragments by Flink's chaining rule
// (chainable): that is the job graph, which Plan returns. Each fragment times
// its parallelism gives the execution graph (build.go): a subtask is one
// goroutine with a mailbox (task.go); an edge between two subtasks is one ring.
// A source's subtask has a second goroutine, the fetcher, because a poll waits.
// Beside them run the coordinator (coordinator.go), one enumeration a source
// (enumerate.go), and two tickers that all share (clocks.go).
//
// # A subtask
//
// Between two steps of its default action (push one buffer, or a slice of a
// batch) a subtask handles its mail in a fixed order: messages of the
// coordinator as they came, then the flush of partly filled buffers, then the
// watermark tick. Before a step it looks whether an output lacks a free buffer;
// if so it waits in the mailbox. A step is, in this order: processing-time
// timers, a watermark that has not reached all operators, the end of the stream,
// the buffer or batch at hand, the next element of an input channel. The inlet
// takes channels in turn, one buffer each.
//
// # Buffers and pressure
//
// An outlet has a few buffers for each channel, some more that float between
// them, and an overdraft for the record that a task is in the middle of.
// Nothing else bounds a ring. A slow reader keeps its buffers, its writer finds
// none and stops, and so on up to the source, which stops polling: the backlog
// stays outside. Events (barriers, watermarks, ends) need no buffer.
//
// # A checkpoint
//
//	coordinator: trigger ──► sources: D0, barrier, positions
//	                              │ rings, in order with the records
//	                              ▼
//	             subtask: first barrier D1 … last barrier
//	                      barrier onward, snapshot, D2, sinks flush and prepare, D3
//	                      state file in the background, ack
//	                              │
//	coordinator: all acked D4 ► metadata written: durable D5 ► tell the sinks
//	             sinks commit, D6 between the first and the last ► D7
//	             positions published for monitoring ► D8
//
// Exactly-once blocks a channel that has delivered its barrier until all have;
// else barriers are only counted (align.go). One checkpoint is under way at a
// time, its commits included. Sinks flush under every guarantee, so that what
// lies before a durable position is also outside. At-least-once and exactly-once
// go back to the newest checkpoint that is whole; at-most-once has each batch's
// end committed before the batch is processed and goes back to that, with the
// state of the newest checkpoint.
//
// # Recovery
//
// In this order (build.go): a new attempt, which stops an old process; the
// newest whole checkpoint; under exactly-once every sink commits again what that
// checkpoint lists (R1 before, R2 behind) and aborts the rest; the checkpoint is
// written anew without committables; only then writers, state and positions.
//
// # The end
//
// A drained or bounded source sends its last watermark and an end event; when
// all subtasks have passed theirs on, the coordinator takes a last checkpoint.
// Barriers still flow behind an end, so the last checkpoint is like any other.
//
// # Non-obvious
//
//   - The prepared epochs of a checkpoint that was given up stay pending: the
//     next checkpoint lists them too, and its commit commits them, in order.
//   - An epoch's transactional id is released only when no checkpoint file lists
//     it: commits come before the release, deletion of the file between them.
//   - Between Recover and the first writer the checkpoint is rewritten without
//     its committables. Otherwise a second crash before the next checkpoint
//     would find ids that have been initialized since.
//   - A first start writes a checkpoint of positions only. So a restart before
//     the first real checkpoint begins at the same records, wherever the source
//     would begin by then.
//   - State files carry the attempt in their name and metadata is created
//     exclusively: an old process that wakes up can overwrite neither.
//   - The fetcher holds at most one batch and waits until it is pushed: a
//     reader's batch is valid only until the next poll. Its position is exact
//     inside the batch too, because a barrier may pass between two slices.
//   - A watermark is broadcast only when all operators of the subtask have
//     passed it, which a starved output can interrupt; a barrier may go between.
//   - A source that is held up by its own outputs does not count time against
//     its idle splits: it cannot know.
//   - Holding run.claiming at a failpoint keeps the positions that an
//     at-most-once job has committed the same here and outside until the process
//     is gone; without it a predicted loss could be off by a batch.
//
// # Task managers
//
// One runs in the worker's process. With more, each is a process with a run of its
// own (taskmanager.go) whose coordinator only passes on what it is told; in the
// worker a task stands for each subtask (members.go), so that the coordinator does
// not know where one runs. What they say is in wire.go (over cluster.Calls), the exchange
// between them in remote.go, the worker's duties beyond its process in beyond.go.
package dataflow
