package microbatch

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
)

// received waits until receivers have stored all that was produced.
func (f *far) received(p *process) {
	f.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		n, want := int64(0), int64(0)
		in := p.Run.(*run).sources[0].intake
		for i, made := range f.made {
			n += int64(in.end(connectors.SplitID(fmt.Sprintf("in/%d", i))))
			want += made
		}
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d of %d records were received", n, want)
		}
		<-time.After(time.Millisecond)
	}
}

// TestReceiversOnExecutors: blocks lie where they were received until a batch has
// finished them. With the log nothing is lost with an executor; without it exactly
// what the job tells of, and nothing comes twice.
func TestReceiversOnExecutors(t *testing.T) {
	for _, wal := range []bool{false, true} {
		t.Run(fmt.Sprint("log ", wal), func(t *testing.T) {
			g := connectors.AtMostOnce
			if wal {
				g = connectors.AtLeastOnce
			}
			f := newFar(t, g, func(c *Config) {
				c.Source.Mode = Receiver
				c.Source.Receiver = ReceiverConfig{Receivers: 2, BlockInterval: Duration(10 * time.Millisecond), WriteAheadLog: wal}
				c.Interval, c.Cores = Duration(200*time.Millisecond), 3 // one for batches, wherever receivers run
			})
			p := f.startFar("", 0)
			told := map[[2]int64]bool{} // what the job says is lost
			kills := 0
			for ; kills < 8 && (kills < 2 || (len(told) == 0 && !wal)); kills++ {
				for range 3 { // several blocks, some of which batches may take
					f.produce(400)
					f.received(p)
				}
				if err := p.Run.(engines.Killer).Kill(kills%2 + 1); err != nil {
					t.Fatal(err)
				}
				f.produce(100) // for the receiver that takes over
				f.untilDurable(p)
				p.await("another in its place", func(es []engines.Event) bool { return count(es, "executorAdded") == kills+1 })
				for _, e := range p.all("dataLost") {
					d := e.(engines.DataLost)
					for at := d.From; at < d.Until; at++ {
						told[[2]int64{int64(f.topic.index(d.Split)), int64(at)}] = true
					}
				}
			}
			f.produce(200)
			f.received(p)
			p.stop(engines.StopCheckpoint)
			f.read()
			copies, losses := f.verdict()
			if wal != (len(told) == 0) || losses != len(told) || (copies > 0 && !wal) {
				t.Errorf("%d copies, %d losses, %d told, after %d kills", copies, losses, len(told), kills)
			}
			for _, r := range f.store.rows() {
				if told[[2]int64{int64(r.partition), r.sequence}] {
					t.Fatalf("record %d of partition %d is there, and was said to be lost", r.sequence, r.partition)
				}
			}
			if left, err := filepath.Glob(filepath.Join(f.dir, "received-in", "block-*")); err != nil || len(left) > 0 {
				t.Errorf("left of the log: %v, %v", left, err)
			}
			// Behind what is committed it goes on, in new executors.
			p = f.startFar("", 0)
			f.produce(200)
			f.untilDurable(p)
			p.stop(engines.StopCheckpoint)
			f.read()
			if _, again := f.verdict(); again != losses {
				t.Errorf("%d losses after another start, %d before", again, losses)
			}
		})
	}
}

// TestDriverDiesWithReceivers: what the executors held dies with the driver, or is
// in the log; the figures that the point announces are right.
func TestDriverDiesWithReceivers(t *testing.T) {
	for _, wal := range []bool{false, true} {
		for _, point := range []string{"M1", "M2", "M3"} {
			t.Run(fmt.Sprint("log ", wal, ", ", point), func(t *testing.T) {
				g := connectors.AtMostOnce
				if wal {
					g = connectors.AtLeastOnce
				}
				f := newFar(t, g, func(c *Config) {
					c.Source.Mode = Receiver
					c.Source.Receiver = ReceiverConfig{Receivers: 2, BlockInterval: Duration(10 * time.Millisecond), WriteAheadLog: wal}
					c.Interval, c.Cores = Duration(100*time.Millisecond), 3
				})
				p := f.startFar(point, 2)
				var told crash
				for over := false; !over; {
					f.produce(90)
					select {
					case told = <-p.crashed:
						over = true
					case <-time.After(30 * time.Millisecond):
					}
				}
				if err := p.Wait(); err == nil {
					t.Fatal("no crash")
				}
				p.cancel()
				p = f.startFar("", 0)
				f.produce(100)
				f.untilDurable(p)
				p.stop(engines.StopCheckpoint)
				f.read()
				if copies, losses := f.verdict(); wal && (losses != 0 || copies != int(told.acked)) || !wal && (copies != 0 || losses != int(told.missing)) {
					t.Errorf("%d copies and %d losses, announced %d and %d", copies, losses, told.acked, told.missing)
				}
			})
		}
	}
}
