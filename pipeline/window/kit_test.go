package window

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state/lsm"
)

// event is the record of the tests.
type event struct {
	key   string
	at    int64
	value int64
}

var eventCodec = codec.Struct("event/1", func(dst []byte, e event) []byte {
	return codec.Int64{}.Append(codec.Int64{}.Append(codec.String{}.Append(dst, e.key), e.at), e.value)
}, func(src []byte) (e event, n int, err error) {
	if e.key, n, err = (codec.StringView{}).Decode(src); err != nil {
		return e, n, err
	}
	if len(src) < n+16 {
		return e, n, codec.ErrShort
	}
	e.at, _, _ = codec.Int64{}.Decode(src[n:])
	e.value, _, _ = codec.Int64{}.Decode(src[n+8:])
	return e, n + 16, nil
}, func(e event) event { e.key = strings.Clone(e.key); return e })

// step is one thing that happens to a job: a record, a watermark or a move of
// processing time.
type step struct {
	event     *event
	watermark *int64
	now       *int64
}

func rec(key string, at, value int64) step { return step{event: &event{key, at, value}} }
func wm(at int64) step                     { return step{watermark: &at} }
func now(at int64) step                    { return step{now: &at} }

// job makes the stream under test out of the keyed input; late goes with it
// where the job sends late records.
type job func(k *pipeline.Keyed[string, event]) *pipeline.Stream[string]

var lateTag = pipeline.NewTag[event]("late")

// withLate adds the late records of a window's stream as rows "late …".
func withLate(rows *pipeline.Stream[string]) *pipeline.Stream[string] {
	late := pipeline.Map(pipeline.Side(rows, lateTag).Codec(eventCodec), "mark", func(e event) string {
		return fmt.Sprintf("late %s@%d=%d", e.key, e.at, e.value)
	})
	return pipeline.Union(rows, late)
}

type options struct {
	pipelinetest.Options
	batch int // records a push at most; 0 is one
	// pauses are the steps before which the job is stopped with a snapshot and
	// goes on with another parallelism.
	pauses func(i int) bool
	noTime bool // the source gives no event time
}

func graph(j job, noTime bool) *pipeline.Graph {
	g := pipeline.New("windows")
	var opts []pipeline.SourceOption[event]
	if !noTime {
		opts = append(opts, pipeline.EventTime(func(e event) int64 { return e.at }, pipeline.Watermarks{BeforeEpoch: true}))
	}
	in := pipeline.From(g, "in", pipelinetest.Source{Name: "in"}, func(r *connectors.Record) (event, error) {
		e, _, err := eventCodec.Decode(r.Value)
		return e, err
	}, opts...).Codec(eventCodec)
	k := pipeline.KeyBy(in, func(e event) string { return e.key }).KeyCodec(codec.StringView{})
	pipeline.To(j(k), "out", pipelinetest.Sink{Name: "out"}, out)
	return g
}

// out writes a row without spaces, which separate rows in a pipelinetest.Case.
func out(s string, r *connectors.Record) { r.Value = append(r.Value, unspaced(s)...) }

func unspaced(s string) string { return strings.ReplaceAll(s, " ", ",") }

func unspacedAll(ss []string) []string {
	var us []string
	for _, s := range ss {
		us = append(us, unspaced(s))
	}
	return us
}

// checkAll runs a job in every way that pipelinetest knows.
func checkAll(t testing.TB, j job, steps []step, want []string) {
	t.Helper()
	in := pipelinetest.NewInput[event]("in")
	c := pipelinetest.Case{
		Want: map[string]string{"out": strings.Join(unspacedAll(want), " ")},
		Build: func(g *pipeline.Graph) {
			k := pipeline.KeyBy(in.Stream(g).Codec(eventCodec), func(e event) string { return e.key }).KeyCodec(codec.StringView{})
			pipeline.To(j(k), "out", pipelinetest.Sink{Name: "out"}, out)
		},
	}
	for _, s := range steps {
		switch {
		case s.event != nil:
			c.Steps = append(c.Steps, in.At(s.event.at, *s.event))
		case s.watermark != nil:
			c.Steps = append(c.Steps, pipelinetest.Watermark(*s.watermark))
		default:
			c.Steps = append(c.Steps, pipelinetest.Time(*s.now))
		}
	}
	if err := c.Check(t, lsm.InMemory(1)); err != nil {
		t.Error(err)
	}
}

