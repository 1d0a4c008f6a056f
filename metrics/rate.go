package metrics

import "time"

const (
	rateSpan  = time.Minute
	rateEvery = 5 * time.Second
	rateSlots = int(rateSpan/rateEvery) + 1
)

// Rate is how often something has happened a second, on the average of the last
// minute: Flink's MeterView. It is brought up to date every five seconds, and like
// there in a first minute what has not been yet counts as nothing. The zero value
// begins with the first count that it is shown.
type Rate struct {
	counts [rateSlots]int64 // every five seconds, circular
	at     int
	due    int64 // monotonic nanoseconds of the next
	rate   float64
	last   int64
}

// Observe shows it the count of what has happened so far; now is the monotonic time
// in nanoseconds. A count that has fallen is another one, and the rate begins anew.
func (r *Rate) Observe(count, now int64) {
	if count < r.last {
		*r = Rate{}
	}
	r.last = count
	if r.due == 0 {
		r.due = now + int64(rateEvery)
	}
	for i := 0; now >= r.due; i++ {
		if i == rateSlots { // longer than a minute: all is as it is now
			r.due = now + int64(rateEvery)
			break
		}
		r.due += int64(rateEvery)
		r.at = (r.at + 1) % rateSlots
		r.counts[r.at] = count
		r.rate = float64(count-r.counts[(r.at+1)%rateSlots]) / rateSpan.Seconds()
	}
}

// PerSecond returns the rate.
func (r *Rate) PerSecond() float64 { return r.rate }
