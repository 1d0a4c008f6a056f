package microbatch

import (
	"sync/atomic"

	"streamduel/exchange"
	"streamduel/pipeline"
)

// retainedBuffers is how many free buffers a job keeps for its next batch, of
// 36 KiB each.
const retainedBuffers = 1024

// shuffle is the blocking exchange between two stages: each upstream task keeps
// its output by downstream partition until the stage is complete, then the
// downstream tasks read it; it is released when the task that read it has
// succeeded, because one that fails is run again. Nothing bounds it within a batch: what bounds it is
// how much a batch takes.
type shuffle struct {
	edge  *pipeline.Edge
	pool  *exchange.Pool
	bytes *atomic.Int64          // kept in buffers, over the whole job
	kept  [][][]*exchange.Buffer // by upstream task, then downstream partition
}

func newShuffle(e *pipeline.Edge, up, down int, pool *exchange.Pool, bytes *atomic.Int64) *shuffle {
	s := &shuffle{edge: e, pool: pool, bytes: bytes, kept: make([][][]*exchange.Buffer, up)}
	for i := range s.kept {
		s.kept[i] = make([][]*exchange.Buffer, down)
	}
	return s
}

// empty forgets the buffers of one channel, which their reader has released. The
// slice's array is used again when the upstream task runs next.
func (s *shuffle) empty(up, down int) {
	clear(s.kept[up][down])
	s.kept[up][down] = s.kept[up][down][:0]
}

// yield hands over what an upstream task has written.
func (s *shuffle) yield(up int) [][]*exchange.Buffer {
	kept := s.kept[up]
	s.kept[up] = make([][]*exchange.Buffer, len(kept))
	return kept
}

// drop releases what an upstream task has left.
func (s *shuffle) drop(up int) {
	for down := range s.kept[up] {
		for _, b := range s.kept[up][down] {
			s.release(b)
		}
		s.empty(up, down)
	}
}

func (s *shuffle) release(b *exchange.Buffer) {
	s.bytes.Add(-int64(len(b.Data)))
	b.Release()
}

// mapOutput is one upstream task's side. A batch never waits for a buffer, so it
// always grants one; the pool's bound only limits what is kept afterwards.
type mapOutput struct {
	s    *shuffle
	task int
}

func (o mapOutput) Acquire(int) *exchange.Buffer   { return o.s.pool.Overdraft() }
func (o mapOutput) Overdraft(int) *exchange.Buffer { return o.s.pool.Overdraft() }
func (o mapOutput) Emit(ch int, b *exchange.Buffer) {
	o.s.bytes.Add(int64(len(b.Data)))
	o.s.kept[o.task][ch] = append(o.s.kept[o.task][ch], b)
}
