package microbatch

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// passGraph is what continuous processing can run: map-like operators.
func passGraph(in connectors.Source, out connectors.Sink) *pipeline.Graph {
	g := pipeline.New("pass")
	kept := pipeline.Filter(pipeline.From(g, "in", in, decodeEvent), "all", func(event) bool { return true })
	pipeline.To(pipeline.Map(kept, "same", func(e event) event { return e }), "out", out, encodeEvent)
	return g
}

// spreadGraph has an exchange and no state.
func spreadGraph(in connectors.Source, out connectors.Sink) *pipeline.Graph {
	g := pipeline.New("spread")
	s := pipeline.From(g, "in", in, decodeEvent).Codec(eventCodec).Rebalance()
	pipeline.To(pipeline.Map(s, "same", func(e event) event { return e }), "out", out, encodeEvent)
	return g
}

func streamingBed(t testing.TB, trigger Trigger, interval time.Duration) *bed {
	b := newBed(t, 3, connectors.AtLeastOnce)
	b.config.Trigger, b.config.Interval, b.config.Cores = trigger, Duration(interval), 8
	b.config.RealTime.MinBatchDuration = Duration(time.Millisecond)
	b.graph = func() *pipeline.Graph { return passGraph(b.topic, b.store) }
	return b
}

// streamed are the jobs of the two triggers that do not wait for batches.
var streamed = map[string]func(*bed){
	"continuous": func(*bed) {},
	"real-time": func(b *bed) {
		b.config.Trigger = RealTime
	},
	"real-time over an exchange": func(b *bed) {
		b.config.Trigger = RealTime
		b.graph = func() *pipeline.Graph { return spreadGraph(b.topic, b.store) }
	},
	"real-time with state": func(b *bed) {
		b.config.Trigger, b.config.RealTime.Stateful = RealTime, true
		b.graph = func() *pipeline.Graph { return countGraph(b.topic, b.store) }
	},
}

// TestRecordsPassBeforeTheirEpochEnds is what the two triggers are for: output
// does not wait for the interval, which is an hour here.
func TestRecordsPassBeforeTheirEpochEnds(t *testing.T) {
	for name, of := range streamed {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := streamingBed(t, Continuous, time.Hour)
				of(b)
				p := b.start()
				for n := 10; n <= 30; n += 10 {
					b.topic.fill(10, 7)
					synctest.Wait()
					if got := len(b.store.rows()); got != n {
						t.Fatalf("%d rows of %d before the interval's end", got, n)
					}
				}
				if got := p.all("batchCompleted"); len(got) != 0 {
					t.Errorf("complete before their end: %v", got)
				}
				if g := p.Gauges(); g.Consumed != 30 || g.Written != 30 || g.QueuedRecords != 0 {
					t.Errorf("gauges %+v", g)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				done := batches(p.all("batchCompleted"))
				if len(done) != 1 || done[0].Records != 30 || done[0].End["in/0"] != 12 {
					t.Errorf("epochs %+v", done)
				}
				time.Sleep(time.Hour)
				p.stopNow()
				b.expect(0, 0)
			})
		})
	}
}

// TestStreamingCrashes: at-least-once at every point that there is. Behind the
// output and before the commit everything since the last epoch comes again, as
// the point has announced; nothing is ever lost.
func TestStreamingCrashes(t *testing.T) {
	for name, of := range streamed {
		for _, point := range []string{"E1", "E2", "E3"} {
			for _, hit := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, point, hit), func(t *testing.T) {
					b := streamingBed(t, Continuous, 5*time.Millisecond)
					of(b)
					p := b.startArmed(point, hit)
					ended := make(chan struct{})
					go func() {
						defer close(ended)
						p.Wait()
					}()
					for open := true; open; { // records come until it is dead
						b.topic.fill(30, 7)
						select {
						case <-ended:
							open = false
						default:
							p.awaitWritten(b, ended)
						}
					}
					p.cancel()
					var c crash
					select {
					case c = <-p.crashed:
					default:
						t.Fatalf("point %s was not reached: %v", point, p.Wait())
					}
					if point == "E3" && b.config.Trigger == RealTime && c.acked != 0 {
						t.Errorf("%d copies announced behind the commit", c.acked)
					}
					if point != "E3" && c.acked < c.recovery.Records {
						t.Errorf("%d copies announced of %d records", c.acked, c.recovery.Records)
					}
					p = b.start()
					p.drained()
					p.stopNow()
					b.expect(int(c.acked), 0)
				})
			}
		}
	}
}

