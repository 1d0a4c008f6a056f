// Package observer reads a job's output from outside and hands every row, with
// the moment it became visible, to the ledgers.
//
// Two views read the same topics: one read_committed, whose ledger is the
// result, and one read_uncommitted, which explains (rows that were written and
// aborted, the first row after a restart before it is committed). They assign
// partitions themselves, without a group: nothing may rebalance, and nothing
// that the job does can move them. New output partitions are found every
// Discover and are read from their beginning.
//
// # How it reads
//
// Each view has a connection of its own to every broker that leads partitions,
// with one fetch under way on it (fetch.go, conn.go). The goroutine that is
// woken by the answer walks its record batches where they lie, parses the rows
// and tells the ledger: a row changes no goroutine and becomes no struct of a
// client library. Against the library's consumer that halves the cost of bulk,
// and takes 40 to 65 % off at 10,000 rows a second, where each fetch brings few.
// Metadata and the final look at offsets and transactions go through a client.
//
// One read_uncommitted fetch could serve both views if the ends of transactions
// were worked out from the markers. But then the moment at which a committed row
// becomes visible would be inferred and not seen, and that moment is what is
// measured. So there are two.
//
// # When a row is visible
//
// A row is visible when the answer that carries it has been read from the
// socket; all rows of an answer share that moment. Two fetches from one broker
// are Pace apart, so that a job that writes record by record cannot make the
// observer fetch thousands of times a second: each fetch costs both sides more
// than a hundred records do, on the same cores as the job. The next fetch is
// sent before the rows of the last are handed over. So a latency reads too long
// by Pace or by the time that an answer takes to hand over (Stats.HandleMax),
// whichever is longer, at the most, and never too short. The read_uncommitted
// view, on which no latency hangs, rests longer.
//
// # Where it runs
//
// In the parent, as part of the process that waits for everything else. What
// the parent uses while a cell runs (getrusage of the process) is the
// observer's account: broker, load and worker are processes of their own, and
// what the parent does besides, a sample each 100 ms, is small and only makes
// the account an upper bound. A process of its own would add a protocol for
// rows or for ledgers, without telling more. The cost is stated by
// BenchmarkObserver against a broker in another process.
//
// # Non-obvious
//
//   - A position that the broker has trimmed is fatal for the observation and
//     never silently skipped: what was not seen cannot be counted.
//   - The rows of one output partition reach the ledger in offset order. The
//     ledger relies on it for per-key order and for state.
//   - A partition whose leader moves is not fetched from the new one before the
//     old one's rows are told.
//   - What another try can get over is tried for ever: nothing is lost by it, and
//     an output that is not read to its end fails an audit.
//   - Aborted rows are the rows of the read_uncommitted view that the
//     read_committed one does not have, once both have reached the end.
package observer
