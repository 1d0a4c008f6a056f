package dataflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

func TestNewPartitionsAreReadFromTheirFirstRecord(t *testing.T) {
	for _, g := range guarantees() {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.b.grow("in", 2)
				r := w.start(context.Background())
				w.feed("in", 30)
				w.b.grow("in", 5)
				w.feed("in", 30) // written before they are discovered
				time.Sleep(2 * time.Second)
				w.feed("in", 30)
				w.stop(r, engines.StopCheckpoint)
				// A restart knows the new ones, and finds one more.
				w.b.grow("in", 6)
				w.restartAndDrain()
				expect(t, w.tally("in"), tally{})
				var found []string
				for _, e := range w.kinds("discovered") {
					found = append(found, string(e.(engines.Discovered).Split))
				}
				sort.Strings(found)
				expect(t, found, "[in/0 in/0 in/1 in/1 in/2 in/2 in/3 in/3 in/4 in/4 in/5]")
				for _, e := range w.kinds("discovered")[2:5] {
					expect(t, e.(engines.Discovered).From, 0)
				}
				expect(t, len(w.kinds("firstRecord")), 11)
			})
		})
	}
}

func TestWithoutDiscoveryNewPartitionsAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.job.Discovery = 0
		w.b.grow("in", 2)
		r := w.start(context.Background())
		w.feed("in", 5)
		w.b.grow("in", 3)
		time.Sleep(5 * time.Second)
		w.fillOne("in", 2, 10, 37)
		time.Sleep(5 * time.Second)
		w.stop(r, engines.StopDrain)
		expect(t, w.tally("in"), tally{losses: 10})
	})
}

// TestPressureReachesTheSource: with a slow sink, what waits inside stays within
// the buffers, the rest stays outside, and intake follows the sink.
func TestPressureReachesTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.b.grow("in", 4)
		w.fill("in", 50_000, 37)
		w.rt.Gate.Throttle(5000)
		r := w.start(context.Background())
		// Frames are 28 bytes and a 28 byte origin; what two source subtasks may
		// have on their way to two others:
		const frame = 56
		perGate := 2*2 + 8 + 5
		bound := int64(2*perGate)*(36<<10)/frame + 4*50
		var before int64
		for range 20 {
			time.Sleep(time.Second)
			g := r.Gauges()
			if g.QueuedRecords > bound || g.QueuedBytes > 2*int64(perGate)*(36<<10) {
				t.Fatalf("%d records and %d bytes queued, at most %d fit", g.QueuedRecords, g.QueuedBytes, bound)
			}
			if d := g.Written - before; before > 0 && (d < 4000 || d > 6000) {
				t.Errorf("%d written in a second, the sink takes 5000", d)
			}
			before = g.Written
			if g.Consumed-g.Written > bound {
				t.Errorf("taken in %d, written %d", g.Consumed, g.Written)
			}
			expect(t, g.Lag > 0, true)
		}
		g := r.Gauges()
		for _, task := range g.Tasks {
			if sum := task.Busy + task.Blocked + task.Idle; sum < 0.99 || sum > 1.01 {
				t.Errorf("shares of %s add up to %v", task.Name, sum)
			}
		}
		time.Sleep(5 * time.Second)
		busiest := 0.0
		for _, task := range r.Gauges().Tasks {
			switch {
			case strings.HasPrefix(task.Name, "in") && task.Blocked < 0.9:
				t.Errorf("%+v: it should wait for buffers", task)
			case strings.HasPrefix(task.Name, "count"):
				expect(t, task.Blocked, 0)
				busiest = max(busiest, task.Busy)
			}
		}
		if busiest < 0.99 {
			t.Errorf("waiting for the sink is busy: %v", busiest)
		}
		w.rt.Gate.Throttle(0)
		for r.Gauges().Lag > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		w.stop(r, engines.StopDrain)
		expect(t, w.tally("in"), tally{})
	})
}