// awaitWritten waits until everything in the topic was written, or the job has
// ended.
func (p *process) awaitWritten(b *bed, ended <-chan struct{}) {
	for {
		p.mu.Lock()
		seen := p.seen
		p.mu.Unlock()
		if n := p.Gauges().Written; n >= int64(b.topic.records()) {
			return
		}
		select {
		case <-ended:
			return
		case <-seen: // an epoch later
		}
	}
}

// TestStreamingTakesNewSplits and splits that nobody has told it of at the start.
func TestStreamingTakesNewSplits(t *testing.T) {
	for name, of := range streamed {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := streamingBed(t, Continuous, 10*time.Millisecond)
				of(b)
				b.discovery = 20 * time.Millisecond
				b.topic.fill(30, 7)
				p := b.start()
				time.Sleep(time.Second)
				b.topic.grow(5)
				b.topic.fill(50, 7)
				time.Sleep(time.Second)
				p.drained()
				p.stopNow()
				b.expect(0, 0)
			})
		})
	}
}

// TestStreamingEndsWithItsSources: bounded sources are read to their end, with
// StopDrain and without.
func TestStreamingEndsWithItsSources(t *testing.T) {
	for name, of := range streamed {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := streamingBed(t, Continuous, 50*time.Millisecond)
				of(b)
				b.topic.fill(1000, 7)
				b.topic.bounded = true
				p := b.start()
				if name == "continuous" {
					p.stop(engines.StopDrain)
				}
				if err := p.Wait(); err != nil {
					t.Fatal(err)
				}
				b.expect(0, 0)
				p.cancel()
			})
		})
	}
}

// TestStateOfRealTime: counts go on behind a restart and a task's failure.
func TestStateOfRealTime(t *testing.T) {
	b := streamingBed(t, RealTime, 3*time.Millisecond)
	streamed["real-time with state"](b)
	for range 3 {
		b.topic.fill(100, 7)
		p := b.start()
		p.drained()
		p.stopNow()
	}
	b.expect(0, 0)
	if err := b.counts(); err != nil {
		t.Error(err)
	}
}

// TestABoundedExchangeHoldsTheSourceBack: a slow sink behind an exchange stops the
// reading, not the memory.
func TestABoundedExchangeHoldsTheSourceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := streamingBed(t, RealTime, time.Hour)
		streamed["real-time over an exchange"](b)
		b.gate = connectors.NewGate()
		b.gate.Throttle(0.001)
		b.topic.chunk = 1000
		const n = 200_000
		b.topic.fill(n, 7)
		p := b.start()
		synctest.Wait()
		g := p.Gauges()
		if g.Consumed >= n || g.QueuedBytes > 16*2*liveBuffers*64<<10 {
			t.Errorf("%d records taken in, %d bytes inside", g.Consumed, g.QueuedBytes)
		}
		time.Sleep(time.Second)
		if g = p.Gauges(); g.Tasks[0].Blocked < 0.9 {
			t.Errorf("the source's stage says %+v", g.Tasks[0])
		}
		b.gate.Throttle(0)
		p.stop(engines.StopDrain)
		b.topic.parts = b.topic.parts[:0]
	})
}

// TestATaskOfAStreamingTriggerFails: it is not run again, and the job says so.
func TestATaskOfAStreamingTriggerFails(t *testing.T) {
	for name, of := range streamed {
		t.Run(name, func(t *testing.T) {
			b := streamingBed(t, Continuous, 5*time.Millisecond)
			of(b)
			b.topic.fill(100, 7)
			b.store.failWrites = 50
			p := b.start()
			err := p.Wait()
			p.cancel()
			if err == nil || !strings.Contains(err.Error(), "runs no task again by itself") || !strings.Contains(err.Error(), `sink "out"`) {
				t.Fatalf("the job ended with %v", err)
			}
			p = b.start()
			p.drained()
			p.stopNow()
			if _, losses := b.verdict(); losses > 0 {
				t.Errorf("%d losses", losses)
			}
		})
	}
}

