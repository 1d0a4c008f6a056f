// Package metrics is what the functions of a job count: counters, gauges, meters
// and histograms of one operator in one subtask, under names that they choose.
//
// A [Set] belongs to its task. What a function counts with is plain memory that no
// other goroutine looks at, so counting costs what adding to a variable costs. The
// task hands on what has been counted since it last did so, between two records and
// only when somebody has asked (dataflow), or at the end of a batch (micro-batch);
// [Totals] adds that up for those who look.
//
// The kinds are Flink's, and so is what they mean: a meter is its MeterView, a
// histogram is shown by the quantiles that its Prometheus reporter shows. Spark's
// accumulators are counters here, and gauges, meters and histograms have no like
// there.
package metrics

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Kind says what a metric measures.
type Kind string

// The kinds of metrics.
const (
	KindCounter   Kind = "counter"
	KindGauge     Kind = "gauge"
	KindMeter     Kind = "meter"
	KindHistogram Kind = "histogram"
)

// Counter counts something. Like all metrics it belongs to the goroutine of the
// task that it was made in.
type Counter struct{ n int64 }

// Inc counts one.
func (c *Counter) Inc() { c.n++ }

// Add counts n, which may be below zero.
func (c *Counter) Add(n int64) { c.n += n }

// Meter measures how often something happens: the average rate of the last minute,
// in events a second, which is brought up to date every five seconds.
type Meter struct{ n int64 }

// Mark tells that it has happened.
func (m *Meter) Mark() { m.n++ }

// MarkN tells that it has happened n times.
func (m *Meter) MarkN(n int64) { m.n += n }

// MaxValue is the largest value that a histogram tells from larger ones, which
// count as it: as nanoseconds more than an hour.
const MaxValue = 1 << 42

// precision of histograms in significant decimal digits: values are shown within
// a hundredth of themselves.
const precision = 2

// Histogram measures how values are distributed, from the beginning of the task
// on. Values below zero count as zero, and those above MaxValue as MaxValue.
type Histogram struct{ h, spare *hdrhistogram.Histogram }

func newHDR() *hdrhistogram.Histogram { return hdrhistogram.New(1, MaxValue, precision) }

// Update takes in a value.
func (h *Histogram) Update(v int64) {
	_ = h.h.RecordValue(min(max(v, 0), MaxValue)) // which is within its range
}

// Set is the metrics of one subtask. But for Empty it belongs to the task.
type Set struct {
	check   func(operator, name string, k Kind) error
	entries []*entry
	used    map[[2]string]bool
	n       atomic.Int32
}

type entry struct {
	operator, name string
	kind           Kind
	counter        *Counter
	meter          *Meter
	gauge          func() float64
	histogram      *Histogram
}

// NewSet returns a set without metrics. check, which may be nil, is asked before a
// metric is taken in.
func NewSet(check func(operator, name string, k Kind) error) *Set {
	return &Set{check: check, used: map[[2]string]bool{}}
}

// Empty reports whether nothing has been registered, and is for any goroutine.
func (s *Set) Empty() bool { return s.n.Load() == 0 }

// Group returns the metrics of an operator. refuse is told of a metric that cannot
// be; the functions of the group return one that counts for nobody then.
func (s *Set) Group(operator string, refuse func(error)) *Group {
	return &Group{set: s, operator: operator, refuse: refuse}
}

// Group registers the metrics of one operator in one subtask. A name is unique
// within the operator, and of one kind within the job; it begins with a letter or
// "_", and letters, digits and "_" follow.
type Group struct {
	set      *Set
	operator string
	refuse   func(error)
}

// Counter registers a counter.
func (g *Group) Counter(name string) *Counter {
	c := &Counter{}
	g.add(&entry{name: name, kind: KindCounter, counter: c})
	return c
}

// Meter registers a meter.
func (g *Group) Meter(name string) *Meter {
	m := &Meter{}
	g.add(&entry{name: name, kind: KindMeter, meter: m})
	return m
}

