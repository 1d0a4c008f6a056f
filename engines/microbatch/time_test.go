package microbatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/pipeline/window"
)

// windowGraph counts by key and tumbling window of so many milliseconds of event
// time; what comes late goes to a sink of its own.
func windowGraph(in *topic, out, late *store, size int64, delay time.Duration) *pipeline.Graph {
	return windowsOver([]*topic{in}, out, late, size, delay)
}

func windowsOver(in []*topic, out, late *store, size int64, delay time.Duration) *pipeline.Graph {
	g := pipeline.New("windows")
	var sources []*pipeline.Stream[event]
	for _, t := range in {
		sources = append(sources, pipeline.From(g, t.name, t, decodeEvent,
			pipeline.EventTime(func(e event) int64 { return e.time }, pipeline.Watermarks{Delay: delay})))
	}
	events := pipeline.Union(sources[0], sources[1:]...)
	dropped := pipeline.NewTag[event]("late")
	// A window is a key of its own, so its count is the key's state.
	type window struct{ key, start int64 }
	windows := codec.Struct("window/1", func(dst []byte, w window) []byte {
		return codec.Int64{}.Append(codec.Int64{}.Append(dst, w.key), w.start)
	}, func(src []byte) (w window, n int, err error) {
		if w.key, _, err = (codec.Int64{}).Decode(src); err == nil {
			w.start, _, err = codec.Int64{}.Decode(src[8:])
		}
		return w, 16, err
	}, nil)
	keyed := pipeline.KeyBy(events.Codec(eventCodec), func(e event) window { return window{e.key, e.time - e.time%size} }).KeyCodec(windows)
	counts := pipeline.Process(keyed, "window", func(s *pipeline.Setup[window]) pipeline.Function[window, event, event] {
		table := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
		emitLate := pipeline.Emitter(s, dropped)
		return pipeline.Function[window, event, event]{
			Element: func(e event, c *pipeline.KeyedCtx[window], emit func(event)) {
				last := c.Key().start + size - 1
				if last <= c.Watermark() {
					emitLate(e)
					return
				}
				n, _ := table.Ref(c.Key())
				*n++
				c.EventTimer(last)
			},
			EventTimer: func(ts int64, c *pipeline.KeyedCtx[window], emit func(event)) {
				n, _ := table.Get(c.Key())
				table.Delete(c.Key())
				emit(event{partition: -1, sequence: c.Key().start, key: c.Key().key, time: n})
			},
		}
	})
	pipeline.To(counts, "out", out, encodeEvent)
	pipeline.To(pipeline.Side(counts, dropped), "late", late, encodeEvent)
	return g
}

func windowsOf(s *store) []string {
	var out []string
	for _, r := range s.rows() {
		out = append(out, fmt.Sprintf("key %d window %d: %d", r.key, r.sequence, r.value))
	}
	slices.Sort(out)
	return out
}

// TestWindows: rows are late by the watermark of the batch before, windows fire
// by the one of this batch, and a batch without data runs to fire them.
func TestWindows(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	late := &store{}
	b.graph = func() *pipeline.Graph { return windowGraph(b.topic, b.store, late, 10, 5*time.Millisecond) }
	for i := range 40 {
		b.topic.addAt(i%2, int64(i%2), int64(i))
	}
	p := b.start()
	// The first batch has no watermark; the second, without data, has 39−5−1.
	p.await("a batch without data", func(es []engines.Event) bool { return len(batches(es)) == 2 })
	want := []string{"key 0 window 0: 5", "key 0 window 10: 5", "key 0 window 20: 5", "key 1 window 0: 5", "key 1 window 10: 5", "key 1 window 20: 5"}
	if got := windowsOf(b.store); !slices.Equal(got, want) {
		t.Errorf("windows %q", got)
	}
	done := batches(p.all("batchCompleted"))
	if done[0].Records != 40 || done[0].WatermarkMs != nil || done[1].Records != 0 || *done[1].WatermarkMs != 33 {
		t.Errorf("batches: %+v", done)
	}
	// 29 is late by 33; 30 is not. And nothing more fires, so no batch runs
	// before there is data.
	b.topic.addAt(0, 0, 29)
	b.topic.addAt(0, 0, 30)
	p.drained()
	p.stopNow()
	if got := late.rows(); len(got) != 1 || got[0].value != 29 {
		t.Errorf("late: %v", got)
	}
	// State, timers and watermark survive: 45 closes the window from 30 on.
	b.topic.addAt(1, 1, 45)
	p = b.start()
	p.await("windows from 30 on", func(es []engines.Event) bool { return len(b.store.rows()) == 8 })
	b.topic.addAt(1, 1, 38)
	p.drained()
	p.stopNow()
	want = append(want, "key 0 window 30: 6", "key 1 window 30: 5")
	slices.Sort(want)
	if got := windowsOf(b.store); !slices.Equal(got, want) {
		t.Errorf("windows after the restart %q", got)
	}
	if len(late.rows()) != 2 {
		t.Errorf("late: %v", late.rows())
	}
}

