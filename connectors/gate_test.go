package connectors

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateHoldsTheTotalRate(t *testing.T) {
	for _, rate := range []float64{2.5, 100, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			g := NewGate()
			g.Throttle(rate)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 3 { // the limit is for all writers together
				wg.Go(func() {
					for g.Enter(ctx) == nil {
						g.Leave(1, 1)
					}
				})
			}
			const seconds = 20
			time.Sleep(seconds * time.Second)
			synctest.Wait()
			entered, acked, inFlight := g.Counts()
			cancel()
			wg.Wait()
			// At the start a burst may pass, at the end one nap may be under way.
			slack := int64(rate*(burst+nap).Seconds()) + 3
			if want := int64(rate * seconds); entered < want-slack || entered > want+slack {
				t.Errorf("%v/s: %d records in %d s", rate, entered, seconds)
			}
			if acked != entered || inFlight != 0 {
				t.Errorf("%v/s: %d entered, %d acknowledged, %d in flight", rate, entered, acked, inFlight)
			}
		})
	}
}

func TestGateBurstIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		g.Throttle(1000)
		time.Sleep(time.Minute) // nothing to write meanwhile: no credit for it
		start := time.Now()
		n := 0
		for ; time.Since(start) < time.Millisecond; n++ {
			if err := g.Enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if most := int(1000*(burst+nap).Seconds()) + 2; n > most {
			t.Errorf("%d records passed at once after a pause, at most %d may", n, most)
		}
	})
}

// enterAll has a thousand records pass the gate, and returns what is closed behind
// the last.
func enterAll(t *testing.T, g *Gate) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			if err := g.Enter(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}()
	return done
}

func TestGateIsFreedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		g.Throttle(0.001)
		start := time.Now()
		done := enterAll(t, g)
		time.Sleep(time.Second)
		g.Throttle(0)
		<-done
		if d := time.Since(start); d != time.Second {
			t.Errorf("freed after a second, the writer went on after %s", d)
		}
	})
}

func TestAClosedGateLetsNothingThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.Close()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- g.Enter(ctx) }()
		synctest.Wait()
		select {
		case err := <-result:
			t.Fatalf("a record passed the closed gate: %v", err)
		default:
		}
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(t.Context()) }()
		time.Sleep(time.Second)
		select {
		case <-drained:
			t.Fatal("drained with a record in flight")
		default:
		}
		g.Leave(1, 1)
		if err := <-drained; err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if entered, acked, inFlight := g.Counts(); entered != 1 || acked != 1 || inFlight != 0 {
			t.Errorf("%d entered, %d acknowledged, %d in flight", entered, acked, inFlight)
		}
	})
}

// TestLanes: what goes through lanes is held, counted and waited for as what goes
// through the gate itself, and a closed lane leaves its counts behind.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g := NewGate()
		counts := func(when string, written, acked, inFlight int64) {
			t.Helper()
			if w, a, f := g.Counts(); w != written || a != acked || f != inFlight {
				t.Errorf("%s: %d written, %d acknowledged, %d in flight, want %d, %d, %d", when, w, a, f, written, acked, inFlight)
			}
		}
		enter := func(l *Lane) {
			t.Helper()
			if err := l.Enter(ctx); err != nil {
				t.Error(err)
			}
		}
		a, b := g.Lane(), g.Lane()
		enter(a)
		enter(a)
		enter(b)
		if err := g.Enter(ctx); err != nil {
			t.Error(err)
		}
		counts("four entered", 4, 0, 4)
		a.Leave(1, 1)
		a.Leave(1, 0)
		a.Close()
		b.Close() // its answer is still to come
		c := g.Lane()
		counts("one lane folded", 4, 1, 2)
		b.Leave(1, 1)
		g.Leave(1, 1)
		enter(c)
		counts("behind", 5, 3, 1)

		g.Close()
		drained := make(chan struct{})
		go func() {
			if err := g.Drain(ctx); err != nil {
				t.Error(err)
			}
			close(drained)
		}()
		late := make(chan error)
		go func() { late <- g.Lane().Enter(ctx) }()
		synctest.Wait()
		select {
		case <-drained:
			t.Fatal("drained with a record in flight")
		case err := <-late:
			t.Fatal("a closed gate let somebody through: ", err)
		default:
		}
		c.Leave(1, 1)
		<-drained
		counts("at the end", 5, 4, 0)
		cancel()
		if err := <-late; err == nil {
			t.Error("the one that waited got through")
		}
	})
	none := (*Gate)(nil).Lane()
	if err := none.Enter(t.Context()); err != nil {
		t.Error(err)
	}
	none.Leave(1, 1)
	none.Close()
}

// TestGatesShareATotal: two gates of two processes let through the total together, in
// short bursts; where one has nothing to let through, the other has all of it.
func TestGatesShareATotal(t *testing.T) {
	for _, idle := range []bool{false, true} {
		for _, rate := range []float64{50, 3000, 40_000} {
			synctest.Test(t, func(t *testing.T) {
				total := NewGate()
				total.Throttle(rate)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				var gates []*Gate
				for i := range 2 {
					g := NewGate()
					g.Throttle(rate)
					g.Borrow(func(ctx context.Context) (int, error) { return total.Lend(ctx, 0.5) })
					gates = append(gates, g)
					if idle && i > 0 {
						continue
					}
					for range 2 {
						wg.Go(func() {
							for g.Enter(ctx) == nil {
								g.Leave(1, 1)
							}
						})
					}
				}
				const seconds = 20
				time.Sleep(seconds * time.Second)
				synctest.Wait()
				a, _, _ := gates[0].Counts()
				b, _, _ := gates[1].Counts()
				slack := int64(rate*(burst+nap).Seconds()) + 5
				if want := int64(rate * seconds); a+b < want-slack || a+b > want+slack {
					t.Errorf("%v/s: %d + %d records in %d s", rate, a, b, seconds)
				}
				if !idle && (a < b/2 || b < a/2) {
					t.Errorf("%v/s: %d and %d records", rate, a, b)
				}
				cancel()
				wg.Wait()
			})
		}
	}
}

// TestABorrowingGateIsFreedAtOnce, although it has asked already.
func TestABorrowingGateIsFreedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		total, g := NewGate(), NewGate()
		total.Throttle(0.001)
		g.Throttle(0.001)
		g.Borrow(func(ctx context.Context) (int, error) { return total.Lend(ctx, 1) })
		start := time.Now()
		done := enterAll(t, g)
		time.Sleep(time.Second)
		total.Throttle(0)
		g.Throttle(0)
		<-done
		if d := time.Since(start); d != time.Second {
			t.Errorf("freed after a second, the writer went on after %s", d)
		}
	})
}
