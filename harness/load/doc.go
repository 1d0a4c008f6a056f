// Package load is the open-loop generator, a process of its own: it hands each
// record to the Kafka client when the plan says that it is due, whatever the
// system under test does, and tells the parent how far it strayed from that.
//
// The process speaks JSON lines (package proc): first the Job, then commands
// (start, grow, stop), answered by events. Nothing travels per record: parent
// and load process hold the same plan, and the one thing that is decided while
// it runs, from which record on grown partitions are used, is one event.
//
// Non-obvious:
//
//   - A record is never handed over before it is due, so records leave in
//     small groups, at most a tick late. That slip is recorded for each record.
//   - The producer is idempotent and alone on its topics, so that a record's
//     offset must be its sequence; every acknowledgement is checked for it. The
//     observer relies on this identity.
//   - When the client's buffer is full the hand-over blocks; the schedule does
//     not move, the records are late and the slip shows it.
//   - A stop ends the load at what is due at that moment; what is due and not
//     yet handed over is still sent, so the number sent follows from the plan.
package load