func batches(es []engines.Event) (out []engines.BatchCompleted) {
	for _, e := range es {
		if b, ok := e.(engines.BatchCompleted); ok {
			out = append(out, b)
		}
	}
	return out
}

// TestWatermarkPolicy: Spark's maximum over the partitions makes the records of
// a partition that lags late; the minimum waits for it.
func TestWatermarkPolicy(t *testing.T) {
	for policy, want := range map[WatermarkPolicy]int{SparkMax: 3, MinOverPartitions: 0} {
		t.Run(string(policy), func(t *testing.T) {
			b := newBed(t, 2, connectors.AtLeastOnce)
			b.config.Watermark = policy
			late := &store{}
			b.graph = func() *pipeline.Graph { return windowGraph(b.topic, b.store, late, 10, 0) }
			b.topic.addAt(0, 0, 1000)
			b.topic.addAt(1, 1, 5)
			p := b.start()
			p.drained()
			if policy == SparkMax { // rows are late by what a batch ran with
				p.await("a batch with the watermark", func(es []engines.Event) bool { return len(batches(es)) == 2 })
			}
			p.stopNow() // what each partition has reached must survive
			p = b.start()
			for _, at := range []int64{6, 7, 8} {
				b.topic.addAt(1, 1, at)
			}
			p.drained()
			p.stopNow()
			if got := len(late.rows()); got != want {
				t.Errorf("%d late rows, want %d", got, want)
			}
		})
	}
}

// TestMultipleWatermarkPolicy: across the sources of a job the least counts, and
// the largest where that is asked for; within a source it is always Spark's
// maximum.
func TestMultipleWatermarkPolicy(t *testing.T) {
	for policy, want := range map[SourcesPolicy]int{LeastSource: 0, LargestSource: 2} {
		t.Run(string(policy), func(t *testing.T) {
			b := newBed(t, 1, connectors.AtLeastOnce)
			b.config.MultipleWatermarkPolicy = policy
			other, late := newTopic("other", 1), &store{}
			b.graph = func() *pipeline.Graph { return windowsOver([]*topic{b.topic, other}, b.store, late, 10, 0) }
			b.topic.addAt(0, 0, 1000)
			other.addAt(0, 1, 5)
			p := b.start()
			drained := func() {
				p.await("the topics' ends", func(es []engines.Event) bool {
					read := 0
					for _, e := range es {
						if d, ok := e.(engines.Durable); ok {
							read = 0
							for _, at := range d.Positions {
								read += int(at)
							}
						}
					}
					return read == b.topic.records()+other.records()
				})
			}
			drained()
			b.topic.addAt(0, 0, 1001) // runs with the watermark of the first batch
			drained()
			other.addAt(0, 1, 6)
			other.addAt(0, 1, 7)
			drained()
			p.stopNow()
			if got := len(late.rows()); got != want {
				t.Errorf("%d late rows, want %d", got, want)
			}
		})
	}
}

// TestBoundedEnd: when bounded sources have ended so has event time, and the job
// ends by itself.
func TestBoundedEnd(t *testing.T) {
	for _, clock := range []ClockKind{Skipping, Queueing} {
		t.Run(string(clock), func(t *testing.T) {
			b := newBed(t, 2, connectors.AtLeastOnce)
			b.config.Clock = clock
			b.topic.bounded = true
			b.graph = func() *pipeline.Graph { return windowGraph(b.topic, b.store, &store{}, 10, 0) }
			b.topic.addAt(0, 3, 5)
			b.topic.addAt(1, 3, 6)
			p := b.start()
			if err := p.Wait(); err != nil {
				t.Fatal(err)
			}
			p.cancel()
			if got := windowsOf(b.store); !slices.Equal(got, []string{"key 3 window 0: 2"}) {
				t.Errorf("windows %q", got)
			}
		})
	}
}

