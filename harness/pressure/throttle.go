package pressure

import (
	"math"

	"streamduel/runs"
)

// Hold is how long intake must stay at the sink's rate to have followed it.
const Hold = 5.0

// tolerance is how far from the sink's rate intake may be.
const tolerance = 0.10

// full is the share of the offered rate that counts as the full rate.
const full = 0.90

// soon is what the full rate must be reached in as well as over w, so that a
// large batch some way ahead does not count before it is taken in.
const soon = 0.2

// Throttle is what happened to the sink.
type Throttle struct {
	At       float64 // when the sink was cut
	Released float64 // when it was freed
	Rate     float64 // what it was cut to, records per second
	Interval float64 // the engine's batch interval in seconds, 0 for none
	// Delivered is how many records the sink took between At and Released, by
	// the worker's count. If nil, what became visible stands in, which under
	// exactly-once misses up to one commit.
	Delivered *float64
	// Hold replaces the package's Hold where a scenario's phases are shorter;
	// 0 does not.
	Hold float64
}

// Throttled computes the figures of a throttled sink from the whole cell's
// series. Blocked shares come from the engine and are not set; figures that the
// series does not tell are absent. The marks are the moments for the pictures.
func Throttled(series []runs.Sample, f Throttle) (*runs.Pressure, []runs.Mark) {
	if len(series) < 2 || !(f.Rate > 0) || !(f.Released > f.At) {
		return &runs.Pressure{}, nil
	}
	w := Smoothing(f.Interval)
	hold := Hold
	if f.Hold > 0 {
		hold = f.Hold
	}
	hold = max(hold, w)
	intake := spread(series, w)
	offered := integrate(series, func(s runs.Sample) float64 { return s.Offered })
	end := series[len(series)-1].T
	rate := f.Rate
	p := &runs.Pressure{SinkRecordsPerSecond: &rate}
	marks := []runs.Mark{
		{At: f.At, Kind: runs.MarkThrottled, Label: "sink throttled"},
		{At: f.Released, Kind: runs.MarkReleased, Label: "sink freed"},
	}

	last := min(f.Released, intake.end()) - hold
	if _, known := intake.mean(f.At, f.Released); known && last >= f.At-1e-9 {
		at, ok := intake.moments(f.At, last, func(t float64) bool {
			return intake.every(t, t+hold, w, func(a, b float64) bool {
				m, known := intake.mean(a, b)
				return known && math.Abs(m-f.Rate) <= tolerance*f.Rate*(1+1e-9)
			})
		})
		p.FollowSeconds = elapsed(at, f.At, ok)
		if ok {
			marks = append(marks, runs.Mark{At: at, Kind: runs.MarkFollowed, Label: "intake at the sink's rate"})
		}
	}
	if over, ok := overshoot(intake, f, w); ok {
		p.OvershootRecords = count(over)
	}
	visible := integrate(series, func(s runs.Sample) float64 { return s.Visible })
	_, known := visible.mean(f.At, f.Released)
	delivered := visible.between(f.At, f.Released)
	if f.Delivered != nil {
		delivered, known = *f.Delivered, true
	}
	if known {
		p.UndershootRecords = count(max(0, f.Rate*(f.Released-f.At)-delivered))
	}
	if end >= f.Released+w {
		back := func(a, b float64) bool {
			m, known := intake.mean(a, b)
			want, planned := offered.mean(a, b)
			return known && planned && m >= full*want
		}
		at, ok := intake.moments(f.Released, end-w, func(t float64) bool {
			return back(t, t+w) && back(t, t+soon)
		})
		p.RecoverSeconds = elapsed(at, f.Released, ok)
		if ok {
			marks = append(marks, runs.Mark{At: at, Kind: runs.MarkRecovered, Label: "full rate again"})
		}
		at, ok = quiet(series, f.At, f.Released, end, w)
		p.DrainSeconds = elapsed(at, f.Released, ok)
		if ok {
			marks = append(marks, runs.Mark{At: at, Kind: runs.MarkDrained, Label: "backlog gone"})
			end = at
		}
	}
	p.QueuedRecordsPeak, p.QueuedBytesPeak = Queued(series, f.At, end)
	if v, ok := peak(series, f.At, end, func(s runs.Sample) float64 { return s.RSS }); ok {
		p.RSSPeakBytes = count(v)
	}
	return p, marks
}

// Queued is the most that was inside the engine in [from, to]; nil where it is not
// known.
func Queued(series []runs.Sample, from, to float64) (records, bytes *int64) {
	if v, ok := peak(series, from, to, func(s runs.Sample) float64 { return s.QueuedRecords }); ok {
		records = count(v)
	}
	if v, ok := peak(series, from, to, func(s runs.Sample) float64 { return s.QueuedBytes }); ok {
		bytes = count(v)
	}
	return records, bytes
}

// overshoot sums the stretches of w that lie above the sink's rate by more than
// the tolerance, without which it would add up noise; the last stretch may be
// shorter. Unknown stretches are left out; ok is false if all are.
func overshoot(intake line, f Throttle, w float64) (over float64, ok bool) {
	for a := f.At; a < f.Released-1e-9; a += w {
		b := min(a+w, f.Released)
		m, known := intake.mean(a, b)
		ok = ok || known
		if known && m > f.Rate*(1+tolerance) {
			over += (m - f.Rate) * (b - a)
		}
	}
	return over, ok
}
