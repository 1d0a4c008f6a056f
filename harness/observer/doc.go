// Package observer reads a job's output from outside and hands every row, with
// the moment it became visible, to the ledgers.
//
// Two clients read the same topics: one read_committed, whose ledger is the
// result, and one read_uncommitted, which explains (rows that were written and
// aborted, the first row after a restart before it is committed). They assign
// partitions themselves, without a group: nothing may rebalance, and nothing
// that the job does can move them. New output partitions are found every
// Discover and are read from their beginning.
//
// # When a row is visible
//
// A row is visible when the fetch response that carries it has arrived. The
// client's hook notes that moment; the rows of one poll share it. Between polls
// the observer rests for Pace, so that a job that writes record by record
// cannot make it fetch thousands of times a second: each fetch costs client
// and broker more than a hundred records do, on the same cores as the job.
// Because the next fetch is in flight during the rest, its arrival is noted as
// it happens; only a response behind that one waits, at the most for Pace. So
// latencies read up to Pace too long and never too short. The read_uncommitted
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
//   - Aborted rows are the rows of the read_uncommitted view that the
//     read_committed one does not have, once both have reached the end.
package observer
