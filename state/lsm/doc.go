// Package lsm keeps keyed state in a log-structured merge tree (pebble) on disk,
// so that it may be larger than memory.
//
// A subtask has a database of its own in a working folder, which is nothing but
// a cache of what snapshots hold: it has no log, and a restart begins with an
// empty one. A table stands in front of it with a bounded cache of decoded
// entries; only what leaves that cache is encoded.
//
// A snapshot takes the database's files by hard link. Those with entries never
// change once written, so a snapshot gives names in the shared folder to the
// files that are new since the last one, and lists all of them with the few
// small files that make a database of them. Two databases never give two files
// the same name there. Non-obvious:
//
//   - What is asked for key by key is written to a hash table, which the background
//     sorts and makes a file of the database; only tables whose keys are gone
//     through in order use the memtable.
//   - A cut only begins a new buffer and memtable. Until the background has made
//     files of the old ones and taken all, the database must not be written, or
//     the files could hold later changes: changed entries stay in the buffer or,
//     of tables that use the memtable, in the table's cache meanwhile, and only
//     when that has grown to twice its size does the table wait.
//   - Keys begin with their key group, so a restore at another parallelism takes
//     ranges: the old subtask that gives most is linked and what is not wanted of
//     it deleted by range; from the others the ranges are copied.
//   - Who retains snapshots calls Sweep with them, or the shared folder grows.
package lsm
