// Package broker gives a run its Kafka: the embedded one in a process of its
// own, a real Kafka started from Maven's jars, a container, or brokers that the
// user names. What a run does with it (create topics, grow them, delete what
// nobody needs any more) goes through the Kafka protocol and is the same for
// all four.
//
// The embedded broker is kfake: the real wire protocol, started in a
// millisecond, all records in its heap. Non-obvious about it:
//
//   - It serves every request from one goroutine; its consume path costs
//     several times a real broker's processor time. Figures taken on it are
//     read as ratios to the floors of the same run.
//   - A log is a list of segments that grow by doubling, so it holds up to
//     twice its bytes, and DeleteRecords frees whole segments only. Topics on
//     it therefore have small segments.
//   - Each DeleteRecords walks the index of every batch that the partition
//     holds: it is called once in a while for many records, not often for few.
//   - Without a limit per partition it holds everything for ever; see Trimmer.
package broker