// processingGraph emits each key's count when processing time has moved by at
// least a millisecond since the key's first record, with the time in sequence.
func processingGraph(b *bed) *pipeline.Graph {
	g := pipeline.New("processing time")
	keyed := pipeline.KeyBy(pipeline.From(g, "in", b.topic, decodeEvent).Codec(eventCodec), func(e event) int64 { return e.key })
	out := pipeline.Process(keyed, "collect", func(s *pipeline.Setup[int64]) pipeline.Function[int64, event, event] {
		counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
		return pipeline.Function[int64, event, event]{
			Element: func(e event, c *pipeline.KeyedCtx[int64], emit func(event)) {
				n, fresh := counts.Ref(c.Key())
				*n++
				if fresh {
					c.ProcessingTimer(c.ProcessingTime() + 1)
				}
			},
			ProcessingTimer: func(ts int64, c *pipeline.KeyedCtx[int64], emit func(event)) {
				n, _ := counts.Get(c.Key())
				counts.Delete(c.Key())
				emit(event{partition: -1, sequence: c.ProcessingTime(), key: c.Key(), time: n})
			},
		}
	})
	pipeline.To(out, "out", b.store, encodeEvent)
	return g
}

// TestProcessingTime: processing time is the batch's, also when it is run again
// much later.
func TestProcessingTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(100 * time.Millisecond)
		b.graph = func() *pipeline.Graph { return processingGraph(b) }
		began := time.Now().UnixMilli()
		b.topic.add(0, 7, 7, 7)
		// The timer fires in the second batch, which has data so that it can be
		// crashed in.
		p := b.startArmed("M3", 2)
		p.drained()
		b.topic.add(0, 7, 8)
		if err := p.Wait(); err == nil {
			t.Fatal("no crash")
		}
		p.cancel()
		<-time.After(time.Hour)
		p = b.start()
		p.await("the last timers", func([]engines.Event) bool { return len(b.store.rows()) >= 4 })
		p.stopNow()
		var got []string
		for _, r := range b.store.rows() {
			got = append(got, fmt.Sprintf("%d×%d at %d", r.key, r.value, r.sequence-began))
		}
		if want := []string{"7×3 at 100", "7×3 at 100"}; !slices.Equal(got[:2], want) {
			t.Errorf("before and after the crash %q, want %q", got[:2], want)
		}
		rest := got[2:]
		slices.Sort(rest)
		for i, key := range []string{"7×1 at 36", "8×1 at 36"} { // an hour later
			if !strings.HasPrefix(rest[i], key) {
				t.Errorf("then %q", rest)
			}
		}
	})
}

// throttled drives a job at 5,000 records a second into a sink that takes 2,000
// for a while, in virtual time, and returns the rate limits and how many records
// were queued at the peak.
func throttled(t *testing.T, clock ClockKind) (rates []float64, peak int64) {
	b := newBed(t, 4, connectors.AtLeastOnce)
	b.config.Interval = Duration(time.Second)
	b.config.Clock = clock
	b.config.Rate.PID.Enabled = true
	b.topic.chunk = 100
	b.gate = connectors.NewGate()
	b.gate.Throttle(50_000) // what the free sink takes
	began := time.Now()
	p := b.start()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		since := now.Sub(began).Round(time.Millisecond)
		switch since {
		case 10 * time.Second:
			b.gate.Throttle(2000)
		case 30 * time.Second:
			b.gate.Throttle(50_000)
		}
		if since > 50*time.Second {
			break
		}
		b.topic.fill(52, 100)
		if g := p.Gauges(); since > 10*time.Second && since < 30*time.Second {
			peak = max(peak, g.QueuedRecords)
		}
	}
	p.drained()
	p.stopNow()
	b.expect(0, 0)
	for _, e := range p.all("rateLimited") {
		rates = append(rates, e.(engines.RateLimited).RecordsPerSecond)
	}
	return rates, peak
}

// TestThrottle: the estimator follows a slow sink. Behind the skipping clock it
// settles near the sink's rate at once; behind the queueing one it learns only
// when three full batches wait, and then falls to its minimum until the queue is
// gone, as the real one does.
func TestThrottle(t *testing.T) {
	for _, clock := range []ClockKind{Skipping, Queueing} {
		t.Run(string(clock), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rates, peak := throttled(t, clock)
				low := slices.Min(rates)
				near := 0
				for _, r := range rates {
					if r > 1800 && r < 2200 {
						near++
					}
				}
				last := rates[len(rates)-1]
				t.Logf("rates %.0f, queued at the peak %d", rates, peak)
				switch clock {
				case Skipping:
					if low < 1000 || near < 10 {
						t.Errorf("the limit should settle near 2000")
					}
				case Queueing:
					// What happens at one virtual instant has no order, so the
					// figures differ a little from run to run.
					if low > 300 || near < 3 {
						t.Errorf("the limit should fall far below the sink's rate and then settle near 2000")
					}
				}
				if peak > 30_000 {
					t.Errorf("%d records were queued", peak)
				}
				if last < 5200 {
					t.Errorf("the limit stays at %v after the throttle is off", last)
				}
			})
		})
	}
}

