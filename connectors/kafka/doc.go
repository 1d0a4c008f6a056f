// Package kafka reads and writes Kafka topics as connectors' contracts ask:
// partitions are assigned by hand and read from positions that the engine
// keeps, and output is written at most once, at least once or exactly once.
//
// # What is not obvious
//
//   - The reader sends its own fetch requests (fetch.go) and walks record
//     batches in place (package recordbatch). A position is an offset; it passes
//     transaction markers and aborted records, so Latest−Next may be more than
//     the records that are left, and a batch may carry none.
//   - A range that ended keeps what was fetched beyond it. Assigning the next
//     range at that end costs no request.
//   - Nothing is read from another position than the assigned one. A position
//     that is gone is an error that names topic, partition and what is there.
//   - Transactional ids are <job>/<node>/<subtask>/<k>, and <job>/<node>/batch
//     for a Transaction. They must be stable over restarts and unique among the
//     jobs of a cluster.
//   - Sink.Recover must be called once at every start under exactly-once, also
//     without committables, before any Writer is opened: it fences older
//     processes. A committable that is committed already, and whose id was
//     initialized since, is refused by brokers as if it were lost; recovery
//     tells the two apart by reading one of its records.
//   - A Transaction whose id was fenced, or whose transaction the broker gave
//     up (both look the same since KIP-890), cannot be used again. Open a new
//     one, after making sure that this process is still the owner.
//   - Positions of a batch without output go by a plain offset commit, which no
//     broker fences; ownership of the id is checked right before, and between
//     the two lies a round trip.
//   - Record timestamps are the user's. No limit on delivery may count from
//     them (the client's own does).
//
// # Running the tests against a real broker
//
// The tests run against an embedded broker (kfake). With
//
//	STREAMDUEL_TEST_BROKERS=127.0.0.1:9092 go test ./connectors/kafka
//
// the same tests run against the brokers named. They create topics under names
// of their own and leave them there. BenchmarkPassThrough heeds it, too.
package kafka
