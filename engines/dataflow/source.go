package dataflow

import (
	"fmt"
	"math"
	"sync/atomic"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/pipeline"
)

// slice is how many records of a batch are pushed at most between two looks into the
// mailbox: a throttled sink in the same task must not keep a barrier waiting for a
// whole batch. Of a buffer it is frameBytes times as many bytes.
const (
	slice      = 256
	frameBytes = 16
)

// sourceReader is the head of a source's subtask.
type sourceReader struct {
	task  *task
	node  *pipeline.Node
	head  pipeline.SourceHead
	fetch *fetcher

	splits map[connectors.SplitID]*split
	order  []*split // in order of assignment

	batch  *connectors.Batch
	split  *split // the batch's
	next   int    // first record of it not pushed
	window connectors.Batch

	last barrier // of the checkpoint to take when reading has stopped
	kept bool    // reading stops for that, which is not the stream's end
	idle bool    // all splits are idle: said so downstream
}

// split is a split that this subtask reads.
type split struct {
	connectors.Split
	position connectors.Position
	until    connectors.Position // or NoEnd
	begun    bool                // its first record has been taken in
	splitTime
	shown *splitView
}

// splitView is a split's progress as other goroutines see it.
type splitView struct {
	position atomic.Int64
	reached  atomic.Int64 // behind what the subtask was handed, pushed or not
	latest   atomic.Int64
	// Of its event time: its watermark, and how long it has been read, was paused and
	// was idle, in monotonic nanoseconds, as the last tick has found it.
	watermark            atomic.Int64
	active, paused, idle atomic.Int64
	ticked               int64 // the source's own
}

// tick shows the split's event time; the time since the tick before is that of what
// the split is found in.
func (v *splitView) tick(now, watermark int64, paused, idle bool) {
	v.watermark.Store(watermark)
	spent := &v.active
	switch {
	case paused:
		spent = &v.paused
	case idle:
		spent = &v.idle
	}
	if v.ticked != 0 {
		spent.Add(now - v.ticked)
	}
	v.ticked = now
}

// assign is mail: splits for this subtask.
type assign []assignment

type assignment struct {
	connectors.Assignment
	watermark *int64 // reached before a restore
	view      *splitView
}

func (s *sourceReader) assign(as assign) {
	list := make([]connectors.Assignment, len(as))
	for i, a := range as {
		sp := &split{Split: a.Split, position: a.From, until: a.Until, shown: a.view}
		sp.timer = s.idleTimer()
		s.splits[a.Split.ID] = sp
		s.order = append(s.order, sp)
		if a.watermark != nil {
			s.head.SetWatermark(a.Split.ID, *a.watermark)
		}
		list[i] = a.Assignment
		s.task.run.emit(engines.Discovered{Split: a.Split.ID, From: a.From})
	}
	s.fetch.assign(list)
}

// step pushes a slice of the current batch.
func (s *sourceReader) step() (progressed bool, err error) {
	t := s.task
	if s.batch == nil {
		b, over := s.fetch.take()
		if b == nil {
			if over {
				return s.over()
			}
			return false, nil
		}
		if err := s.begin(b); err != nil {
			return true, err
		}
	}
	s.window = *s.batch
	until := min(s.next+t.take, len(s.batch.Records))
	s.window.Records = s.batch.Records[:until]
	before := s.next
	s.next, err = s.head.Push(&s.window, s.next)
	t.shown.consumed.Add(int64(s.next - before))
	t.shown.held.Store(int64(len(s.batch.Records) - s.next))
	if s.next < len(s.batch.Records) {
		s.position(connectors.Position(s.batch.Records[s.next].Offset))
	} else {
		s.position(s.batch.Next)
		s.split.ended = s.batch.Done
		s.batch, s.split = nil, nil
		s.fetch.done()
		if s.node.Watermarks != nil && (s.aligned() != nil || t.run.cfg.Watermark.maximum()) {
			s.tick() // stream time follows the records, and a split is paused in time
		}
	}
	t.pushed()
	return true, err
}

func (s *sourceReader) begin(b *connectors.Batch) error {
	sp := s.splits[b.Split.ID]
	if sp == nil {
		return fmt.Errorf("source %q: its reader gave records of split %s, which it was not assigned", s.node.Name, b.Split.ID)
	}
	s.batch, s.split, s.next = b, sp, 0
	sp.shown.reached.Store(int64(b.Next))
	sp.shown.latest.Store(max(int64(b.Latest), sp.shown.latest.Load()))
	if len(b.Records) == 0 {
		return nil
	}
	sp.active()
	if !sp.begun {
		sp.begun = true
		s.task.run.emit(engines.FirstRecord{Split: b.Split.ID})
	}
	return nil
}

func (s *sourceReader) position(p connectors.Position) {
	s.split.position = p
	s.split.shown.position.Store(int64(p))
}

// over goes on behind the last record: with the last checkpoint, or with the
// end of the stream.
func (s *sourceReader) over() (progressed bool, err error) {
	t := s.task
	if s.last.id != 0 {
		b := s.last
		s.last = barrier{}
		return true, t.checkpoint(b, clock.Mono())
	}
	if s.kept {
		return false, nil
	}
	t.ending = true
	if t.run.eventTime {
		// The end of a stream is the end of its time, also of an idle one.
		s.setIdle(false)
		s.publish(math.MaxInt64)
		t.target, t.moving = math.MaxInt64, true
	}
	return true, nil
}

// positions returns how far the splits have been read.
func (s *sourceReader) positions() []checkpoints.Split {
	out := make([]checkpoints.Split, len(s.order))
	for i, sp := range s.order {
		out[i] = checkpoints.Split{ID: sp.ID, Partition: sp.Partition, Position: sp.position}
		if sp.until != connectors.NoEnd {
			out[i].Until = &sp.until
		}
		if wm, _ := s.head.Watermark(sp.ID); wm != pipeline.NoTime {
			out[i].Watermark = &wm
		}
	}
	return out
}

func (s *sourceReader) setIdle(idle bool) {
	if s.idle != idle {
		s.idle = idle
		s.task.broadcast(idleness{idle})
	}
}
