package microbatch

import (
	"errors"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/control"
	"streamduel/pipeline"
)

// discovery is how often the driver looks for further splits; 0 never does.
func (r *run) discovery() time.Duration {
	switch {
	case r.cfg.Source.Mode == Fixed:
		return 0
	case r.cfg.Source.MetadataAge > 0:
		return r.cfg.Source.MetadataAge.Std()
	}
	return r.job.Discovery
}

// look brings a source's splits and their ends up to date. Whom no answer was had
// from is asked as often as a task may fail.
func (r *run) look(s *source, now time.Time) error {
	for attempt := 1; ; attempt++ {
		err := r.lookOnce(s, now)
		if _, again := errors.AsType[unanswered](err); !again || attempt >= r.cfg.Scheduler.MaxFailures || r.stopping() {
			return err
		}
		r.rt.Log.Warn("asking again for what there is to read", "job", r.job.Name, "attempt", attempt+1, "error", err)
	}
}

// lookOnce is look without patience. Under availableNow splits and ends are as they
// were when it first looked.
func (r *run) lookOnce(s *source, now time.Time) error {
	if age := r.discovery(); age > 0 && !r.pinned && now.Sub(s.looked) >= age {
		if err := s.discover(r.ctx, false); err != nil {
			return err
		}
	}
	if err := s.bounds(r.ctx); err != nil {
		return err
	}
	if r.cfg.Trigger == AvailableNow {
		for _, x := range s.splits {
			if !r.pinned {
				x.pin = x.latest
			}
			x.latest = min(x.latest, x.pin)
		}
	}
	return nil
}

// take returns how much the batch takes of each split, of how much waits in it.
func (r *run) take(now time.Time, lag []int64) []int64 {
	var waiting int64
	for _, n := range lag {
		waiting += n
	}
	switch {
	case r.cfg.Trigger == Once, r.receivers != nil: // ignores limits, or is limited where it is received
		return control.Take(lag, control.Limits{})
	case r.cfg.Trigger == ProcessingTime && !r.stopping() && r.hold.Back(int64(now.Sub(r.limit.begun)), waiting):
		return make([]int64, len(lag))
	}
	return control.Take(lag, r.limit.limits())
}

// plan fixes what the next batch takes and logs it; at is the batch's time in Unix
// milliseconds. It returns nil when there is nothing to do.
func (r *run) plan(due time.Time, at int64) (*batch, error) {
	if err := r.maintenance.failed(); err != nil {
		return nil, err
	}
	begun := time.Now()
	var lag []int64
	for _, s := range r.sources {
		if err := r.look(s, begun); err != nil {
			return nil, err
		}
		for _, x := range s.splits {
			lag = append(lag, int64(x.latest-x.position))
		}
	}
	r.pinned = r.cfg.Trigger == AvailableNow
	b := &batch{due: due, planned: begun, slot: r.slots[0], durations: map[string]float64{"latestOffset": millis(time.Since(begun))}}
	take := r.take(begun, lag)
	for i, n := range take {
		b.records += n
		b.lag += lag[i] - n
	}
	r.lag.Store(b.lag)
	now := max(at, r.lastTime)
	idle := r.queue.idle()
	e := &offsetEntry{Batch: r.nextBatch, Time: now, Sources: map[string]map[connectors.SplitID]splitRange{}}
	if b.records == 0 {
		if !idle && !r.everyTick {
			return nil, nil // what the batches before leave to do is not known yet
		}
		wm := r.watermark.Load()
		switch {
		case r.bounded && b.lag == 0 && idle:
			r.ended = true
			if !r.usesEventTime() || r.cfg.OutputMode == pipeline.Complete && r.nextEvent.Load() == never {
				return nil, nil
			}
			e.Final = true
		case r.cfg.Trigger == Once: // whatever is due waits for data
			r.ended = true
			return nil, nil
		case r.everyTick && r.cfg.Trigger == ProcessingTime && !r.stopping():
		case r.nextEvent.Load() <= wm || r.nextProcessing.Load() <= now:
		default:
			r.ended = r.cfg.Trigger == AvailableNow && b.lag == 0
			return nil, nil
		}
	}
	r.ended = r.ended || r.cfg.Trigger == Once
	if idle {
		wm := r.watermark.Load()
		e.Watermark = &wm
	}
	i := 0
	for _, s := range r.sources {
		ranges := make(map[connectors.SplitID]splitRange, len(s.splits))
		for _, x := range s.splits {
			rg := splitRange{Partition: x.Partition, Incarnation: x.incarnation, From: x.position, Until: x.position + connectors.Position(take[i])}
			if r.cfg.Watermark == MinOverPartitions && s.node.Watermarks != nil {
				s.mu.RLock()
				if wm := x.watermark; wm != noTime {
					rg.Watermark = &wm
				}
				s.mu.RUnlock()
			}
			ranges[x.ID] = rg
			i++
		}
		e.Sources[s.node.UID] = ranges
	}
	b.entry = e
	if len(r.sources) > 1 {
		b.latest = engines.Positions{}
		for _, s := range r.sources {
			for _, x := range s.splits {
				b.latest[x.ID] = x.latest
			}
		}
	}
	r.hit(pointBeforeLog, b)
	if err := r.attempt.Check(); err != nil {
		return nil, err
	}
	if b.records > 0 && r.rt.Failpoints.Armed(pointTorn) {
		if err := r.logs.torn(e); err != nil {
			return nil, err
		}
	}
	r.hit(pointTorn, b)
	logging := time.Now()
	if err := r.logs.planned(e); err != nil {
		return nil, err
	}
	b.durations["walCommit"] = millis(time.Since(logging))
	for _, s := range r.sources {
		for _, x := range s.splits {
			x.position = e.Sources[s.node.UID][x.ID].Until
		}
	}
	r.nextBatch++
	r.lastTime = now
	b.planning = time.Since(begun)
	b.durations["queryPlanning"] = millis(b.planning) - b.durations["latestOffset"] - b.durations["walCommit"]
	r.planned(b)
	until := engines.Positions{}
	for _, splits := range e.Sources {
		for id, rg := range splits {
			until[id] = rg.Until
		}
	}
	r.emit(engines.BatchPlanned{Batch: e.Batch, Records: b.records, Until: until})
	return b, nil
}

func (r *run) usesEventTime() bool {
	for _, s := range r.sources {
		if s.node.Watermarks != nil {
			return true
		}
	}
	return false
}
