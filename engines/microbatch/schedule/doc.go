// Package schedule decides where and when the tasks of a batch run. It is a pure
// core: it holds no goroutine, reads no clock and runs nothing. The same calls
// with the same times give the same decisions, which is how it is tested.
//
// The rules are those of Spark 4.1 (DAGScheduler, TaskSchedulerImpl,
// TaskSetManager, Pool):
//
//   - A job is a DAG of stages cut at shuffles. A stage whose parents are
//     complete becomes a task set, one task a partition.
//   - Free cores go to task sets in the pool's order: FIFO by (job, stage); FAIR
//     first to the pools below their minimum share, by how full that is, then by
//     running tasks over weight, ties by name.
//   - Within a task set a core first takes what prefers its executor, then its
//     host, then what prefers nothing, then its rack, then anything. Each level
//     but the last waits, from when it was last of use, before the next is
//     allowed; a level without pending tasks is passed at once.
//   - A failed task runs again, MaxFailures times in all, then its job fails. A
//     stage that must not be repeated by itself fails its job at once: that is
//     how a sink stage inside a transaction leads to the whole batch again.
//   - An executor that is lost takes its running tasks and the shuffle output
//     that lay on it; both are computed again elsewhere, and neither counts as a
//     failure.
//   - A task much slower than its set may be run a second time on another host.
//     This is off by default and never done for stages that write to a sink.
//
// # Non-obvious
//
//   - Executors are offered in the order in which they were added, one task each
//     a round. Spark shuffles them; a pure core must not.
//   - A job that has failed is reported as ended only when the last of its
//     attempts has: they hold what the next try needs.
//   - Lists of pending tasks are cleaned when they are read. An entry counts only
//     if the task is pending since that entry was made; otherwise what a map's
//     order happened to clean would decide.
package schedule
