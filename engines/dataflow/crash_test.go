package dataflow

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
)

// crash is what was known when the process died.
type crash struct {
	reached  engines.FailpointReached
	recovery engines.Recovery
	copies   int64 // outputs acknowledged whose input lies at or after the recovery positions
	missing  int64 // inputs before them without an acknowledged output
	visible  int64 // outputs at or after them that a read_committed reader sees already
}

// replayed is how many records are read a second time.
func (c crash) replayed() (n int64) {
	for s, until := range c.recovery.Reached {
		n += max(int64(until-c.recovery.Positions[s]), 0)
	}
	return n
}

// arm makes the next start or the running job die at a point: from then on
// nothing of it reaches the outside world, and its goroutine is gone.
func (w *world) arm(ctx context.Context, point string, hit, attempt int, fell chan<- crash) {
	w.rt.Failpoints.Arm(point, hit, func(f engines.FailpointReached, recovery func() engines.Recovery) {
		w.b.kill(attempt)
		c := crash{reached: f, recovery: recovery()}
		for s, p := range c.recovery.Positions {
			var part int32
			fmt.Sscanf(string(s), "in/%d", &part)
			c.copies += w.rt.Acks.From(part, p)
			c.missing += w.rt.Acks.Missing(part, c.recovery.Base[s], p)
			c.visible += w.b.visibleFrom(w.t, part, int64(p))
		}
		fell <- c
		<-ctx.Done()
		runtime.Goexit()
	})
}

// crashing runs the counting job, kills it at the hit-th passage through a
// point, starts it again and drains it.
func crashing(t *testing.T, g connectors.Guarantee, parallelism int, point string, hit int, change func(*world)) (*world, crash) {
	w := newWorld(t, g, parallelism)
	w.b.grow("in", 4)
	if change != nil {
		change(w)
	}
	ctx, abandon := context.WithCancel(context.Background())
	fell := make(chan crash, 1)
	w.arm(ctx, point, hit, 1, fell)
	r := w.start(ctx)
	var c crash
	for i := 0; ; i++ {
		if i == 3000 {
			t.Fatalf("point %s was not reached %d times", point, hit)
		}
		w.fill("in", 13, 37)
		time.Sleep(7 * time.Millisecond)
		select {
		case c = <-fell:
		default:
			continue
		}
		break
	}
	abandon()
	r.Wait()
	w.restartAndDrain()
	return w, c
}

func (w *world) restartAndDrain() {
	w.t.Helper()
	r := w.start(context.Background())
	for range 30 {
		w.fill("in", 11, 37)
		time.Sleep(7 * time.Millisecond)
	}
	w.rt.Gate.Throttle(0)
	w.b.uneven.Store(false)
	for i := 0; !w.caughtUp(); i++ {
		if i == 1000 {
			w.t.Fatalf("still behind: %+v", r.Gauges())
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := r.Stop(context.Background(), engines.StopDrain); err != nil {
		w.t.Fatal(err)
	}
}

// caughtUp reports whether the newest durable positions are the input's end. The
// lag gauge would not do: it is as old as the last look at the ends.
func (w *world) caughtUp() bool {
	es := w.kinds("durable")
	if len(es) == 0 {
		return false
	}
	durable := es[len(es)-1].(engines.Durable).Positions
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	for name, ps := range w.b.input {
		for p, rs := range ps {
			if durable[connectors.SplitID(fmt.Sprintf("%s/%d", name, p))] < connectors.Position(len(rs)) {
				return false
			}
		}
	}
	return true
}

// TestCrashCatalogue is the dataflow table of docs/crash-points.md.
func TestCrashCatalogue(t *testing.T) {
	for _, g := range guarantees() {
		for _, p := range []int{1, 2} {
			for _, point := range []string{"D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8"} {
				if point == "D6" && p == 1 {
					continue // there is no k with 0 < k < 1
				}
				for _, hit := range []int{1, 4, 7} {
					t.Run(fmt.Sprint(g, "/", p, "/", point, "/", hit), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							w, c := crashing(t, g, p, point, hit, nil)
							got := w.tally("in")
							w.checkReplay(g, c)
							switch g {
							case connectors.ExactlyOnce:
								expect(t, got, tally{})
								expect(t, w.b.open(), []string(nil))
							case connectors.AtLeastOnce:
								expect(t, got.losses, 0)
								expect(t, got.copies, c.copies)
							default:
								expect(t, got.copies, 0)
								expect(t, got.losses, c.missing)
							}
						})
					})
				}
			}
		}
	}
}

