// Package microbatch runs a job as a sequence of small batches, as Spark does:
// with the clock and the rate control of discretized streams (Spark Streaming)
// or the trigger and the logs of structured streaming. The pure decisions are in
// packages control (when, how much) and schedule (where); dispatch.go is what
// stands between the scheduler and the executors.
//
// # A batch's life
//
//	trigger          the batch clock (control.Skipping, control.Queueing)
//	plan             new splits, one call for the ends of all, the rate limit
//	                 split by lag into ranges                       (run.plan)
//	  M0
//	offset log N     ranges, the batch's time, its watermark; created exclusively
//	  M1             at-most-once: positions are committed before this point
//	run              stages in the order of their DAG, each a task set for the
//	                 scheduler; outputs kept by partition in memory until the task
//	                 that reads them has succeeded (run.execute, task.process)
//	  M2             half of the rows written
//	state N+1        a delta file for each stage partition, written by its task
//	  T1, T2         exactly-once: before and after the sink's transaction ends
//	  M3
//	commit log N     the watermark it ran with and the next one
//	  M4
//
// Under the skipping clock planning and running take turns. Under the queueing
// clock planning has a goroutine of its own and the batches wait in a queue:
// their ranges are fixed at their tick, which is why a controller that learns
// from batches that ended learns late.
//
// # Triggers that do not wait for batches
//
// Under continuous the tasks of the one stage run for as long as the job and the
// driver sends epoch markers (continuous.go, control.Epochs); under real-time all
// stages of a long batch run at the same time over bounded channels (realtime.go,
// live.go). What both read is logged when it has been written; what a recovery
// finds logged and not committed is run again as an ordinary batch.
//
// # Recovery
//
// The newest commit log entry C says what is complete. Under exactly-once the
// sink is asked first, and it is right: output and positions are committed there
// together, with C's content as metadata; opening the transaction has fenced the
// process before. Batch C+1, and those behind it that are in the offset log,
// are run again from state version C+1, with the logged ranges and time. Without
// an entry the next batch is planned as if nothing had happened. At-most-once
// runs nothing again: it goes on from the committed positions with the newest
// state there is.
//
// A torn newest entry of the offset log was never acted upon and is removed; a
// torn newest commit means that the batch runs again. A damaged state version is
// refused under exactly-once; at-least-once goes back to the newest version that
// can be rebuilt and repeats the batches since, if the logs reach.
//
// # Executors
//
// The worker is the executor unless Config.Executors says more. Then each is a
// process with a run of its own (member.go) that makes, keeps and moves tasks as
// the driver says; in the driver a task only stands in (executors.go, standIn) and
// knows how the last attempt left it (outcome), so that the rest of the driver does
// not know where it ran. What they say to each other is in away.go, the shuffle
// between them in packages fetch and spill, the worker's duties beyond its process in
// beyond.go. Rows that the driver writes come as its own (rows.go): a stand-in
// writes them when its attempt has succeeded (task.land).
//
// # Event time
//
// The watermark moves between batches. A source's is the largest event time over
// all its splits less the delay (Spark; min-over-partitions waits for the
// slowest split), the job's the least over its sources, and it never moves
// back. Rows of batch N are late by the watermark of batch N−1, timers fire by
// that of N: in a task, rows come first, then the watermark moves. A batch
// without data runs only when the watermark or the clock has reached a timer, or
// once when bounded sources have ended.
//
// # Non-obvious
//
//   - State of version V is what batch V starts from; batch V writes V+1. Files
//     above the version that a recovery starts from are deleted before it, so
//     that versions of two histories are never mixed.
//   - Delta files alone make a batch durable. Full snapshots and purging are done
//     beside, by the maintenance goroutine, and may be lost. A full snapshot is taken
//     when the batch behind its version begins, so never of a batch that failed.
//   - The number of state partitions is pinned at the first start, as in Spark.
//   - Tasks, readers and writers live across batches, in a generation. A task
//     that has failed holds half-changed state, so its next attempt begins with a
//     new task, from the state version before the batch. Four failures of one
//     task fail the batch and with it the job. A task that writes is not run
//     again by itself unless the guarantee is at-least-once: exactly-once aborts
//     and runs the whole batch again, in a new generation; at-most-once fails.
//   - Buffers of a shuffle remember how far a reader came; a further attempt
//     rewinds them.
//   - A task never waits for a buffer. Above shuffle.memory it puts what it has
//     written so far into the generation's file (package spill), of which parts are
//     read with one buffer at a time; an attempt that comes later reads them again.
//   - With several sinks under exactly-once each has a transaction of its own.
//     A crash between two commits leaves the batch in the first sinks only; it
//     is run again and their rows are dropped.
//   - Failpoints are passed by batches with records only.
//   - Delays are measured on the monotonic clock; batch times come from the
//     runtime's clock, which may be stepped, and never go back.
package microbatch