// Histogram registers a histogram.
func (g *Group) Histogram(name string) *Histogram {
	h := &Histogram{newHDR(), newHDR()}
	g.add(&entry{name: name, kind: KindHistogram, histogram: h})
	return h
}

// Gauge registers a value that is asked for, by the task itself between two
// records: the function may read what belongs to the task.
func (g *Group) Gauge(name string, value func() float64) {
	if value == nil {
		g.refuse(fmt.Errorf("operator %q: gauge %q has no function", g.operator, name))
		return
	}
	g.add(&entry{name: name, kind: KindGauge, gauge: value})
}

func (g *Group) add(e *entry) {
	s := g.set
	e.operator = g.operator
	if err := validName(e.name); err != nil {
		g.refuse(fmt.Errorf("operator %q: %s %q: %w", g.operator, e.kind, e.name, err))
		return
	}
	id := [2]string{e.operator, e.name}
	if s.used[id] {
		g.refuse(fmt.Errorf("operator %q: %s %q: the name is used twice in the operator: choose another", g.operator, e.kind, e.name))
		return
	}
	if s.check != nil {
		if err := s.check(e.operator, e.name, e.kind); err != nil {
			g.refuse(err)
			return
		}
	}
	s.used[id] = true
	s.entries = append(s.entries, e)
	s.n.Add(1)
}

// longest is how long a name may be.
const longest = 100

func validName(name string) error {
	if name == "" || len(name) > longest {
		return fmt.Errorf("a name of %d characters: 1 to %d are allowed", len(name), longest)
	}
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', i > 0 && c >= '0' && c <= '9':
		default:
			return fmt.Errorf("%q in the name: letters, digits and _ are allowed, and no digit in front", string(rune(c)))
		}
	}
	return nil
}

// Update is what one subtask has counted since the one before.
type Update []Sample

// Sample is what one metric adds to an Update: Count of a counter or meter, Value
// of a gauge, Recorded of a histogram.
type Sample struct {
	Operator string    `json:"operator"`
	Name     string    `json:"name"`
	Kind     Kind      `json:"kind"`
	Count    int64     `json:"count,omitempty"`
	Value    Number    `json:"value,omitempty"`
	Recorded *Recorded `json:"recorded,omitempty"`
}

// Take returns what has been counted since it was last called, and counts anew.
// What it returns is valid until it is called again.
func (s *Set) Take() Update {
	if len(s.entries) == 0 {
		return nil
	}
	u := make(Update, len(s.entries))
	for i, e := range s.entries {
		u[i] = Sample{Operator: e.operator, Name: e.name, Kind: e.kind}
		switch e.kind {
		case KindCounter:
			u[i].Count, e.counter.n = e.counter.n, 0
		case KindMeter:
			u[i].Count, e.meter.n = e.meter.n, 0
		case KindGauge:
			u[i].Value = Number(e.gauge())
		case KindHistogram:
			h := e.histogram
			u[i].Recorded = &Recorded{h.h}
			h.h, h.spare = h.spare, h.h
			h.h.Reset()
		}
	}
	return u
}

// Recorded is what a histogram has taken in. As text it is hdrhistogram's own
// compressed form.
type Recorded struct{ h *hdrhistogram.Histogram }

// MarshalText encodes what was recorded.
func (r *Recorded) MarshalText() ([]byte, error) { return r.h.EncodeV2() }

// UnmarshalText decodes it.
func (r *Recorded) UnmarshalText(b []byte) (err error) {
	r.h, err = hdrhistogram.Decode(b)
	return err
}

// Number is a value of a gauge or a rate. As text it may be no number or infinite,
// which JSON's own numbers may not.
type Number float64

// MarshalText writes the shortest text of the value.
func (n Number) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

// UnmarshalText reads it.
func (n *Number) UnmarshalText(b []byte) error {
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return err
	}
	*n = Number(v)
	return nil
}
