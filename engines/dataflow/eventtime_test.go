package dataflow

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// TestMaximumOverChannels: stream time is what is farthest ahead, and its end
// comes when all channels have ended.
func TestMaximumOverChannels(t *testing.T) {
	v := newValve(2, true)
	expect(t, v.watermark(0, 10), true)
	expect(t, v.watermark(1, 7), false)
	expect(t, v.watermark(1, 20), true)
	expect(t, v.watermark(0, math.MaxInt64), false)
	expect(t, v.out, 20)
	expect(t, v.watermark(1, 30), true)
	expect(t, v.watermark(1, math.MaxInt64), true)
	expect(t, v.out, math.MaxInt64)
}

// lateJob counts per key and second and puts out what came late as count −1.
func lateJob(src connectors.Source, sink connectors.Sink, w pipeline.Watermarks) *pipeline.Graph {
	g := pipeline.New("late")
	in := pipeline.From(g, "in", src, decodeTimed, pipeline.EventTime(func(v item) int64 { return v.sequence }, w)).Codec(itemCodec)
	out := pipeline.Process(pipeline.KeyBy(in, func(v item) int64 { return v.key*1000 + v.sequence/1000 }), "second", func(s *pipeline.Setup[int64]) pipeline.Function[int64, item, item] {
		counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
		return pipeline.Function[int64, item, item]{
			Element: func(v item, c *pipeline.KeyedCtx[int64], emit func(item)) {
				last := v.sequence/1000*1000 + 999
				if last <= c.Watermark() {
					emit(item{key: v.key, sequence: v.sequence, count: -1})
					return
				}
				n, _ := counts.Ref(c.Key())
				*n++
				c.EventTimer(last)
			},
			EventTimer: func(ts int64, c *pipeline.KeyedCtx[int64], emit func(item)) {
				n, _ := counts.Get(c.Key())
				counts.Delete(c.Key())
				emit(item{key: c.Key() / 1000, sequence: ts, count: n})
			},
		}
	}).Codec(itemCodec)
	pipeline.To(out, "out", sink, encodeItem)
	return g
}

// TestWatermarkPolicies: a job is started on a backlog whose partitions cover the
// same time with different numbers of records. The minimum loses nothing; a
// maximum takes the time from the short partition, which is read first. All
// records are accounted for either way.
func TestWatermarkPolicies(t *testing.T) {
	const long, short = 1000, 20
	for policy, loses := range map[WatermarkPolicy]bool{MinOverSplits: false, MinOverPartitions: false, TaskMax: true, SparkMax: true} {
		for _, p := range []int{1, 2} {
			t.Run(fmt.Sprint(policy, p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, connectors.AtLeastOnce, p)
					w.cfg.Watermark = policy
					w.b.limit = 10
					w.b.grow("in", 2)
					for i := range int64(long) {
						w.b.append("in", 0, at(1, i*10))
					}
					for i := range int64(short) {
						w.b.append("in", 1, at(2, i*500))
					}
					w.job.Graph = lateJob(topic{w.b, "in"}, output{w.b}, pipeline.Watermarks{})
					r := w.start(context.Background())
					time.Sleep(time.Second)
					w.stop(r, engines.StopDrain)
					counted, late := int64(0), int64(0)
					for _, rec := range w.b.visible {
						v, _, _ := itemCodec.Decode(rec.Value)
						if v.count < 0 {
							late++
						} else {
							counted += v.count
						}
					}
					if counted+late != long+short || late > 0 != loses && (p == 1 || policy != TaskMax) {
						t.Errorf("%d counted, %d late of %d", counted, late, long+short)
					}
				})
			})
		}
	}
}

// TestIdleSplitsEndToo: the end of a stream is the end of its time, also where
// all sources had fallen idle before.
func TestIdleSplitsEndToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.b.grow("in", 2)
		w.timedJob(time.Second, "in")
		r := w.start(context.Background())
		w.b.append("in", 0, at(1, 100), at(1, 2500))
		time.Sleep(10 * time.Second)
		expect(t, w.results(), "1@999=1")
		w.stop(r, engines.StopDrain)
		expect(t, w.results(), "1@2999=1 1@999=1")
	})
}

