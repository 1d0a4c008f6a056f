package dataflow

import (
	"time"

	"streamduel/engines/dataflow/schedule"
	"streamduel/pipeline"
)

// Event time that several task managers share goes by way of the worker: how far
// the splits of an alignment group have come, and the maximum of a source under the
// policy spark. Each says what it knows as often as one process would look, and is
// told what all know. So a limit is older than in one process by one message each
// way, and holds back for as much longer.

// times is what a task manager says.
type times struct {
	Lows    []lowAt       `json:"lows,omitempty"`
	Highest map[int]int64 `json:"highest,omitempty"` // by source
}

type lowAt struct {
	Vertex int   `json:"vertex"`
	Index  int   `json:"index"`
	Low    int64 `json:"low"`
}

// limits is what it is told.
type limits struct {
	Limits  map[string]int64 `json:"limits,omitempty"` // by alignment group
	Highest map[int]int64    `json:"highest,omitempty"`
}

// share starts what keeps the worker informed.
func (tm *taskManager) share() {
	r := tm.run
	for _, g := range r.aligned {
		r.each(g.every, func() {
			var w times
			tm.timing.Lock()
			defer tm.timing.Unlock()
			for _, m := range g.members {
				w.Lows = append(w.Lows, lowAt{m.seat.fragment.Index, m.seat.index, m.low.Load()})
			}
			tm.post(kindTimes, w)
		})
	}
	if r.cfg.Watermark == SparkMax && r.eventTime {
		r.each(time.Duration(r.cfg.WatermarkInterval), func() {
			w := times{Highest: map[int]int64{}}
			tm.timing.Lock()
			defer tm.timing.Unlock()
			for i, s := range r.sources {
				if h := s.highest.Load(); h != pipeline.NoTime {
					w.Highest[i] = h
				}
			}
			tm.post(kindTimes, w)
		})
	}
}

// forgetTimes begins anew what is said of a region's subtasks, which have ended:
// those that follow them go back.
func (tm *taskManager) forgetTimes(g *region) {
	tm.timing.Lock()
	defer tm.timing.Unlock()
	g.forgetTimes()
}

func (g *region) forgetTimes() {
	for _, s := range g.seats {
		if s.aligned != nil {
			s.aligned.low.Store(pipeline.NoTime)
		}
		if s.source != nil {
			s.source.highest.Store(pipeline.NoTime)
		}
	}
}

// limited takes what all know together.
func (r *run) limited(w limits) {
	for _, g := range r.aligned {
		if limit, ok := w.Limits[g.name]; ok {
			g.limit.Store(limit)
			for _, m := range g.members {
				if t := m.seat.task(); t != nil {
					t.box.signal(sigTick)
				}
			}
		}
	}
	for i, h := range w.Highest {
		r.sources[i].lift(h)
	}
}

// timed takes what a task manager says, and tells all when a maximum has moved.
func (ms *members) timed(w times) {
	r := ms.run
	ms.timing.Lock()
	defer ms.timing.Unlock()
	lows := map[schedule.Subtask]int64{}
	for _, l := range w.Lows {
		lows[schedule.Subtask{Vertex: l.Vertex, Index: l.Index}] = l.Low
	}
	for _, g := range r.aligned {
		for _, m := range g.members {
			if low, ok := lows[schedule.Subtask{Vertex: m.seat.fragment.Index, Index: m.seat.index}]; ok {
				m.low.Store(low)
			}
		}
	}
	moved := limits{Highest: map[int]int64{}}
	for i, h := range w.Highest {
		if s := r.sources[i]; h > s.highest.Load() {
			moved.Highest[i] = s.lift(h)
		}
	}
	if len(moved.Highest) > 0 {
		ms.tellLimits(moved)
	}
}

// limit tells all how far the splits of a group may be.
func (ms *members) limit(g *alignment) {
	if ms == nil {
		return
	}
	ms.timing.Lock()
	defer ms.timing.Unlock()
	ms.tellLimits(limits{Limits: map[string]int64{g.name: g.limit.Load()}})
}

func (ms *members) tellLimits(w limits) {
	for _, m := range ms.alive() {
		_ = m.calls.Post(kindLimits, w) // one that cannot be told is lost
	}
}