// play runs the steps and returns the rows, in order.
func play(t testing.TB, j job, steps []step, o options) (rows []string) {
	t.Helper()
	if o.batch == 0 {
		o.batch = 1
	}
	host := func() *pipelinetest.Host { return pipelinetest.New(t, graph(j, o.noTime), o.Options) }
	h := host()
	watermark, time := pipeline.NoTime, int64(0)
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	check(h.ProcessingTime(time))
	take := func() {
		for _, w := range h.Output["out"] {
			rows = append(rows, string(w.Value))
		}
		h.Output["out"] = nil
	}
	split := connectors.Split{ID: "0", Partition: 0}
	var batch []connectors.Record
	flush := func() {
		check(h.Push("in", &connectors.Batch{Split: split, Records: batch}))
		// What the operator keeps must not lie in what it was given.
		for _, r := range batch {
			clear(r.Value)
		}
		batch = batch[:0]
		take()
	}
	for i, s := range steps {
		if o.pauses != nil && o.pauses(i) {
			flush()
			old := h
			o.Parallelism = 5 - max(o.Parallelism, 1) // 1 and 4, 2 and 3
			h = host()
			snapshot := old.Snapshot()
			check(h.Restore(snapshot))
			for _, ss := range snapshot {
				for _, b := range ss {
					clear(b)
				}
			}
			check(h.ProcessingTime(time))
			check(h.Watermark(watermark))
			take()
		}
		switch {
		case s.event != nil:
			batch = append(batch, connectors.Record{Value: eventCodec.Append(nil, *s.event)})
			if len(batch) == o.batch {
				flush()
			}
		case s.watermark != nil:
			flush()
			watermark = max(watermark, *s.watermark)
			check(h.Watermark(watermark))
		default:
			flush()
			time = max(time, *s.now)
			check(h.ProcessingTime(time))
		}
		take()
	}
	flush()
	for _, ts := range h.Tasks {
		for _, task := range ts {
			keys += task.State.Keys()
		}
	}
	return rows
}

// keys is how many entries of state the last plays left.
var keys int

// perKey sorts rows by the key in them, leaving a key's rows in their order:
// that is what does not depend on the parallelism.
func perKey(rows []string) []string {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b string) int { return cmp.Compare(keyIn(a), keyIn(b)) })
	return rows
}

func keyIn(row string) string {
	k, _, _ := strings.Cut(strings.TrimPrefix(row, "late,"), "@")
	return k
}

func row(c *Context[string], what any) string {
	w := c.Window()
	if w == GlobalWindow {
		return fmt.Sprintf("%s@all=%v", c.Key(), what)
	}
	at := ""
	if c.Timestamp != w.MaxTimestamp() {
		at = " at " + strconv.FormatInt(c.Timestamp, 10)
	}
	return fmt.Sprintf("%s@[%d,%d)=%v%s", c.Key(), w.Start, w.End, what, at)
}

func sum(acc, v event) event { acc.value += v.value; return acc }

// The four ways to evaluate a window; all print the sum of the values.

func summed(w *Windowed[string, event]) *pipeline.Stream[string] {
	return AggregateWith(w, "window", sumOf(false), func(c *Context[string], n int64, emit func(string)) { emit(row(c, n)) })
}

func summedInverse(w *Windowed[string, event]) *pipeline.Stream[string] {
	return AggregateWith(w, "window", sumOf(true), func(c *Context[string], n int64, emit func(string)) { emit(row(c, n)) })
}

func sumOf(inverse bool) Aggregator[event, int64, int64] {
	g := Aggregator[event, int64, int64]{
		Add:    func(n int64, e event) int64 { return n + e.value },
		Merge:  func(a, b int64) int64 { return a + b },
		Result: func(n int64) int64 { return n },
	}
	if inverse {
		g.Inverse = func(a, b int64) int64 { return a - b }
	}
	return g
}

func reduced(w *Windowed[string, event]) *pipeline.Stream[string] {
	return ReduceWith(w, "window", sum, func(c *Context[string], e event, emit func(string)) {
		if e.key != c.Key() {
			emit(fmt.Sprintf("%s@ is reduced to %q", c.Key(), e.key))
		}
		emit(row(c, e.value))
	})
}

func processed(w *Windowed[string, event]) *pipeline.Stream[string] {
	return Process(w, "window", func(c *Context[string], es []event, emit func(string)) {
		var n int64
		for _, e := range es {
			if e.key != c.Key() {
				emit(fmt.Sprintf("%s@ has %q", c.Key(), e.key))
			}
			n += e.value
		}
		emit(row(c, n))
	})
}

// listed prints the values themselves.
func listed(w *Windowed[string, event]) *pipeline.Stream[string] {
	return Process(w, "window", func(c *Context[string], es []event, emit func(string)) {
		var vs []int64
		for _, e := range es {
			vs = append(vs, e.value)
		}
		emit(row(c, vs))
	})
}

func batchOf(es ...event) *connectors.Batch {
	b := &connectors.Batch{Split: connectors.Split{ID: "0"}}
	for _, e := range es {
		b.Records = append(b.Records, connectors.Record{Value: eventCodec.Append(nil, e)})
	}
	return b
}
