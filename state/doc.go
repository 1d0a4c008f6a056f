// Package state holds what a job remembers: keyed tables in key groups, the
// encoding of their snapshots, and the folder in which snapshots and logs are
// kept durably.
//
// Tables are typed and live in memory; an update touches one map entry. Every
// entry remembers the epoch of its last change, so that a snapshot can be full
// or hold only what changed since the one before: micro-batch writes such a
// delta per batch, dataflow a full one per checkpoint.
package state
