package microbatch

import "time"

// The throttle is a total for the job. Where executors write themselves each holds
// a part of it, and what one does not need is lent to those that wait.

// lendEvery is how often the parts are looked at.
const lendEvery = 100 * time.Millisecond

// keeps is the least that an executor keeps, as a share of an even part: with it
// one that begins to write shows that it does, and has an even part again at the
// next look.
const keeps = 0.1

// wants is from which share of its part on an executor counts as one that waits.
const wants = 0.9

// lend divides a rate over executors that had parts of it and wrote so many records
// a second.
func lend(rate float64, had, wrote []float64) []float64 {
	even := rate / float64(len(had))
	parts := make([]float64, len(had))
	left, waiting := rate, 0
	for i := range had {
		if wrote[i] >= wants*had[i] {
			waiting++
			continue
		}
		parts[i] = min(max(wrote[i]*1.25, keeps*even), even)
		left -= parts[i]
	}
	for i := range parts {
		switch {
		case waiting == 0:
			parts[i] = even
		case parts[i] == 0:
			parts[i] = left / float64(waiting)
		}
	}
	return parts
}

// lending looks at the parts for as long as the job lives.
func (ex *executors) lending() {
	tick := time.NewTicker(lendEvery)
	defer tick.Stop()
	for at := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ex.ctx.Done():
			return
		}
		now := time.Now()
		ex.relend(now.Sub(at))
		at = now
	}
}

// relend divides the rate anew by what was written since the last look.
func (ex *executors) relend(since time.Duration) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if ex.rate == 0 {
		return
	}
	var had, wrote []float64
	for _, e := range ex.each {
		if e == nil {
			return // its part waits for the one in its place
		}
		e.mu.Lock()
		n := e.last.Gate[0]
		e.mu.Unlock()
		had = append(had, e.part)
		wrote = append(wrote, float64(n-e.wrote)/since.Seconds())
		e.wrote = n
		e.tell(kindReport, nil) // for the next look
	}
	for i, part := range lend(ex.rate, had, wrote) {
		ex.grant(ex.each[i], part)
	}
}

// grant gives an executor a part. The lock is held.
func (ex *executors) grant(e *remoteExecutor, part float64) {
	if e.part != part {
		e.part = part
		e.tell(kindThrottle, part)
	}
}

// spread gives all executors an even part. The lock is held.
func (ex *executors) spread() {
	for _, e := range ex.each {
		if e != nil {
			ex.grant(e, ex.rate/float64(len(ex.each)))
		}
	}
}
