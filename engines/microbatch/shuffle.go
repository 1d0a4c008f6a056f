package microbatch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"streamduel/engines/microbatch/spill"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

// retainedBuffers is how many free buffers a job keeps for its next batch, of
// 36 KiB each.
const retainedBuffers = 1024

// shuffle is the blocking exchange between two stages: each upstream task keeps
// its output by downstream partition until the stage is complete, then the
// downstream tasks read it; it is released when the task that read it has
// succeeded, because one that fails is run again.
//
// When all that the process keeps in memory is more than its limit, the task that
// writes puts its own output into a file and goes on. What others have left in
// memory stays there.
type shuffle struct {
	edge  *pipeline.Edge
	pool  *exchange.Pool
	bytes *atomic.Int64  // kept in buffers, over the whole job
	kept  [][]spill.Part // by upstream task, then downstream partition
	limit int64          // of bytes; below 0 there is none
	file  *spill.File
	up    []mapTask
}

// mapTask is what is known of an upstream task's output.
type mapTask struct {
	inMemory int64
	spilled  int64 // bytes put into the file
	err      error // of doing that; the rest stays in memory until the task sees it
}

func newShuffle(e *pipeline.Edge, up, down int, r *run, file *spill.File) *shuffle {
	s := &shuffle{edge: e, pool: r.buffers, bytes: &r.bufferedBytes, limit: int64(r.cfg.Shuffle.Memory), file: file}
	s.kept, s.up = make([][]spill.Part, up), make([]mapTask, up)
	for i := range s.kept {
		s.kept[i] = make([]spill.Part, down)
	}
	return s
}

// begin is called before an upstream task writes.
func (s *shuffle) begin(up int) { s.up[up] = mapTask{} }

// empty forgets the buffers of one channel, which their reader has released, and
// releases what was in files. The slices' arrays are used again when the upstream
// task runs next.
func (s *shuffle) empty(up, down int) {
	p := &s.kept[up][down]
	for _, x := range p.Segments {
		x.Release()
	}
	clear(p.Segments)
	clear(p.Buffers)
	p.Segments, p.Buffers = p.Segments[:0], p.Buffers[:0]
}

// yield hands over what an upstream task has written.
func (s *shuffle) yield(up int) []spill.Part {
	kept := s.kept[up]
	s.kept[up] = make([]spill.Part, len(kept))
	return kept
}

// drop releases what an upstream task has left.
func (s *shuffle) drop(up int) {
	for down := range s.kept[up] {
		for _, b := range s.kept[up][down].Buffers {
			s.release(b)
		}
		s.empty(up, down)
	}
}

func (s *shuffle) release(b *exchange.Buffer) {
	s.bytes.Add(-int64(len(b.Data)))
	b.Release()
}

// spillAt is how much a task has in memory at least before it spills, so that its
// channels' runs in the file are not short; with small limits it is less.
const spillAt = 1 << 20

// full reports whether a task is to spill what it has in memory.
func (s *shuffle) full(up int) bool {
	m := &s.up[up]
	return s.limit >= 0 && s.bytes.Load() > s.limit && m.inMemory >= min(s.limit/16, spillAt) && m.err == nil
}

func (s *shuffle) spill(up int) {
	m, parts := &s.up[up], s.kept[up]
	channels := make([][]*exchange.Buffer, len(parts))
	for down := range parts {
		channels[down] = parts[down].Buffers
	}
	segments, err := s.file.Append(channels...)
	if err != nil {
		m.err = err
		return
	}
	for down, x := range segments {
		if x == nil {
			continue
		}
		p := &parts[down]
		p.Segments = append(p.Segments, x)
		m.spilled += x.Len()
		for _, b := range p.Buffers {
			s.release(b)
		}
		clear(p.Buffers)
		p.Buffers = p.Buffers[:0]
	}
	m.inMemory = 0
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
	n := int64(len(b.Data))
	o.s.bytes.Add(n)
	o.s.up[o.task].inMemory += n
	p := &o.s.kept[o.task][ch]
	if p.Buffers = append(p.Buffers, b); o.s.full(o.task) {
		o.s.spill(o.task)
	}
}

// wrote returns the error of spilling what the task has written.
func (t *task) wrote() error {
	for _, s := range t.outputs {
		if err := s.up[t.Subtask].err; err != nil {
			return fmt.Errorf("%s, partition %d: shuffle output: %w", t.Fragment.Name, t.Subtask, err)
		}
	}
	return nil
}

// spilled returns how many bytes of its output the task has put into files.
func (t *task) spilled() int64 {
	if t.Task == nil {
		return t.last.Spilled
	}
	n := int64(0)
	for _, s := range t.outputs {
		n += s.up[t.Subtask].spilled
	}
	return n
}

// fetch feeds what one upstream task has for the task, from files and from memory.
func (t *task) fetch(s *shuffle, up int, from pipeline.Input) error {
	p := &s.kept[up][t.Subtask]
	if len(p.Segments) > 0 {
		b := s.pool.Overdraft()
		defer b.Release()
		for _, x := range p.Segments {
			if err := t.feedSegment(x, b, from); err != nil {
				return err
			}
		}
	}
	for _, b := range p.Buffers {
		b.Off = 0 // an attempt before may have read it
		if _, err := from.Feed(b); err != nil {
			return err
		}
		t.consumed = append(t.consumed, consumed{s, b})
	}
	return t.wrote()
}

func (t *task) feedSegment(x *spill.Segment, b *exchange.Buffer, from pipeline.Input) error {
	r := x.Read()
	defer r.Close()
	for {
		err := r.Next(b)
		if err == io.EOF { //nolint:errorlint // the reader returns it as it is
			return nil
		}
		if err == nil {
			_, err = from.Feed(b)
		}
		if err == nil {
			err = t.wrote()
		}
		if err != nil {
			return err
		}
	}
}

// spillFolder is the name of the folder of shuffle files, in the job's.
const spillFolder = "shuffle"

// newSpillFile names a file of this process for one generation's tasks.
func (r *run) newSpillFile() *spill.File {
	return spill.New(r.job.Folder, spillFolder, fmt.Sprintf("%s%s-%d", spillPrefix(r.attempt), r.self, r.spillFiles.Add(1)), &r.spilledBytes)
}

func spillPrefix(a *state.Attempt) string { return fmt.Sprintf("attempt-%d-", a.Number) }

// removeSpilled removes the files of this attempt, which executors that were killed
// have left, and at the start those of attempts before. Newer ones' are let be.
func (r *run) removeSpilled(before bool) error {
	dir := filepath.Join(r.job.Folder.Path(), spillFolder)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		var n int
		if _, bad := fmt.Sscanf(e.Name(), "attempt-%d-", &n); bad == nil && (n == r.attempt.Number || before && n < r.attempt.Number) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	_ = os.Remove(dir) // unless there is something left in it
	return err
}
