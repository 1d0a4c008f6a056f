package pressure

import (
	"math"
	"sort"

	"streamduel/runs"
)

// Smoothing returns w for an engine that takes in or commits in steps of
// interval seconds; 0 for one that does not.
func Smoothing(interval float64) float64 { return max(1, 3*interval) }

// line is the integral of a rate over time, straight between samples.
type line struct {
	t, sum, known []float64 // known is the time up to t at which the rate was known
}

// integrate sums a rate of the series up. Unknown values count as unknown time.
func integrate(series []runs.Sample, rate func(runs.Sample) float64) line {
	var l line
	for i, s := range series {
		if i == 0 {
			l.t, l.sum, l.known = append(l.t, s.T), append(l.sum, 0), append(l.known, 0)
			continue
		}
		dt := s.T - series[i-1].T
		sum, known := l.sum[i-1], l.known[i-1]
		if r := rate(s); !math.IsNaN(r) {
			sum += r * dt
			known += dt
		}
		l.t, l.sum, l.known = append(l.t, s.T), append(l.sum, sum), append(l.known, known)
	}
	return l
}

// spread levels intake out: what was taken in by one sample is spread forward
// until the engine next takes something in, but over no more than w. An engine
// takes in a batch, or what one fetch brought, in an instant and works on it
// until the next. Means of the raw counts would depend on whether two or three
// such instants fall into a window, by far more than the tolerance.
func spread(series []runs.Sample, w float64) line {
	levelled := make([]runs.Sample, len(series))
	for i, s := range series {
		levelled[i] = runs.Sample{T: s.T, Consumed: s.Consumed}
	}
	for i := 1; i < len(levelled); i++ {
		if !(levelled[i].Consumed > 0) {
			continue
		}
		from := series[i-1].T
		j := i + 1 // behind the last sample to spread over
		for j < len(series) && series[j].Consumed == 0 && series[j].T-from <= w+1e-9 {
			j++
		}
		if j == i+1 {
			continue
		}
		rate := series[i].Consumed * (series[i].T - from) / (series[j-1].T - from)
		for k := i; k < j; k++ {
			levelled[k].Consumed = rate
		}
		i = j - 1
	}
	return integrate(levelled, func(s runs.Sample) float64 { return s.Consumed })
}

// at interpolates one of the sums.
func (l line) at(sums []float64, t float64) float64 {
	i := sort.SearchFloat64s(l.t, t)
	switch {
	case len(l.t) == 0:
		return 0
	case i == 0:
		return sums[0]
	case i == len(l.t):
		return sums[i-1]
	}
	share := (t - l.t[i-1]) / (l.t[i] - l.t[i-1])
	return sums[i-1] + share*(sums[i]-sums[i-1])
}

// between is the integral over [from, to].
func (l line) between(from, to float64) float64 {
	return l.at(l.sum, to) - l.at(l.sum, from)
}

// enough is the share of a stretch that must be known for its mean to count.
const enough = 0.9

// mean is the rate over [from, to]; ok is false where too little is known.
func (l line) mean(from, to float64) (rate float64, ok bool) {
	known := l.at(l.known, to) - l.at(l.known, from)
	if to <= from || known < enough*(to-from) {
		return 0, false
	}
	return l.between(from, to) / known, true
}

// end is the last moment that the series covers.
func (l line) end() float64 {
	if len(l.t) == 0 {
		return math.Inf(-1)
	}
	return l.t[len(l.t)-1]
}

// every reports whether each stretch of length w within [from, to] passes. The
// stretches begin at from and at each sample.
func (l line) every(from, to, w float64, pass func(a, b float64) bool) bool {
	if !pass(from, from+w) {
		return false
	}
	for i := sort.SearchFloat64s(l.t, from); i < len(l.t) && l.t[i]+w <= to+1e-9; i++ {
		if !pass(l.t[i], l.t[i]+w) {
			return false
		}
	}
	return true
}

// moments calls f with from and each sample behind it, up to last, until f
// returns true, and returns that moment.
func (l line) moments(from, last float64, f func(t float64) bool) (float64, bool) {
	if from <= last+1e-9 && f(from) {
		return from, true
	}
	for i := sort.SearchFloat64s(l.t, from); i < len(l.t) && l.t[i] <= last+1e-9; i++ {
		if l.t[i] > from && f(l.t[i]) {
			return l.t[i], true
		}
	}
	return 0, false
}

// peak is the highest known value of a column in [from, to]; ok is false if
// none is known.
func peak(series []runs.Sample, from, to float64, of func(runs.Sample) float64) (v float64, ok bool) {
	for _, s := range series {
		if x := of(s); s.T >= from && s.T <= to && !math.IsNaN(x) && (!ok || x > v) {
			v, ok = x, true
		}
	}
	return v, ok
}

// normal is how many seconds before a fault tell what was normal.
const normal = 5.0

// quiet returns the first moment at or after from, before until, from which
// the lag stays for w at or below its normal peak. before is when the fault
// began.
func quiet(series []runs.Sample, before, from, until, w float64) (at float64, ok bool) {
	lag := func(s runs.Sample) float64 { return s.Lag }
	limit, known := peak(series, before-normal, before, lag)
	if !known {
		// Nothing to compare with: one smoothing's worth of the offered load.
		offered, _ := peak(series, before, until, func(s runs.Sample) float64 { return s.Offered })
		limit = offered * w
	}
	limit = limit*1.1 + 1
	// The last sample above the limit ends every candidate before it.
	for i, s := range series {
		if s.T < from || s.T > until || math.IsNaN(s.Lag) || s.Lag > limit {
			continue
		}
		stays := series[len(series)-1].T >= s.T+w-1e-9
		for j := i; stays && j < len(series) && series[j].T <= s.T+w; j++ {
			stays = math.IsNaN(series[j].Lag) || series[j].Lag <= limit
		}
		if stays {
			return s.T, true
		}
	}
	return 0, false
}

func elapsed(at, since float64, ok bool) *runs.Elapsed {
	e := runs.Never
	if ok {
		e = runs.Elapsed(at - since)
	}
	return &e
}

func count(v float64) *int64 {
	n := int64(math.Round(v))
	return &n
}