// TestClockSteps: a wall clock that is set back or forward neither stops the job
// nor moves its processing time back.
func TestClockSteps(t *testing.T) {
	for _, kind := range []ClockKind{Skipping, Queueing} {
		t.Run(string(kind), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { clockSteps(t, kind) }) })
	}
}

func clockSteps(t *testing.T, kind ClockKind) {
	b := newBed(t, 1, connectors.AtLeastOnce)
	b.config.Interval = Duration(time.Second)
	b.config.Clock = kind
	p := b.start()
	for _, step := range []time.Duration{0, -time.Hour, 2 * time.Hour} {
		b.clock.Step(step)
		began := time.Now()
		b.topic.fill(10, 3)
		p.drained()
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("after a step by %v the next batch took %v", step, d)
		}
	}
	p.stopNow()
	last := int64(0)
	for i := range 3 {
		e, err := batchLogs{b.job().Folder}.readOffset(int64(i))
		if err != nil || e.Time < last {
			t.Errorf("batch %d: time %d after %d, %v", i, e.Time, last, err)
		}
		last = e.Time
	}
	for _, d := range batches(p.all("batchCompleted")) {
		if d.SchedulingDelay > 1 {
			t.Errorf("batch %d was delayed by %v ms", d.Batch, d.SchedulingDelay)
		}
	}
}

// TestTheEstimatorLearnsAfterAStep: a wall clock that was set back by an hour does not
// keep the rate as it was for an hour.
func TestTheEstimatorLearnsAfterAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(time.Second)
		b.config.Rate.PID.Enabled = true
		b.gate = connectors.NewGate()
		b.gate.Throttle(2000)
		p := b.start()
		for second := range 12 {
			if second == 5 {
				b.clock.Step(-time.Hour)
				b.gate.Throttle(1000)
			}
			b.topic.fill(500, 7)
			<-time.After(time.Second)
		}
		rate := p.Gauges().RateLimit
		p.stopNow()
		if rate == nil || *rate > 1300 {
			t.Errorf("the limit is %v where the sink takes 1000 a second", rate)
		}
	})
}

// TestQueueing: ticks never skip. A batch that takes three and a half intervals
// is followed by those that waited, back to back, each with the time of its own
// tick.
func TestQueueing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(time.Second)
		b.config.Clock = Queueing
		b.gate = connectors.NewGate()
		b.topic.fill(70, 5)
		b.gate.Throttle(20)
		p := b.start() // the first tick is a second away: virtual time starts on the grid
		<-time.After(1500 * time.Millisecond)
		for range 3 { // one before each of the next ticks
			b.topic.fill(1, 5)
			<-time.After(time.Second)
		}
		p.drained()
		p.stopNow()
		done := batches(p.all("batchCompleted"))
		if len(done) != 4 || done[0].Records != 70 {
			t.Fatalf("batches: %+v", done)
		}
		for i, want := range []float64{0, 2500, 1500, 600} {
			if got := done[i].SchedulingDelay; got < want-100 || got > want+100 {
				t.Errorf("batch %d waited %.0f ms, want about %.0f", i, got, want)
			}
		}
		var last int64
		for i := range 4 {
			e, err := batchLogs{b.job().Folder}.readOffset(int64(i))
			if err != nil || (i > 0 && e.Time-last != 1000) {
				t.Errorf("batch %d: time %d after %d, %v", i, e.Time, last, err)
			}
			last = e.Time
		}
		if err := p.Stop(context.Background(), engines.StopNow); err != nil {
			t.Error(err)
		}
		b.expect(0, 0)
	})
}

