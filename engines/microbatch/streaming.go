package microbatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"sync"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/schedule"
	"streamduel/metrics"
)

// reading is a task that reads its source for as long as the driver wants, and
// reports where it is when the driver's marker comes by.
type reading struct {
	t       *task
	src     *taskSource
	mu      sync.Mutex
	orders  []order
	at      engines.Positions // behind what was pushed
	latest  engines.Positions // ends as last seen
	splits  map[connectors.SplitID]*split
	records int64 // pushed since the last report
	written int64 // by the task's sinks, at the last report
	ended   bool  // every split has reached its end
	// exhausted is called when that is so; nil where reports say it.
	exhausted func()
	// Where the task runs in an executor.
	on  *farAttempt // nil before it has begun
	of  *batch      // of trigger real-time
	far func(said)  // takes what it says
}

// order is what the driver tells a reading task: splits to read, or that an epoch
// ends here.
type order struct {
	Assign []connectors.Assignment `json:"assign,omitempty"`
	Marker bool                    `json:"marker,omitempty"`
	Epoch  int64                   `json:"epoch,omitempty"`
	Last   bool                    `json:"last,omitempty"` // and that the task ends with it
}

// report is what a task says of an epoch.
type report struct {
	Ends    engines.Positions `json:"ends"`
	Lag     int64             `json:"lag"`
	Records int64             `json:"records"`
	Written int64             `json:"written"`
	Took    time.Duration     `json:"took"`              // from the marker to the last acknowledgement
	Ended   bool              `json:"ended,omitempty"`   // there will be no further records
	Counted metrics.Update    `json:"counted,omitempty"` // by the functions
}

func newReading(t *task) *reading {
	return &reading{t: t, src: t.sources[0], at: engines.Positions{}, latest: engines.Positions{}, splits: map[connectors.SplitID]*split{}}
}

// give hands the task an order; it never waits.
func (s *reading) give(o order) {
	s.mu.Lock()
	if s.on != nil {
		s.on.order(o)
		s.mu.Unlock()
		return
	}
	s.orders = append(s.orders, o)
	s.mu.Unlock()
	if s.t.far {
		return // they wait until it has begun
	}
	wakeUp(s.t.wake)
	s.src.reader.Wake()
}

func (s *reading) next() (o order, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.orders) == 0 {
		return o, false
	}
	o = s.orders[0]
	s.orders = s.orders[1:]
	return o, true
}

