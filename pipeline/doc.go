// Package pipeline is the language in which a job is written once and run by
// either engine: typed streams that build a graph.
//
//	g := pipeline.New("word count")
//	lines  := pipeline.From(g, "lines", source, decodeLine)
//	words  := pipeline.FlatMap(lines, "split", splitWords)
//	counts := pipeline.Reduce(pipeline.KeyBy(words, wordOf), "count", add)
//	pipeline.To(counts, "out", sink, encodeCount)
//
// A graph is lazy: nothing runs until an engine cuts it into fragments (Cut)
// and builds each fragment's tasks (Fragment.Build). Which edges become
// exchanges, how many tasks there are, and when records, watermarks and timers
// are pushed is the engine's decision. The operators are the same objects under
// both.
//
// # How a task works
//
// Building a task makes one chain of typed receivers, func(v T, c *Ctx), from
// its inputs to its exchange writers and sinks. A record moves through it by
// plain calls: no boxing, no allocation, no queue. Types meet bytes only in the
// receivers that the ends of the chain are made of. The engine holds untyped
// handles: SourceHead and Input to push batches and buffers, the Task for
// watermarks, time, snapshots.
//
// # Non-obvious
//
//   - Ctx is one value per task, reused for every record.
//   - A value that comes out of an exchange or a source may alias the buffer
//     it was decoded from (codec views). It is valid during the push; state
//     tables clone what they keep.
//   - A push never blocks for want of a buffer. Feed and Push look at the task's
//     pressure before each record and return early when an output is starved.
//     A sink's Write may block: that is the sink's throttle and counts as busy.
//   - An operator with several inputs has a port for each: its builder gives one
//     typed receiver a port, and an edge knows to which it leads.
//   - An operator that waits for something outside counts as starved while its
//     queue is full, so the same look before each record holds the input back.
//   - A pointer from a table's Ref ends with the next call on any table of the
//     task, and setting a timer is one.
//   - An operator that fails calls Ctx.Fail; Feed and Push return the error
//     before they take another record.
package pipeline
