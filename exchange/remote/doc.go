// Package remote carries the channels between two processes over one TCP
// connection. On the sending side a channel is a ring that a task's outlet
// pushes into, on the receiving side a ring that a task reads from, so that a
// task knows nothing of where its neighbour runs.
//
// # Flow control
//
// With credit (Flink since 1.5) the receiver sets buffers aside and tells the
// sender how many; nothing else is sent, so that what arrives always finds room
// and a slow channel holds up only itself. The account is package credit.
//
// With tcp (Flink before 1.5) the sender sends what it has, and the receiver
// stops reading from the connection while a gate has no free buffer: then TCP's
// window closes, and every channel on the connection waits for the slow one.
// It is there to be seen, not to be used. So that nobody waits for ever, channels
// that feed each other must not share a connection, and a task that takes nothing
// of one channel until something has come on another says so (Gate.Beyond).
//
// # On the wire
//
// A connection begins with a greeting in both directions (magic number, version,
// names, a token that both were given). Then frames, integers little endian:
//
//	kind 1 | flags 1 | reserved 2 | channel 4 | length 4 | count 4 | backlog 4 | body
//
//	data     flags, records (count), the backlog behind it, the buffer's bytes
//	event    an encoded event; flags 1: it overtakes, here and in the receiving ring
//	credit   count more buffers for a channel
//	backlog  buffers that wait without credit
//	ping     nothing: the sender lives
//	bye      the sender closes in order
//	size     how many bytes the channel's next buffers should take (count)
//
// # Goroutines and memory
//
// Two goroutines a connection, however many channels. Frames that are ready go
// out together in one system call of up to batchBytes; a buffer goes back to
// its pool when the kernel has it.
//
// # Failure
//
// A peer that is silent for Config.Silence, half-open connections included, has
// failed. A connection fails once, with one error that names the peer, and never
// comes back: what was on its way is lost, so the job must go back to a
// checkpoint anyway.
package remote
