package metrics

import (
	"cmp"
	"slices"
	"sync"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Quantiles are those of a histogram that are shown, as Flink's Prometheus reporter
// shows them.
var Quantiles = []float64{0.5, 0.75, 0.95, 0.98, 0.99, 0.999}

// Value is a metric as others see it.
type Value struct {
	Operator string `json:"operator"`
	Subtask  int    `json:"subtask"` // from 0
	Name     string `json:"name"`
	Kind     Kind   `json:"kind"`
	// Value is a counter's count, a gauge's value, or a meter's rate in events a
	// second.
	Value Number `json:"value,omitempty"`
	// Count is how many events a meter has seen, or values a histogram.
	Count     int64   `json:"count,omitempty"`
	Quantiles []int64 `json:"quantiles,omitempty"` // of a histogram, at Quantiles
}

// Totals adds up what subtasks have counted. It is safe for concurrent use; the
// zero value is empty.
type Totals struct {
	mu      sync.Mutex
	entries map[key]*total
}

type key struct {
	operator, name string
	subtask        int
}

type total struct {
	kind  Kind
	count int64
	value Number
	rate  Rate
	h     *hdrhistogram.Histogram
}

// Add takes in what a subtask has counted.
func (t *Totals) Add(subtask int, u Update) {
	if len(u) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries == nil {
		t.entries = map[key]*total{}
	}
	for _, s := range u {
		k := key{s.Operator, s.Name, subtask}
		e := t.entries[k]
		if e == nil {
			e = &total{kind: s.Kind}
			t.entries[k] = e
		}
		e.count += s.Count
		e.value = s.Value
		if s.Recorded != nil {
			if e.h == nil {
				e.h = newHDR()
			}
			e.h.Merge(s.Recorded.h)
		}
	}
}

// Values returns all metrics, by operator, name and subtask. now is the monotonic
// time in nanoseconds: rates follow it.
func (t *Totals) Values(now int64) []Value {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Value, 0, len(t.entries))
	for k, e := range t.entries {
		v := Value{Operator: k.operator, Name: k.name, Subtask: k.subtask, Kind: e.kind}
		switch e.kind {
		case KindCounter:
			v.Value = Number(e.count)
		case KindGauge:
			v.Value = e.value
		case KindMeter:
			e.rate.Observe(e.count, now)
			v.Value, v.Count = Number(e.rate.PerSecond()), e.count
		case KindHistogram:
			if v.Quantiles = make([]int64, len(Quantiles)); e.h != nil {
				v.Count = e.h.TotalCount()
				for i, q := range Quantiles {
					v.Quantiles[i] = e.h.ValueAtQuantile(100 * q)
				}
			}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, Compare)
	return out
}

// Compare orders values by operator, name and subtask.
func Compare(a, b Value) int {
	return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Subtask, b.Subtask))
}
