package microbatch

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"streamduel/engines"
	"streamduel/exchange"
)

// driveRealTime is real-time mode: batches of a fixed length, in which all stages
// run at the same time. What a batch took is known when it ends, and logged then;
// a crash in between repeats all of it.
func (r *run) driveRealTime() error {
	r.live = true
	if len(r.fragments) > 1 { // the channels are others than those of a batch's stages
		c := r.lastCommit()
		if err := r.rebuildAt(r.slots[0], c.Batch+1, c.Watermark); err != nil {
			return err
		}
	}
	for first := true; r.ctx.Err() == nil; first = false {
		if err := r.maintenance.failed(); err != nil {
			return err
		}
		if mode := r.stopMode(); mode != "" && !(mode == engines.StopDrain && r.bounded) {
			return nil
		}
		for _, s := range r.sources {
			if err := r.lookStreaming(s, first); err != nil {
				return err
			}
		}
		if over, err := r.realTimeBatch(); err != nil || over {
			return err
		}
	}
	return r.ctx.Err()
}

// realTimeBatch runs one batch; over is true when there is nothing left to read.
func (r *run) realTimeBatch() (over bool, err error) {
	g := r.slots[0].generation.Load()
	began := time.Now()
	b := &batch{slot: r.slots[0], watermark: max(r.watermark.Load(), r.lastCommit().Watermark), durations: map[string]float64{}}
	b.entry = &offsetEntry{Batch: r.nextBatch, Time: r.processingTime()}
	tasks := map[*task]*reading{}
	readings := g.readings()
	exhausted := make(chan struct{}, len(readings))
	var mu sync.Mutex
	var reports []report
	for _, x := range readings {
		tasks[x.t] = x
		x.src.assign = x.src.assign[:0]
		x.of = b
		x.exhausted = func() { exhausted <- struct{}{} }
		x.far = func(s said) {
			if s.Report == nil {
				x.exhausted()
				return
			}
			x.src.source.tookFar(s.Report)
			r.counts.Add(x.t.partition(), s.Report.Counted)
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, *s.Report)
		}
	}
	for _, s := range r.sources {
		s.deal(readings, 0)
	}
	ended := r.longRunning(g, b.entry.Batch<<7, tasks, func(_ *stage, t *task) error {
		x := tasks[t]
		if x == nil {
			t.state.shorten(t.State, b.entry.Batch, r.maintenance)
			if err := t.until(g.ctx, func() (bool, error) { return t.ProcessingTime(b.entry.Time) }); err != nil {
				return err
			}
			if err := t.relay(g.ctx); err != nil {
				return err
			}
			return t.finish(g.ctx, g, b)
		}
		if len(x.src.assign) == 0 {
			x.exhausted()
		}
		said, err := x.batch(g.ctx, g, b)
		r.counts.Add(t.Subtask, said.Counted)
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, said)
		return err
	})
	if err := r.awaitBatch(readings, exhausted, ended); err != nil {
		return false, err
	}
	b.durations["addBatch"] = millis(time.Since(began))
	to, lag := engines.Positions{}, int64(0)
	for _, s := range reports {
		maps.Copy(to, s.Ends)
		b.records += s.Records
		lag += s.Lag
	}
	r.waiting.Add(-b.records)
	r.progress.Store(r.written())
	at := b.entry.Time
	b.entry = r.entryOf(to, at)
	if wm := b.watermark; wm != noTime {
		b.entry.Watermark = &wm
	}
	if err := r.commitStreamed(b, r.nextWatermark(b)); err != nil {
		return false, err
	}
	r.told(b, lag, g.metrics(), began)
	over = r.bounded
	for _, s := range reports {
		over = over && (s.Ended || len(s.Ends) == 0)
	}
	return over, nil
}

// batch reads until the batch's end.
func (s *reading) batch(ctx context.Context, g *generation, b *batch) (said report, err error) {
	t := s.t
	t.state.shorten(t.State, b.entry.Batch, t.run.maintenance)
	if err := t.until(ctx, func() (bool, error) { return t.ProcessingTime(b.entry.Time) }); err != nil {
		return said, err
	}
	if err := s.run(ctx, func(order) error { return nil }); err != nil {
		return said, err
	}
	if err := t.finish(ctx, g, b); err != nil {
		return said, err
	}
	return s.report(ctx)
}

// awaitBatch ends the batch when its time is over, the job is to stop, or there
// is nothing left to read, and returns when no task runs any more.
func (r *run) awaitBatch(tasks []*reading, exhausted <-chan struct{}, ended <-chan error) error {
	timer := time.NewTimer(r.cfg.Interval.Std())
	defer timer.Stop()
	left := len(tasks)
	stop := r.stop
	for over := false; ; {
		select {
		case <-timer.C:
		case <-stop:
			stop = nil
			if r.bounded && r.stopMode() == engines.StopDrain {
				continue // the source's end ends the job
			}
		case <-exhausted:
			if left--; left > 0 || !r.bounded {
				continue
			}
		case err := <-ended:
			return err
		}
		if over {
			continue
		}
		over = true
		for _, x := range tasks {
			x.give(order{Marker: true, Last: true})
		}
	}
}

// relay passes on what the stages before send until all have ended the batch.
func (t *task) relay(ctx context.Context) error {
	open := 0
	over := make([][]bool, len(t.inputs))
	for i, in := range t.inputs {
		over[i] = make([]bool, len(in.from))
		open += len(in.from)
	}
	for open > 0 {
		idle := true
		for i, in := range t.inputs {
			for up := range in.from {
				if over[i][up] {
					continue
				}
				e, ok := in.live.rings[up][t.Subtask].Pop()
				if !ok {
					continue
				}
				idle = false
				if e.Buffer == nil {
					over[i][up] = true
					open--
					continue
				}
				if err := t.take(ctx, in, up, e.Buffer); err != nil {
					return err
				}
			}
		}
		if idle && open > 0 {
			t.Flush()
			if err := t.await(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *task) take(ctx context.Context, in taskInput, up int, b *exchange.Buffer) error {
	t.stage.meter.add(1)
	defer t.stage.meter.add(-1)
	if err := t.until(ctx, func() (bool, error) { return in.from[up].Feed(b) }); err != nil {
		return err
	}
	t.publishWritten()
	in.live.release(b)
	return nil
}

// finish ends the batch in a task: the watermark moves, the stages behind are
// told, the state and the sinks are made durable.
func (t *task) finish(ctx context.Context, g *generation, b *batch) error {
	t.stage.meter.add(1)
	defer t.stage.meter.add(-1)
	if err := t.until(ctx, func() (bool, error) { return t.Watermark(b.watermark) }); err != nil {
		return err
	}
	if err := t.until(ctx, t.EndBatch); err != nil {
		return err
	}
	t.Flush()
	t.progressed(0, 0) // taking in and letting go are one with waiting here
	t.countShuffled()
	for _, e := range t.Fragment.Out {
		g.live[e].end(t.Subtask)
	}
	if t.state != nil {
		begun := time.Now()
		n, err := t.state.write(t.State, b.entry.Batch+1)
		if err != nil {
			return fmt.Errorf("%s, partition %d: %w", t.Fragment.Name, t.Subtask, err)
		}
		t.stateBytes, t.stateTime = n, time.Since(begun)
	}
	if len(t.sources) == 0 { // the others report it
		t.run.counts.Add(t.Subtask, t.Metrics().Take())
	}
	return t.flushSinks(ctx)
}
