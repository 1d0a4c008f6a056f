// Package state holds what a job remembers: keyed tables in key groups, handles
// on them (value, list, map, reducing, aggregating), operator state (list, union
// list, broadcast), the encoding of snapshots, and the folder in which snapshots
// and logs are kept durably.
//
// Tables are typed. In memory, the default, an update touches one slot of a small
// chunk. Every entry remembers the epoch of its last change, so that a snapshot
// can be full or hold only what changed since the one before: micro-batch writes
// such a delta per batch, dataflow a full one per checkpoint. A snapshot is taken
// at once and written beside: see Set.SnapshotAsync. Non-obvious:
//
//   - A pointer from Ref is good until the next call on its table or set. A
//     snapshot is such a call: it freezes chunks, and the next Ref may copy one.
//   - What a value points to is shared between a frozen chunk and its copy. It is
//     parted when the entry is first touched, by Isolator or by encoding and
//     decoding; so values from Get and Each must not be changed.
//   - A deletion leaves a mark, because the next delta must tell of it, unless the
//     key came in the same epoch. Marks told of are freed little by little.
//   - Every subtask restores from the snapshots of all old subtasks: key groups
//     pick the keyed state, and operator state is dealt out by rules that need no
//     talk between subtasks.
//   - Slots and the index are never given back, only used again: a table keeps the
//     size of its fullest moment.
//
// With a Backend (package lsm) a table is a bounded cache in front of a sorted
// store on disk.
package state
