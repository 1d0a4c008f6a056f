// Package plan is the open-loop schedule: which record is due when, and in
// which partition it lies. It does no I/O and reads no clock.
//
// A [Plan] is a pure function of the load's [Shape] and of a list of epochs. An
// epoch says: from record i on, records go round robin over these partitions.
// The load process and the observer hold the same plan, so that (partition,
// sequence) is enough to know of a record when it was due, which bytes it has
// and what number it bears, with no message per record between the two.
//
// An epoch is appended while the load runs: when the generator has learned of
// new partitions it picks the index from which it uses them and tells the
// parent once. Both sides then compute the same first sequences.
//
// Invariants that are easy to break:
//
//   - Record i is due at the last moment t at which the integral of the rate
//     over [0, t) is i or less, in whole nanoseconds. A rate of r over a length
//     T holds exactly r·T records, and none is due inside a pause.
//   - Global partition numbers are given in order of first appearance and never
//     change: those of a topic that is added later come after all earlier ones.
//   - A sequence is the record's Kafka offset, so an epoch counts on from where
//     the partition stands, and the closing record is the partition's last.
package plan
