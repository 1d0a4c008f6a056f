// Package fetch is the shuffle between executors in several processes. What a
// map task has written stays where it ran, in the executor's [Store], by
// downstream partition; the task that reads a partition fetches its part of each
// output from wherever that lies ([Client]), as Spark's blocks are fetched. It
// goes over connections of package exchange/remote, with its flow control: a
// task that reads slowly has a bounded number of buffers on their way to it.
//
// # On a connection
//
// The process that fetches dials. Channel 1 carries its requests; every other
// channel is a lane, on which the answers to one request after the other come:
//
//	begin (request, up) | buffers of that output | begin … | end (request, error)
//
// A lane whose reader has given up in the middle is used again: its next reader
// skips what comes before its own first answer.
//
// # What is kept
//
// Outputs are read as often as attempts need them, so a fetch lends views of
// their buffers; of outputs that were spilled (package spill) a few buffers are read
// ahead of what has gone out. An output that is dropped while some are on loan gives its
// buffers back with the last of them.
package fetch