// TestCrashUnderBackpressure crashes with full queues: barriers wait behind
// records, channels are blocked while others run on, batches are half pushed.
func TestCrashUnderBackpressure(t *testing.T) {
	for _, g := range guarantees() {
		for _, point := range []string{"D0", "D1", "D3", "D4", "D6"} {
			for _, hit := range []int{1, 3} {
				t.Run(fmt.Sprint(g, "/", point, "/", hit), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, c := crashing(t, g, 2, point, hit, func(w *world) {
							w.b.limit = 300
							// One source subtask has a backlog, the other has not: its
							// barrier is there at once, and records follow it.
							for _, p := range []int{0, 2} {
								w.fillOne("in", p, 15000, 37)
							}
							w.rt.Gate.Throttle(20000)
							w.b.uneven.Store(true)
						})
						got := w.tally("in")
						w.checkReplay(g, c)
						switch g {
						case connectors.ExactlyOnce:
							expect(t, got, tally{})
						case connectors.AtLeastOnce:
							expect(t, got.losses, 0)
							expect(t, got.copies, c.copies)
						default:
							expect(t, got.copies, 0)
							expect(t, got.losses, c.missing)
						}
					})
				})
			}
		}
	}
}

// checkReplay checks how far the job says that it had read when it was killed:
// at least as far as outputs were acknowledged, and no further than there was
// input. At most once nothing is read twice.
func (w *world) checkReplay(g connectors.Guarantee, c crash) {
	w.t.Helper()
	if again := c.replayed(); again < c.copies || g == connectors.AtMostOnce && again != 0 {
		w.t.Errorf("%d records are read again, %d outputs were acknowledged", again, c.copies)
	}
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	for p, rs := range w.b.input["in"] {
		s := connectors.SplitID(fmt.Sprintf("in/%d", p))
		if at, ok := c.recovery.Reached[s]; !ok || at > connectors.Position(len(rs)) {
			w.t.Errorf("split %s was read up to %d (%v), it has %d records", s, at, ok, len(rs))
		}
	}
}

// TestASecondCrashBeforeTheNextCheckpoint goes back to the same checkpoint
// twice. Its transactions' ids have been used again in between.
func TestASecondCrashBeforeTheNextCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("in", 4)
		fell := make(chan crash, 1)
		for i, point := range []string{"D5", "D3", "D0"} {
			ctx, abandon := context.WithCancel(context.Background())
			w.arm(ctx, point, 1, i+1, fell)
			r := w.start(ctx)
			for len(fell) == 0 {
				w.fill("in", 13, 37)
				time.Sleep(7 * time.Millisecond)
			}
			<-fell
			abandon()
			r.Wait()
		}
		w.restartAndDrain()
		expect(t, w.tally("in"), tally{})
		expect(t, w.b.open(), []string(nil))
	})
}

func TestACrashInRecoveryIsRecoveredFrom(t *testing.T) {
	for _, g := range guarantees() {
		for _, point := range []string{"R1", "R2"} {
			t.Run(fmt.Sprint(g, "/", point), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, g, 2)
					w.b.grow("in", 4)
					// First a crash that leaves a durable checkpoint uncommitted.
					ctx, abandon := context.WithCancel(context.Background())
					fell := make(chan crash, 1)
					w.arm(ctx, "D5", 3, 1, fell)
					r := w.start(ctx)
					for len(fell) == 0 {
						w.fill("in", 13, 37)
						time.Sleep(7 * time.Millisecond)
					}
					<-fell
					abandon()
					r.Wait()
					// Then one in the recovery from it.
					ctx, abandon = context.WithCancel(context.Background())
					w.arm(ctx, point, 1, 2, fell)
					gone := make(chan struct{})
					go func() {
						defer close(gone)
						New().Start(ctx, w.job, w.cfg, w.rt)
					}()
					c := <-fell
					abandon()
					<-gone
					w.restartAndDrain()
					got := w.tally("in")
					switch g {
					case connectors.ExactlyOnce:
						expect(t, got, tally{})
					case connectors.AtLeastOnce:
						expect(t, got.losses, 0)
						expect(t, got.copies, c.copies)
					default:
						expect(t, got.copies, 0)
					}
				})
			})
		}
	}
}

// TestBreakingExactlyOnceShows is the negative control: committing before the
// checkpoint is durable repeats exactly what was committed.
func TestBreakingExactlyOnceShows(t *testing.T) {
	for _, point := range []string{"D4", "D5", "D6"} {
		t.Run(point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, c := crashing(t, connectors.ExactlyOnce, 2, point, 3, func(w *world) { w.cfg.BreakExactlyOnce = true })
				got := w.tally("in")
				if got.copies == 0 {
					t.Error("no copies")
				}
				expect(t, got.copies, c.visible)
				expect(t, got.losses, 0)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		// Without a crash the control gives no copies: it breaks recovery only.
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.cfg.BreakExactlyOnce = true
		w.b.grow("in", 4)
		w.restartAndDrain()
		expect(t, w.tally("in"), tally{})
	})
}