// TestStreamingStopsNow: an immediate stop waits for no epoch.
func TestStreamingStopsNow(t *testing.T) {
	for name, of := range streamed {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := streamingBed(t, Continuous, time.Hour)
				of(b)
				b.topic.fill(100, 7)
				p := b.start()
				synctest.Wait()
				p.stop(engines.StopNow)
				p = b.start() // and all of it comes again
				time.Sleep(time.Hour)
				p.drained()
				p.stopNow()
				b.expect(100, 0)
			})
		})
	}
}

func TestStreamingRefusals(t *testing.T) {
	for want, of := range map[string]func(*bed){
		"trigger continuous is at-least-once, and the job is to be exactly-once": func(b *bed) { b.guarantee = connectors.ExactlyOnce },
		"trigger real-time is at-least-once, and the job is to be at-most-once": func(b *bed) {
			b.guarantee, b.config.Trigger = connectors.AtMostOnce, RealTime
		},
		`operator "count" keeps state, and trigger continuous runs map-like operators only`: func(b *bed) {
			b.graph = func() *pipeline.Graph { return countGraph(b.topic, b.store) }
		},
		`operator "same" gets its input over an exchange (rebalance), and trigger continuous`: func(b *bed) {
			b.graph = func() *pipeline.Graph { return spreadGraph(b.topic, b.store) }
		},
		`operator "count" keeps state, and trigger real-time is stateless, as in Spark 4.1 and 4.2: realTime.stateful: true`: func(b *bed) {
			b.config.Trigger = RealTime
			b.graph = func() *pipeline.Graph { return countGraph(b.topic, b.store) }
		},
		"trigger continuous runs all of its tasks at the same time, 2, and there are 1 cores": func(b *bed) { b.config.Cores = 1 },
		"interval: at least realTime.minBatchDuration (5s)": func(b *bed) {
			b.config.Trigger, b.config.RealTime.MinBatchDuration = RealTime, Duration(defaultMinBatch)
		},
		"executors: value 2: trigger real-time passes records between stages within one process, and the job has 2 stages: set executors to 1": func(b *bed) {
			b.config.Trigger, b.config.Executors = RealTime, 2
			b.graph = func() *pipeline.Graph { return spreadGraph(b.topic, b.store) }
		},
		"rate: no limits with trigger continuous": func(b *bed) { b.config.Rate.MaxRecordsPerBatch = 10 },
		"source.mode: fixed, assignment or structured with trigger continuous": func(b *bed) {
			b.config.Source.Mode = Receiver
		},
		"trigger: processing-time with the queueing clock": func(b *bed) { b.config.Clock = Queueing },
		"continuous.epochBacklog: 1 or more":               func(b *bed) { b.config.Continuous.EpochBacklog = 0 },
	} {
		b := streamingBed(t, Continuous, time.Second)
		of(b)
		if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: %v\nwant %s", err, want)
		}
		if _, err := New().Plan(b.job(), b.config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("plan: %v\nwant %s", err, want)
		}
	}
}

// TestAFullBacklogOfEpochs fails the job by name.
func TestAFullBacklogOfEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := streamingBed(t, Continuous, 10*time.Millisecond)
		b.config.Continuous.EpochBacklog = 5
		b.gate = connectors.NewGate()
		b.gate.Throttle(0.01)
		b.topic.fill(100, 7)
		p := b.start()
		err := p.Wait()
		p.cancel()
		if err == nil || !strings.Contains(err.Error(), "5 epochs wait for their tasks, epoch 0 the longest; the interval is 10ms and continuous.epochBacklog 5: raise one of them") {
			t.Errorf("the job ended with %v", err)
		}
	})
}

// TestTriggersMayChange from one start to the next, as Spark allows.
func TestTriggersMayChange(t *testing.T) {
	b := streamingBed(t, Continuous, 5*time.Millisecond)
	for _, trigger := range []Trigger{Continuous, ProcessingTime, RealTime, Continuous} {
		b.config.Trigger = trigger
		b.topic.fill(50, 7)
		p := b.start()
		p.drained()
		p.stopNow()
	}
	b.expect(0, 0)
}