// TestWatermarkAlignment: a split whose time passes five times as fast is paused, so that
// it stays near the other one; without alignment it runs away. When the slow one
// has caught up nothing has been left out.
func TestWatermarkAlignment(t *testing.T) {
	const seconds = 20
	for _, topics := range [][2]string{{"a", "a"}, {"a", "b"}} { // splits of one source, and two sources
		for _, aligned := range []bool{true, false} {
			t.Run(fmt.Sprint(topics, aligned), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, connectors.AtLeastOnce, 2)
					w.b.limit = 5
					slow := 0
					if topics[0] == topics[1] {
						slow = 1
						w.b.grow("a", 2)
					} else {
						w.b.grow("a", 1)
						w.b.grow("b", 1)
					}
					wm := pipeline.Watermarks{}
					if aligned {
						wm.Align = pipeline.Alignment{Group: "g", MaxDrift: time.Second}
					}
					g := pipeline.New("aligned")
					streams := []*pipeline.Stream[item]{pipeline.From(g, "a", topic{w.b, "a"}, decodeTimed, pipeline.EventTime(func(v item) int64 { return v.sequence }, wm))}
					if topics[1] == "b" {
						streams = append(streams, pipeline.From(g, "b", topic{w.b, "b"}, decodeTimed, pipeline.EventTime(func(v item) int64 { return v.sequence }, wm)))
					}
					pipeline.To(timed(streams...), "out", output{w.b}, encodeItem)
					w.job.Graph = g
					r := w.start(context.Background())
					read := func(name string, p int) int64 {
						for _, s := range r.(*run).sources {
							s.mu.Lock()
							v := s.views[topic{w.b, name}.split(p).ID]
							s.mu.Unlock()
							if v != nil {
								return v.position.Load()
							}
						}
						return 0
					}
					worst := int64(0)
					for i := range int64(seconds * 10) { // a record each of 100 ms: 500 ms of time, and 100 ms
						w.b.append("a", 0, at(1, i*500))
						w.b.append(topics[1], slow, at(2, i*100))
						time.Sleep(100 * time.Millisecond)
						worst = max(worst, 500*read("a", 0)-100*read(topics[1], slow))
					}
					// The slow split's time moves by a second from one update of the group to
					// the next, the fast one's by five; a poll may bring five records more.
					if limit := int64(1000 + 1000 + 5000 + 5*500); aligned && worst > limit || !aligned && worst < seconds*4000-1000 {
						t.Errorf("the fast split was %d ms ahead", worst)
					}
					for i := range int64(seconds * 40) { // the slow split comes to the same time
						w.b.append(topics[1], slow, at(2, (seconds*10+i)*100))
					}
					// Aligned splits come at most the drift farther from one update to the next.
					time.Sleep(seconds * 5 * time.Second)
					if got := read("a", 0); got != seconds*10 {
						t.Errorf("%d records of the fast split were read, want %d", got, seconds*10)
					}
					w.stop(r, engines.StopDrain)
					var n int64
					for _, rec := range w.b.visible {
						v, _, _ := itemCodec.Decode(rec.Value)
						n += v.count
					}
					if n != seconds*60 {
						t.Errorf("%d records counted, want %d", n, seconds*60)
					}
				})
			})
		}
	}
}

// TestBadInputIsCountedAndTold: what cannot be used is left out, counted, and the
// first of it told; by default it fails the job.
func TestBadInputIsCountedAndTold(t *testing.T) {
	for _, policy := range []pipeline.BadPolicy{pipeline.DropBad, pipeline.FailOnBad} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, connectors.AtLeastOnce, 1)
			w.b.grow("in", 1)
			for i := range int64(20) {
				w.b.append("in", 0, at(1, 1000+i), at(1, -1-i))
			}
			g := lateJob(topic{w.b, "in"}, output{w.b}, pipeline.Watermarks{})
			g.OnBadInput(policy, nil)
			w.job.Graph = g
			r := w.start(context.Background())
			time.Sleep(time.Second)
			if policy == pipeline.FailOnBad {
				err := r.Wait()
				if want := `source "in": split in/0, position 1: the record's event time -1 ms lies before 1970`; err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant …%s", err, want)
				}
				return
			}
			if n := r.Gauges().BadRecords; n != 20 {
				t.Errorf("%d records of bad input counted, want 20", n)
			}
			told := w.kinds("badInput")
			if len(told) != 10 {
				t.Fatalf("%d told, want the first 10", len(told))
			}
			if b := told[0].(engines.BadInput); b.Position != 1 || b.Split != "in/0" || !strings.Contains(b.Reason, "before 1970") || len(b.Value) != 16 {
				t.Errorf("told %+v", b)
			}
			w.stop(r, engines.StopDrain)
			expect(t, w.results(), "1@1999=20")
		})
	}
}
