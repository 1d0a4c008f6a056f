// Package spill keeps shuffle outputs in files when memory is to hold no more of
// them. Buffers are appended to a [File], a channel's one after the other, and the
// [Segment] that they make is read from its beginning to its end, as often as
// attempts need it.
//
// # A block
//
//	length, records: uint32 | flags: byte | CRC-32C of these and the data: uint32 | data
//
// little-endian. Nothing is synced: what is lost with the process is computed
// again, and so is a block that its checksum does not fit.
package spill
