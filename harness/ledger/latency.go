package ledger

import (
	"math"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"streamduel/runs"
)

// Clipped counts samples that no histogram can hold as they are. They are
// recorded at the nearest bound, and an audit looks at the counts.
type Clipped struct {
	Negative int64 `json:"negative"` // visible before it was due: clocks or plans disagree
	Low      int64 `json:"low"`      // under 1 µs
	High     int64 `json:"high"`     // over an hour
}

// Total is the number of samples clipped.
func (c Clipped) Total() int64 { return c.Negative + c.Low + c.High }

// Phase is a part of the run by scheduled time, [From, To) in monotonic
// nanoseconds. The last phase has To = math.MaxInt64 until the next begins.
type Phase struct {
	Name     string
	From, To int64
}

// pair is the histograms of one kind in one phase. Samples go into the
// interval's; closing the interval folds it into the total.
type pair struct {
	total, interval *hdr.Histogram
}

// latency keeps the histograms. It is guarded by the ledger's lock.
type latency struct {
	phases  []Phase
	pairs   [][2]pair // by phase, then kind
	last    int       // phase of the last sample
	from    int64     // start of the current interval
	samples [2]int64
	clipped Clipped
}

const (
	kindEvent = iota
	kindProcessing
)

var kindNames = [2]string{runs.EventLatency, runs.ProcessingLatency}

// begin starts a phase at the monotonic time from and ends the one before it.
func (l *latency) begin(name string, from int64) {
	if n := len(l.phases); n > 0 {
		l.phases[n-1].To = from
	} else {
		l.from = from
	}
	l.phases = append(l.phases, Phase{Name: name, From: from, To: math.MaxInt64})
	var p [2]pair
	for k := range p {
		p[k] = pair{total: runs.NewHistogram(), interval: runs.NewHistogram()}
	}
	l.pairs = append(l.pairs, p)
}

// phaseOf returns the phase that a scheduled time belongs to. What is due
// before the first phase belongs to the first.
func (l *latency) phaseOf(due int64) int {
	if p := &l.phases[l.last]; due >= p.From && due < p.To {
		return l.last
	}
	i := len(l.phases) - 1
	for i > 0 && due < l.phases[i].From {
		i--
	}
	l.last = i
	return i
}

// record counts the sample at−since under the phase of due.
func (l *latency) record(kind int, due, since, at int64) {
	if len(l.phases) == 0 {
		return
	}
	ns := at - since
	switch {
	case ns < 0:
		l.clipped.Negative++
		ns = runs.LatencyLowest
	case ns < runs.LatencyLowest:
		l.clipped.Low++
		ns = runs.LatencyLowest
	case ns > runs.LatencyHighest:
		l.clipped.High++
		ns = runs.LatencyHighest
	}
	l.samples[kind]++
	// The value is within the bounds, so there is no error to look at.
	_ = l.pairs[l.phaseOf(due)][kind].interval.RecordValue(ns)
}

// Interval is the latency of what became visible between two moments.
type Interval struct {
	Kind  string // runs.EventLatency or runs.ProcessingLatency
	Phase string
	// From and To are monotonic nanoseconds.
	From, To  int64
	Histogram *hdr.Histogram
}

// flush closes the interval at the monotonic time to and hands every non-empty
// histogram out; they are valid during the call. It returns f's first error
// and folds every histogram all the same.
func (l *latency) flush(to int64, f func(Interval) error) error {
	var first error
	for i := range l.pairs {
		for kind := range l.pairs[i] {
			p := &l.pairs[i][kind]
			if p.interval.TotalCount() == 0 {
				continue
			}
			if f != nil {
				err := f(Interval{Kind: kindNames[kind], Phase: l.phases[i].Name, From: l.from, To: to, Histogram: p.interval})
				if first == nil {
					first = err
				}
			}
			p.total.Merge(p.interval)
			p.interval.Reset()
		}
	}
	l.from = to
	return first
}

// bytes is the memory of the histograms.
func (l *latency) bytes() int64 {
	var n int64
	for i := range l.pairs {
		for kind := range l.pairs[i] {
			n += int64(l.pairs[i][kind].total.ByteSize() + l.pairs[i][kind].interval.ByteSize())
		}
	}
	return n
}