func TestBufferTimeouts(t *testing.T) {
	for _, c := range []struct {
		timeout BufferTimeout
		atMost  time.Duration
	}{{0, 0}, {BufferTimeout(10 * time.Millisecond), 10 * time.Millisecond}, {-1, 10 * time.Second}} {
		t.Run(fmt.Sprint(time.Duration(c.timeout)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, connectors.AtLeastOnce, 2)
				w.cfg.BufferTimeout = c.timeout
				w.cfg.Checkpoint.Interval = Duration(10 * time.Second)
				w.b.grow("in", 1)
				r := w.start(context.Background())
				time.Sleep(3333 * time.Microsecond)
				at := time.Now()
				w.fill("in", 1, 1)
				for {
					synctest.Wait()
					if r.Gauges().Written == 1 {
						break
					}
					time.Sleep(100 * time.Microsecond)
				}
				took := time.Since(at)
				if took > c.atMost {
					t.Errorf("the record took %v, at most %v", took, c.atMost)
				}
				if c.timeout == -1 && took < 9*time.Second {
					t.Errorf("the record took %v: something flushed before the barrier", took)
				}
				w.stop(r, engines.StopDrain)
			})
		})
	}
}

// TestABarriersWay is the order of things in a checkpoint, as a trace.
func TestABarriersWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace []string
		for _, point := range []string{"D0", "D1", "D2", "D3", "D4", "D5", "D7", "D8"} {
			w := newWorld(t, connectors.ExactlyOnce, 1)
			w.b.grow("in", 1)
			w.rt.Failpoints.Arm(point, 1, func(at engines.FailpointReached, _ func() engines.Recovery) {
				line := at.Point + ":"
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, e := range w.events {
					switch e.(type) {
					case engines.CheckpointTriggered, engines.CheckpointCompleted, engines.Durable:
						line += " " + e.Kind()
					}
				}
				w.b.mu.Lock()
				defer w.b.mu.Unlock()
				trace = append(trace, fmt.Sprintf("%s, %d visible", line, len(w.b.visible)))
			})
			r := w.start(context.Background())
			w.fill("in", 5, 2)
			time.Sleep(150 * time.Millisecond)
			w.stop(r, engines.StopNow)
		}
		want := []string{
			"D0: checkpointTriggered, 0 visible",
			"D1: checkpointTriggered, 0 visible",
			"D2: checkpointTriggered, 0 visible",
			"D3: checkpointTriggered, 0 visible",
			"D4: checkpointTriggered, 0 visible",
			"D5: checkpointTriggered checkpointCompleted durable, 0 visible",
			"D7: checkpointTriggered checkpointCompleted durable, 5 visible",
			"D8: checkpointTriggered checkpointCompleted durable, 5 visible",
		}
		if got := strings.Join(trace, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s", got)
		}
	})
}

// timed is the shape of a job with event time: count a key's records until the
// watermark has passed the end of the second they fall in, then put out
// (key, second, count).
func timed(streams ...*pipeline.Stream[item]) *pipeline.Stream[item] {
	all := pipeline.Union(streams[0], streams[1:]...).Codec(itemCodec)
	return pipeline.Process(pipeline.KeyBy(all, func(v item) int64 { return v.key*1000 + v.sequence/1000 }), "second", func(s *pipeline.Setup[int64]) pipeline.Function[int64, item, item] {
		counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
		return pipeline.Function[int64, item, item]{
			Element: func(v item, c *pipeline.KeyedCtx[int64], emit func(item)) {
				n, _ := counts.Ref(c.Key())
				*n++
				c.EventTimer(v.sequence/1000*1000 + 999)
			},
			EventTimer: func(ts int64, c *pipeline.KeyedCtx[int64], emit func(item)) {
				n, _ := counts.Get(c.Key())
				counts.Delete(c.Key())
				emit(item{key: c.Key() / 1000, sequence: ts, count: n})
			},
		}
	}).Codec(itemCodec)
}

