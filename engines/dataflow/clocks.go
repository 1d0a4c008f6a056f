package dataflow

import "time"

// clocks starts the tickers that all subtasks share: no timer a record, none a
// task.
func (r *run) clocks() {
	if d := time.Duration(r.cfg.BufferTimeout); d > 0 {
		r.every(d, func(t *task) {
			if t.unflushed.Load() {
				t.box.signal(sigFlush)
			}
		})
	}
	if b := r.cfg.Buffers.Debloat; b.Enabled {
		r.every(time.Duration(b.Period), (*task).debloat)
	}
	if r.eventTime {
		r.every(time.Duration(r.cfg.WatermarkInterval), func(t *task) {
			if t.source != nil {
				t.box.signal(sigTick)
			}
		})
	}
	if r.here != nil {
		return // taskManager.share
	}
	for _, g := range r.aligned {
		r.each(g.every, func() {
			g.update()
			r.members.limit(g)
			for _, m := range g.members {
				m.seat.task().box.signal(sigTick)
			}
		})
	}
}

func (r *run) every(d time.Duration, f func(*task)) {
	r.each(d, func() {
		for _, s := range r.seats {
			if t := s.task(); t != nil {
				f(t)
			}
		}
	})
}

func (r *run) each(d time.Duration, f func()) {
	r.wg.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-r.ctx.Done():
				return
			case <-ticker.C:
				f()
			}
		}
	})
}