// TestMissedTicks: a job that was down runs a batch for each tick that it missed, with
// that tick's time, as far as there is something to do. Under a limit that is how it
// comes back to where it would be.
func TestMissedTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(time.Second)
		b.config.Clock = Queueing
		b.config.Rate.MaxPerPartition = 10
		b.topic.fill(75, 7)
		p := b.start()
		<-time.After(3500 * time.Millisecond)
		p.stopNow()
		<-time.After(time.Hour)
		p = b.start()
		<-time.After(500 * time.Millisecond) // no tick's
		p.drained()
		<-time.After(2 * time.Second) // it has passed the ticks at which there was nothing
		p.stopNow()
		done := batches(p.all("batchCompleted"))
		var last int64
		for i, n := range []int64{10, 10, 10, 10, 10, 10, 10, 5} {
			e, err := batchLogs{b.job().Folder}.readOffset(int64(i))
			if err != nil || e.records() != n || i > 0 && e.Time-last != 1000 {
				t.Errorf("batch %d: %d records at %d after %d, %v", i, e.records(), e.Time, last, err)
			}
			last = e.Time
		}
		for _, d := range done {
			if d.SchedulingDelay > 10 {
				t.Errorf("batch %d waited for %v ms", d.Batch, d.SchedulingDelay)
			}
		}
		b.topic.fill(1, 7) // the ticks behind are those of the present again
		p = b.start()
		<-time.After(1100 * time.Millisecond)
		p.drained()
		p.stopNow()
		if e, err := (batchLogs{b.job().Folder}).readOffset(8); err != nil || e.Time < time.Now().Add(-2*time.Second).UnixMilli() {
			t.Errorf("the next batch: %+v, %v", e, err)
		}
		b.expect(0, 0)
	})
}

// TestBadInputIsCounted: under drop a batch goes on without it; by default the
// job fails with the place and the reason.
func TestBadInputIsCounted(t *testing.T) {
	for _, policy := range []pipeline.BadPolicy{pipeline.DropBad, pipeline.FailOnBad} {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.topic.bounded = true
		b.config.BatchAttempts = 1
		b.graph = func() *pipeline.Graph {
			g := windowGraph(b.topic, b.store, &store{}, 10, 0)
			g.OnBadInput(policy, nil)
			return g
		}
		b.topic.addAt(0, 3, 5)
		b.topic.addAt(0, 3, -5)
		b.topic.addAt(0, 3, 6)
		p := b.start()
		err := p.Wait()
		p.cancel()
		if policy == pipeline.FailOnBad {
			if want := `position 1: the record's event time -5 ms lies before 1970`; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v\nwant …%s", err, want)
			}
			continue
		}
		if err != nil || p.Gauges().BadRecords != 1 || !slices.Equal(windowsOf(b.store), []string{"key 3 window 0: 2"}) {
			t.Errorf("%v, %d bad, windows %q", err, p.Gauges().BadRecords, windowsOf(b.store))
		}
	}
}

// TestWindowsOnTheGrid: under the queueing clock windows of processing time are
// multiples of the interval, and each batch is in the windows of its tick.
func TestWindowsOnTheGrid(t *testing.T) {
	graph := func(b *bed, a window.Assigner) func() *pipeline.Graph {
		return func() *pipeline.Graph {
			g := pipeline.New("grid")
			keyed := pipeline.KeyBy(pipeline.From(g, "in", b.topic, decodeEvent).Codec(eventCodec), func(e event) int64 { return e.key })
			out := window.Reduce(window.On(keyed, a), "sum", func(acc, e event) event { acc.partition, acc.time = -1, acc.time+e.time; return acc })
			pipeline.To(out, "out", b.store, encodeEvent)
			return g
		}
	}
	const second = time.Second
	for _, c := range []struct {
		clock  ClockKind
		window window.Assigner
		want   string
	}{
		{Queueing, window.TumblingProcessingTime(1500 * time.Millisecond), `operator "sum": its window of processing time has 1.5s in it, which is no multiple of the batch interval 1s`},
		{Queueing, window.SlidingProcessingTime(4*second, 500*time.Millisecond), "has 500ms in it"},
		{Queueing, window.TumblingProcessingTime(2 * second).Offset(300 * time.Millisecond), "has 300ms in it"},
		{Queueing, window.TumblingProcessingTime(2 * second), ""},
		{Queueing, window.TumblingEventTime(1500 * time.Millisecond), ""},
		{Skipping, window.TumblingProcessingTime(1500 * time.Millisecond), ""},
	} {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(second)
		b.config.Clock = c.clock
		b.graph = graph(b, c.window)
		p, err := b.tryStart("", 0)
		if err == nil {
			p.stop(engines.StopNow)
		}
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.clock, err, c.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(second)
		b.config.Clock = Queueing
		b.graph = graph(b, window.TumblingProcessingTime(2*second))
		p := b.start()
		for range 6 { // one between each two ticks
			<-time.After(500 * time.Millisecond)
			b.topic.addAt(0, 1, 1)
			<-time.After(500 * time.Millisecond)
		}
		<-time.After(3 * second)
		p.stopNow()
		var sums []int64
		for _, r := range b.store.rows() {
			sums = append(sums, r.value)
		}
		// Ticks at 1 s … 6 s: the first is alone in its window.
		if want := []int64{1, 2, 2, 1}; !slices.Equal(sums, want) {
			t.Errorf("windows of %v records, want %v", sums, want)
		}
	})
}