// at makes a record with an event time; sequence holds it in the item.
func at(key int64, millis int64) connectors.Record {
	v := binary.LittleEndian.AppendUint64(nil, uint64(key))
	return connectors.Record{Value: binary.LittleEndian.AppendUint64(v, uint64(millis))}
}

func decodeTimed(r *connectors.Record) (item, error) {
	return item{key: int64(binary.LittleEndian.Uint64(r.Value)), sequence: int64(binary.LittleEndian.Uint64(r.Value[8:]))}, nil
}

func (w *world) timedJob(idle time.Duration, topics ...string) {
	g := pipeline.New("timed")
	var in []*pipeline.Stream[item]
	for _, name := range topics {
		in = append(in, pipeline.From(g, name, topic{w.b, name}, decodeTimed,
			pipeline.EventTime(func(v item) int64 { return v.sequence }, pipeline.Watermarks{Delay: 100 * time.Millisecond, Idle: idle})))
	}
	pipeline.To(timed(in...), "out", output{w.b}, encodeItem)
	w.job.Graph = g
}

func (w *world) results() string {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	var out []string
	for _, r := range w.b.visible {
		v, _, _ := itemCodec.Decode(r.Value)
		out = append(out, fmt.Sprintf("%d@%d=%d", v.key, v.sequence, v.count))
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

// TestAnIdlePartitionHoldsTimeBackUnlessItIsLeftOut in one source and between
// the sources of a union.
func TestAnIdlePartitionHoldsTimeBackUnlessItIsLeftOut(t *testing.T) {
	for _, topics := range [][]string{{"a"}, {"a", "b"}} {
		for _, idle := range []time.Duration{0, 2 * time.Second} {
			for _, p := range []int{1, 3} {
				t.Run(fmt.Sprint(topics, idle, p), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, connectors.AtLeastOnce, p)
						for _, name := range topics {
							w.b.grow(name, 2)
						}
						w.timedJob(idle, topics...)
						r := w.start(context.Background())
						w.b.append("a", 0, at(1, 100), at(1, 200), at(2, 300))
						time.Sleep(time.Second)
						w.b.append("a", 0, at(1, 1099)) // watermark 998 to come
						time.Sleep(time.Second)
						w.b.append("a", 0, at(1, 1100)) // 999
						time.Sleep(time.Second)
						if idle == 0 {
							expect(t, w.results(), "")
						} else {
							// Nobody else has said anything for two seconds.
							time.Sleep(500 * time.Millisecond)
							expect(t, w.results(), "1@999=2 2@999=1")
							wm := r.Gauges().WatermarkMs
							if wm == nil || *wm != 999 {
								t.Errorf("watermark %v", wm)
							}
						}
						// The end of the job is the end of time.
						w.stop(r, engines.StopDrain)
						expect(t, w.results(), "1@1999=2 1@999=2 2@999=1")
					})
				})
			}
		}
	}
}

// TestTimersSurvive: a checkpointed stop fires nothing; the next run does.
func TestTimersSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("a", 2)
		w.timedJob(0, "a")
		r := w.start(context.Background())
		for key := range int64(20) {
			w.b.append("a", int(key%2), at(key, 500))
		}
		time.Sleep(time.Second)
		w.stop(r, engines.StopCheckpoint)
		expect(t, w.results(), "")
		w.job.Parallelism = 3
		r = w.start(context.Background())
		time.Sleep(time.Second)
		w.b.append("a", 0, at(0, 1100))
		time.Sleep(time.Second)
		expect(t, w.results(), "") // partition 1 is still at 500, restored
		w.b.append("a", 1, at(0, 1100))
		time.Sleep(time.Second)
		w.stop(r, engines.StopCheckpoint)
		expect(t, strings.Count(w.results(), "@999=1"), 20)
	})
}

func TestProcessingTimeTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.b.grow("in", 2)
		w.job.Graph = pipeline.New("processing time")
		w.later()
		r := w.start(context.Background())
		time.Sleep(time.Second)
		w.b.append("in", 0, input(0, 1, 100), input(0, 2, 100))
		time.Sleep(900 * time.Millisecond)
		expect(t, w.results(), "")
		time.Sleep(200 * time.Millisecond)
		expect(t, w.results(), "14@0=0 7@0=0") // on the millisecond
		w.stop(r, engines.StopDrain)
	})
}

// later adds to the job's graph what answers each record a second after it.
func (w *world) later() {
	in := pipeline.From(w.job.Graph, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
	late := pipeline.Process(pipeline.KeyBy(in, func(v item) int64 { return v.key }), "later", func(s *pipeline.Setup[int64]) pipeline.Function[int64, item, item] {
		return pipeline.Function[int64, item, item]{
			Element: func(v item, c *pipeline.KeyedCtx[int64], emit func(item)) {
				c.ProcessingTimer(c.ProcessingTime() + 1000)
			},
			ProcessingTimer: func(ts int64, c *pipeline.KeyedCtx[int64], emit func(item)) {
				emit(item{key: c.Key(), sequence: time.Now().UnixMilli() - ts})
			},
		}
	}).Codec(itemCodec)
	pipeline.To(late, "out", output{w.b}, encodeItem)
}

// TestTimersThatTheEndComesBefore stay in the last checkpoint, also where the rest of
// the job takes longer to its end than they would have.
func TestTimersThatTheEndComesBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("in", 2)
		w.b.grow("long", 1)
		w.job.Graph = pipeline.New("processing time")
		w.later()
		long := pipeline.From(w.job.Graph, "long", topic{w.b, "long"}, decodeItem).Codec(itemCodec)
		pipeline.To(long, "none", output{w.b}, func(v item, r *connectors.Record) { time.Sleep(100 * time.Millisecond) })
		r := w.start(context.Background())
		time.Sleep(time.Second)
		w.fill("long", 50, 37)
		w.b.append("in", 0, input(0, 1, 100), input(0, 2, 100))
		time.Sleep(500 * time.Millisecond)
		before := time.Now()
		w.stop(r, engines.StopDrain)
		if time.Since(before) < 2*time.Second {
			t.Fatal("the end came before the timers")
		}
		answers := func() string {
			w.b.mu.Lock()
			w.b.visible = slices.DeleteFunc(w.b.visible, func(r connectors.Record) bool { return len(r.Value) == 0 })
			w.b.mu.Unlock()
			return w.results()
		}
		expect(t, answers(), "")
		r = w.start(context.Background())
		time.Sleep(time.Second)
		w.stop(r, engines.StopDrain)
		expect(t, strings.Count(answers(), "="), 2)
	})
}

// TestALargeRecordAndManyOutputs: a flat map that puts out more than all
// buffers hold, and records larger than a buffer.
func TestALargeRecordAndManyOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.b.grow("in", 2)
		w.cfg.Buffers = Buffers{Size: 32 << 10, ExclusivePerChannel: 1, FloatingPerGate: 0, Overdraft: 1}
		g := pipeline.New("large")
		in := pipeline.From(g, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
		many := pipeline.FlatMap(in, "many", func(v item, emit func([]byte)) {
			for i := range 2000 {
				emit(make([]byte, 100+i%7))
			}
			emit(make([]byte, 300_000))
		})
		sized := pipeline.Map(many.Rebalance(), "size", func(b []byte) item { return item{count: int64(len(b))} })
		pipeline.To(sized, "out", output{w.b}, encodeItem)
		w.job.Graph = g
		r := w.start(context.Background())
		w.fill("in", 10, 3)
		time.Sleep(time.Second)
		w.stop(r, engines.StopDrain)
		expect(t, len(w.b.visible), 20*2001)
		large := 0
		for _, v := range w.b.visible {
			if x, _, _ := itemCodec.Decode(v.Value); x.count == 300_000 {
				large++
			}
		}
		expect(t, large, 20)
	})
}