// run reads until the last marker. marker is called at each. Bounded sources that
// have ended wait for it too.
func (s *reading) run(ctx context.Context, marker func(order) error) error {
	for {
		for {
			o, ok := s.next()
			if !ok {
				break
			}
			if err := s.assign(o.Assign); err != nil {
				return err
			}
			if !o.Marker {
				continue
			}
			if err := marker(o); err != nil || o.Last {
				return err
			}
		}
		if len(s.at) == 0 || s.ended {
			if err := s.t.await(ctx); err != nil {
				return err
			}
			continue
		}
		b, err := s.src.reader.Poll(ctx)
		if errors.Is(err, io.EOF) {
			s.ended = true
			if s.exhausted != nil {
				s.exhausted()
			}
			continue
		}
		if err == nil && b.Split.ID != "" {
			err = s.push(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("source %q: %w", s.src.source.node.Name, err)
		}
	}
}

func (s *reading) assign(as []connectors.Assignment) error {
	if len(as) == 0 {
		return nil
	}
	s.ended = false
	if s.t.run.member { // elsewhere who gives the order has noted it
		s.src.assign = append(s.src.assign, as...)
	}
	for _, a := range as {
		s.at[a.Split.ID], s.latest[a.Split.ID] = a.From, a.From
		x := s.src.source.split(a.Split.ID)
		if x == nil { // in an executor, which knows those that it reads
			x = s.src.source.add(a.Split, a.From)
		}
		s.splits[a.Split.ID] = x
	}
	if err := s.src.reader.Assign(as...); err != nil {
		return fmt.Errorf("source %q: %w", s.src.source.node.Name, err)
	}
	return nil
}

// push runs a poll's records through the task and sends what they gave on its
// way, because nobody knows when the next ones come.
func (s *reading) push(ctx context.Context, b *connectors.Batch) error {
	t, n := s.t, len(b.Records)
	if n > 0 {
		t.run.consumed.Add(int64(n))
		t.run.waiting.Add(int64(n))
		s.records += int64(n)
		t.stage.meter.add(1)
		defer t.stage.meter.add(-1)
		if _, err := t.ProcessingTime(t.run.processingTime()); err != nil {
			return err
		}
	}
	for i := 0; i < n; {
		next, err := s.src.head.Push(b, i)
		if err != nil {
			return err
		}
		if i = next; i < n {
			if err := t.relieve(ctx); err != nil {
				return err
			}
		}
	}
	t.Flush()
	t.publishWritten()
	s.at[b.Split.ID], s.latest[b.Split.ID] = b.Next, max(b.Latest, b.Next)
	s.src.source.passed(s.splits[b.Split.ID], b.Next, n > 0)
	return nil
}

// report tells where the task is. What it has written is acknowledged.
func (s *reading) report(ctx context.Context) (r report, err error) {
	begun := time.Now()
	if err := s.t.flushSinks(ctx); err != nil {
		return r, err
	}
	r = report{Ends: maps.Clone(s.at), Records: s.records, Took: time.Since(begun), Ended: s.ended, Counted: s.t.Metrics().Take()}
	for id, at := range s.at {
		r.Lag += int64(s.latest[id] - at)
	}
	var written int64
	for _, w := range s.t.writers {
		written += w.written.Load()
	}
	r.Written, s.written, s.records = written-s.written, written, 0
	return r, nil
}

func (t *task) flushSinks(ctx context.Context) error {
	for _, w := range t.writers {
		if err := w.Flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// await waits until somebody has something for the task.
func (t *task) await(ctx context.Context) error {
	select {
	case <-t.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// relieve waits until every output has a free buffer. That is time in which the
// task is not busy.
func (t *task) relieve(ctx context.Context) error {
	t.stage.meter.add(-1)
	defer t.stage.meter.add(1)
	t.stage.blocked.add(1)
	defer t.stage.blocked.add(-1)
	for !t.Refill() {
		if err := t.Err(); err != nil {
			return err
		}
		if err := t.await(ctx); err != nil {
			return err
		}
	}
	return t.Err()
}

// until calls move until it says that it is done, waiting for outputs between.
func (t *task) until(ctx context.Context, move func() (bool, error)) error {
	for {
		done, err := move()
		if done || err != nil {
			return err
		}
		if err := t.relieve(ctx); err != nil {
			return err
		}
	}
}

// split finds a split by its name.
func (s *source) split(id connectors.SplitID) *split {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

// passed is took for a task that has the split at hand: it takes no lock, which
// a discovery may hold for the length of a request.
func (s *source) passed(x *split, until connectors.Position, records bool) {
	x.reached.Store(max(x.reached.Load(), int64(until)))
	if records && !x.first.Load() && x.first.CompareAndSwap(false, true) {
		s.run.emit(engines.FirstRecord{Split: x.ID})
	}
}

// processingTime is the engine's clock, which never goes back.
func (r *run) processingTime() int64 {
	now := r.rt.Clock.Millis()
	for {
		last := r.streamTime.Load()
		if now <= last {
			return last
		}
		if r.streamTime.CompareAndSwap(last, now) {
			return now
		}
	}
}

// longRunning hands tasks to the scheduler that are all to run at the same time,
// and tells how they ended. A task that fails is not run again by itself: what
// it has passed on cannot be taken back, and the others have gone on.
// Where they run in executors, tasks has those that read, which is all.
func (r *run) longRunning(g *generation, id int64, tasks map[*task]*reading, body func(s *stage, t *task) error) <-chan error {
	stages := make([]schedule.Stage, len(g.specs))
	for i, s := range g.specs {
		stages[i] = schedule.Stage{Tasks: s.Tasks, Sink: s.Sink, Whole: true}
	}
	w := &work{
		job:    schedule.Job{ID: id, Pool: r.cfg.Scheduler.Pool, Stages: stages},
		stream: func(t *task) *reading { return tasks[t] }, generation: g,
		run: func(a *attempt) error {
			s := g.stages[a.Stage]
			t := s.tasks[a.Task]
			began := time.Now()
			err := guard(func() error { return body(s, t) })
			t.took = time.Since(began)
			t.publishWritten()
			if p, ok := errors.AsType[*panicked](err); ok {
				p.at = t.At()
			}
			return err
		},
		cancel: g.cancel, ctx: g.ctx,
	}
	done := make(chan error, 1)
	go func() {
		err := r.dispatcher.do(w)
		if f, ok := errors.AsType[*schedule.Failure](err); ok {
			err = fmt.Errorf("trigger %s runs no task again by itself: %w", r.cfg.Trigger, f)
		}
		done <- err
	}()
	return done
}

// readings returns what reads the sources, after taking the batch's splits in.
func (g *generation) readings() (out []*reading) {
	for _, s := range g.stages {
		for _, t := range s.tasks {
			if len(t.sources) > 0 {
				out = append(out, newReading(t))
			}
		}
	}
	return out
}

// deal gives each task the splits that are its own, of those from index on.
func (s *source) deal(rs []*reading, from int) {
	known := s.known()
	for _, x := range rs {
		if x.src.source != s {
			continue
		}
		var as []connectors.Assignment
		for i, sp := range known {
			if i >= from && i%len(x.t.stage.tasks) == x.t.partition() && !sp.gone {
				as = append(as, connectors.Assignment{Split: sp.Split, From: sp.position, Until: connectors.NoEnd})
			}
		}
		x.src.assign = append(x.src.assign, as...)
		if len(as) > 0 {
			x.give(order{Assign: as})
		}
	}
}

// driveStreaming runs what does not wait for batches.
func (r *run) driveStreaming() error {
	r.streamTime.Store(r.lastTime)
	if r.cfg.Trigger == Continuous {
		return r.driveContinuous()
	}
	return r.driveRealTime()
}

// lookStreaming looks for new splits when it is time, and at the start that what
// is to be read is there.
func (r *run) lookStreaming(s *source, first bool) error {
	age := r.job.Discovery
	if r.cfg.Source.MetadataAge > 0 {
		age = r.cfg.Source.MetadataAge.Std()
	}
	if age > 0 && r.cfg.Source.Mode != Fixed && time.Since(s.looked) >= age {
		if err := s.discover(r.ctx, false); err != nil {
			return err
		}
	}
	if first {
		return s.bounds(r.ctx)
	}
	return nil
}

// entryOf is a batch that has taken what lies between the splits' positions and
// the ends that tasks have reported.
func (r *run) entryOf(ends engines.Positions, time int64) *offsetEntry {
	e := &offsetEntry{Batch: r.nextBatch, Time: time, Sources: map[string]map[connectors.SplitID]splitRange{}}
	for _, s := range r.sources {
		ranges := make(map[connectors.SplitID]splitRange, len(s.splits))
		for _, x := range s.splits {
			until, ok := ends[x.ID]
			if !ok {
				until = x.position
			}
			ranges[x.ID] = splitRange{Partition: x.Partition, Incarnation: x.incarnation, From: x.position, Until: until}
		}
		e.Sources[s.node.UID] = ranges
	}
	return e
}

// commitStreamed makes what a batch or epoch has done durable: both logs, in
// their order. b.entry says where it ended.
func (r *run) commitStreamed(b *batch, next int64) error {
	r.hit(pointEpochWritten, b)
	if err := r.attempt.Check(); err != nil {
		return err
	}
	logging := time.Now()
	if err := r.logs.planned(b.entry); err != nil {
		return err
	}
	b.durations["walCommit"] = millis(time.Since(logging))
	for _, s := range r.sources {
		for _, x := range s.splits {
			x.position = b.entry.Sources[s.node.UID][x.ID].Until
		}
	}
	r.nextBatch++
	r.lastTime = b.entry.Time
	r.emit(engines.BatchPlanned{Batch: b.entry.Batch, Records: b.records, Until: ends(b.entry)})
	r.hit(pointEpochLogged, b)
	committing := time.Now()
	commit := commitEntry{Batch: b.entry.Batch, Watermark: b.watermark, Next: next}
	if err := r.logs.committed(commit); err != nil {
		return err
	}
	r.setCommit(commit)
	r.settled(b.entry)
	r.trim(b.entry)
	r.watermark.Store(next)
	b.durations["commitOffsets"] = millis(time.Since(committing))
	r.hit(pointEpochCommitted, b)
	return nil
}

// told emits what there is to say of a committed batch or epoch.
func (r *run) told(b *batch, lag int64, stages []engines.StageMetrics, began time.Time) {
	now := time.Now()
	r.lag.Store(lag)
	r.positionsMu.Lock()
	durable := r.durable
	r.positionsMu.Unlock()
	r.emit(engines.Durable{Positions: durable})
	b.durations["triggerExecution"] = millis(now.Sub(began))
	done := engines.BatchCompleted{
		Batch: b.entry.Batch, Records: b.records, ProcessingDelay: millis(now.Sub(began)), TotalDelay: millis(now.Sub(began)),
		Durations: b.durations, Lag: lag, Start: starts(b.entry), End: ends(b.entry), Stages: stages,
	}
	if took := now.Sub(began).Seconds(); took > 0 {
		done.InputRowsPerSecond = float64(b.records) / took
		done.ProcessedRowsPerSecond = done.InputRowsPerSecond
	}
	done.Sources = r.perSource(b.entry, nil, &done)
	var outcomes []outcome
	for _, s := range r.slots[0].generation.Load().stages {
		if r.cfg.Trigger == Continuous {
			break // no state, and the tasks run
		}
		for _, t := range s.tasks {
			o := t.outcome()
			outcomes = append(outcomes, o)
			done.Sum(o.StateUsage)
			done.StateBytes += int64(o.StateBytes)
		}
	}
	done.StateOperators, done.Sinks = r.perOperator(outcomes)
	usage := done.StateUsage
	r.stateUsage.Store(&usage)
	if b.watermark != noTime && b.watermark != math.MaxInt64 {
		wm := b.watermark
		done.WatermarkMs = &wm
	}
	r.emit(done)
	if r.job.Guarantee == connectors.AtLeastOnce && now.Sub(r.published) >= time.Second {
		r.published = now
		if err := r.publish(b); err != nil && r.ctx.Err() == nil {
			r.rt.Log.Warn("positions are not published", "job", r.job.Name, "error", err)
		}
	}
	if n := b.entry.Batch; n%10 == 9 {
		oldest := n - int64(r.cfg.RetainedBatches)
		r.maintenance.do(func() error { return r.purge(oldest) })
	}
}
