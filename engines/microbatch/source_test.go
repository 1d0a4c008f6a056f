package microbatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// TestGrowthBySourceMode: three partitions appear, are written to before and
// after the job can know of them.
func TestGrowthBySourceMode(t *testing.T) {
	for _, c := range []struct {
		mode   SourceMode
		latest bool // the source's reset
		lost   int
	}{
		{Fixed, false, 3 * 80}, // never seen
		{Assignment, false, 0},
		{Assignment, true, 3 * 50}, // what was written before the discovery
		{Structured, true, 0},      // begins at earliest whatever the source says
	} {
		t.Run(fmt.Sprint(c.mode, ", latest ", c.latest), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, 2, connectors.AtLeastOnce)
				b.config.Interval = Duration(100 * time.Millisecond)
				b.config.Source.Mode = c.mode
				b.config.Source.MetadataAge = Duration(10 * time.Second)
				b.topic.latest = c.latest
				b.topic.fill(100, 7)
				p := b.start()
				<-time.After(time.Second)
				b.topic.grow(5)
				b.topic.fill(5*50, 7) // before: 50 in each
				<-time.After(8 * time.Second)
				if n := len(p.all("discovered")); n != 2 {
					t.Errorf("%d splits are known before the metadata's age", n)
				}
				<-time.After(2 * time.Second)
				b.topic.fill(5*30, 7) // after
				<-time.After(time.Second)
				p.stopNow()
				b.expect(0, c.lost)
			})
		})
	}
}

// TestDataLoss: what structured mode finds gone fails the job, or is told and
// left, if that is allowed.
func TestDataLoss(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*topic)
		says    string
		lost    []engines.DataLost
		rows    int
	}{
		"retention":  {func(x *topic) { x.earliest[1] = 70 }, "split in/1: records from position 50 to 70 were deleted before they were read", []engines.DataLost{{Split: "in/1", From: 50, Until: 70}}, 2*50 + 50 + 30},
		"made anew":  {func(x *topic) { x.parts[1] = x.parts[1][:20] }, "split in/1: records from position 20 to 50 are behind its end now", []engines.DataLost{{Split: "in/1", From: 20, Until: 50}}, 2*50 + 50},
		"deleted":    {func(x *topic) { x.deleted = map[int]bool{1: true} }, "split in/1 is gone", []engines.DataLost{{Split: "in/1", From: 50, Until: 50}}, 2*50 + 50},
		"found late": {func(x *topic) { x.parts = append(x.parts, slices.Clone(x.parts[1])); x.earliest[2] = 40 }, "split in/2: records from position 0 to 40 were deleted before the split was found", []engines.DataLost{{Split: "in/2", From: 0, Until: 40}}, 2*50 + 2*50 + 60},
	} {
		for _, allowed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", allowed ", allowed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBed(t, 2, connectors.AtLeastOnce)
					b.config.Interval = Duration(100 * time.Millisecond)
					b.config.Source.Mode = Structured
					b.config.Source.FailOnDataLoss = !allowed
					b.discovery = time.Second
					b.graph = func() *pipeline.Graph { return plainGraph(b.topic, b.store) }
					b.topic.fill(100, 7)
					p := b.start()
					<-time.After(550 * time.Millisecond)
					b.topic.mu.Lock()
					seq := len(b.topic.parts[0])
					for i := range 50 {
						for k := range 2 {
							b.topic.parts[k] = append(b.topic.parts[k], connectors.Record{Value: event{int32(k), int64(seq + i), 1, 0}.bytes(), Offset: int64(seq + i)})
						}
					}
					c.happens(b.topic)
					b.topic.mu.Unlock()
					if !allowed {
						err := p.Wait()
						p.cancel()
						if err == nil || !strings.Contains(err.Error(), c.says) {
							t.Errorf("the job ended with %v", err)
						}
						return
					}
					<-time.After(2 * time.Second)
					p.stopNow()
					var lost []engines.DataLost
					for _, e := range p.all("dataLost") {
						lost = append(lost, e.(engines.DataLost))
					}
					if !slices.Equal(lost, c.lost) || len(b.store.rows()) != c.rows {
						t.Errorf("lost %v and %d rows, want %v and %d", lost, len(b.store.rows()), c.lost, c.rows)
					}
				})
			})
		}
	}
}

func receiving(t testing.TB, partitions int, wal bool) *bed {
	g := connectors.AtMostOnce
	if wal {
		g = connectors.AtLeastOnce
	}
	b := newBed(t, partitions, g)
	b.config.Cores = 4
	b.config.Source.Mode = Receiver
	b.config.Source.Receiver = ReceiverConfig{Receivers: 2, BlockInterval: Duration(20 * time.Millisecond), WriteAheadLog: wal}
	b.config.Interval = Duration(100 * time.Millisecond)
	b.discovery = time.Second
	return b
}

// TestReceiver: everything arrives once over stops that are graceful; new splits
// are found; the log of received blocks is emptied.
func TestReceiver(t *testing.T) {
	for _, wal := range []bool{false, true} {
		for _, clock := range []ClockKind{Skipping, Queueing} {
			t.Run(fmt.Sprint("log ", wal, ", ", clock), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := receiving(t, 3, wal)
					b.config.Clock = clock
					b.topic.fill(300, 7)
					for i, mode := range []engines.StopMode{engines.StopCheckpoint, engines.StopDrain} {
						p := b.start()
						<-time.After(330 * time.Millisecond)
						b.topic.grow(4 + i)
						<-time.After(time.Second)
						b.topic.fill(200, 7)
						<-time.After(5 * time.Millisecond) // received, and in no block yet
						p.stop(mode)
						b.expect(0, 0)
					}
					if err := b.counts(); err != nil {
						t.Error(err)
					}
					left, err := filepath.Glob(filepath.Join(b.dir, "received-in", "block-*"))
					if err != nil || len(left) > 0 {
						t.Errorf("left of the log: %v, %v", left, err)
					}
				})
			})
		}
	}
}

// TestReceiverCrash: without the log what was received and not processed is
// lost, exactly as the point announces; with it the crash table of at-least-once
// holds.
func TestReceiverCrash(t *testing.T) {
	for _, wal := range []bool{false, true} {
		for _, point := range []string{"M0", "M1", "M2", "M3", "M4"} {
			t.Run(fmt.Sprint("log ", wal, ", ", point), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := receiving(t, 3, wal)
					p := b.startArmed(point, 2)
					b.topic.fill(100, 7)
					<-time.After(150 * time.Millisecond) // the first batch
					b.topic.fill(50, 7)
					<-time.After(20 * time.Millisecond)
					b.topic.fill(30, 7) // another block of the second batch
					if p.Wait() == nil {
						t.Fatal("no crash")
					}
					p.cancel()
					told := <-p.crashed
					b.topic.fill(40, 7) // while it is down
					p = b.start()
					<-time.After(time.Second)
					p.stopNow()
					copies, losses := 0, 0
					switch {
					case !wal && point < "M2":
						losses = 80
					case !wal && point == "M2":
						if losses = int(told.missing); losses < 1 || losses > 40 {
							t.Errorf("%d lost in the middle of 80", losses)
						}
					case wal && point == "M2":
						copies = int(told.acked)
					case wal && point == "M3":
						copies = 80
					}
					if !wal && point == "M1" && told.recovery.Records != int64(losses) {
						t.Errorf("the point speaks of %d records, want %d", told.recovery.Records, losses)
					}
					if !wal && int(told.missing) != losses {
						t.Errorf("the point announced %d losses, want %d", told.missing, losses)
					}
					if wal && int(told.acked) != copies {
						t.Errorf("the point announced %d copies, want %d", told.acked, copies)
					}
					b.expect(copies, losses)
				})
			})
		}
	}
}

// TestTornBlock: the newest block of the log was never acknowledged, so it is
// received again; damage further back is refused.
func TestTornBlock(t *testing.T) {
	for name, i := range map[string]int{"the newest": 1, "an older one": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := receiving(t, 1, true)
				b.config.Source.Receiver.Receivers = 1
				b.config.Interval = Duration(time.Hour)
				p := b.start()
				<-time.After(time.Millisecond)
				b.topic.fill(10, 3)
				<-time.After(50 * time.Millisecond)
				b.topic.fill(10, 3)
				<-time.After(50 * time.Millisecond)
				p.stop(engines.StopNow)
				if i == 1 { // the process died before it told the outside
					b.topic.committed["in/0"] = 10
				}
				tear(t, filepath.Join(b.dir, "received-in", fmt.Sprint("block-", i)))
				b.config.Interval = Duration(100 * time.Millisecond)
				p, err := b.tryStart("", 0)
				if i == 0 {
					if err == nil || !strings.Contains(err.Error(), "write-ahead log: block-0") {
						t.Errorf("start: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Second)
				p.stopNow()
				b.expect(0, 0)
			})
		})
	}
}

// TestGapsInTheLogOfReceivers: blocks that a batch is made of, or will be, must be there.
func TestGapsInTheLogOfReceivers(t *testing.T) {
	for _, c := range []struct {
		point string
		gone  int // of the blocks that are left, from the oldest
	}{{"M1", 0}, {"M1", 1}, {"M0", 0}} {
		t.Run(fmt.Sprint(c.point, ", block ", c.gone), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := receiving(t, 1, true)
				b.config.Source.Receiver.Receivers = 1
				p := b.startArmed(c.point, 2)
				b.topic.fill(10, 3)
				<-time.After(150 * time.Millisecond)
				b.topic.fill(10, 3)
				<-time.After(25 * time.Millisecond)
				b.topic.fill(10, 3)
				if p.Wait() == nil {
					t.Fatal("no crash")
				}
				p.cancel()
				blocks, err := filepath.Glob(filepath.Join(b.dir, "received-in", "block-*"))
				if err != nil || len(blocks) < 2 {
					t.Fatal(blocks, err)
				}
				if err := os.Remove(blocks[c.gone]); err != nil {
					t.Fatal(err)
				}
				_, err = b.tryStart("", 0)
				if err == nil || !strings.Contains(err.Error(), "write-ahead log: split in/0: what was received from position 10 on is missing: put back what is missing or damaged, or begin anew") {
					t.Errorf("start: %v", err)
				}
			})
		})
	}
}

// TestReceivedOfANewSplit: blocks of a split that no batch has named yet are taken,
// although the source would begin behind them by now.
func TestReceivedOfANewSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := receiving(t, 2, true)
		b.topic.latest = true
		b.topic.fill(100, 7)
		p := b.startArmed("M0", 2)
		<-time.After(150 * time.Millisecond)
		b.topic.grow(3)
		p.await("its discovery", func(es []engines.Event) bool { return count(es, "discovered") == 3 })
		for range 20 {
			b.topic.add(2, 1)
		}
		if p.Wait() == nil {
			t.Fatal("no crash")
		}
		p.cancel()
		p = b.start()
		<-time.After(time.Second)
		p.stopNow()
		b.expect(0, 0)
	})
}

// TestReceiverRate: the limit holds where records are received.
func TestReceiverRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := receiving(t, 4, true)
		b.config.Source.Receiver.MaxRate = 100
		b.topic.fill(4000, 7)
		p := b.start()
		<-time.After(5*time.Second + 50*time.Millisecond)
		got := p.Gauges().Consumed // two receivers
		p.stopNow()
		if got < 950 || got > 1050 {
			t.Errorf("%d records in 5 s at 200 a second", got)
		}
	})
}

func TestReceiverRefusals(t *testing.T) {
	for want, edit := range map[string]func(*bed){
		"cannot be exactly-once":               func(b *bed) { b.guarantee = connectors.ExactlyOnce },
		"set source.receiver.writeAheadLog":    func(b *bed) { b.guarantee = connectors.AtLeastOnce },
		"cannot be at-most-once":               func(b *bed) { b.config.Source.Receiver.WriteAheadLog = true },
		"2 receivers occupy all of 2 cores":    func(b *bed) { b.config.Cores = 2 },
		`source "in" ends by itself`:           func(b *bed) { b.topic.bounded = true },
		"source.failOnDataLoss: false in mode": func(b *bed) { b.config.Source.FailOnDataLoss = false },
		"source.mode: one of":                  func(b *bed) { b.config.Source.Mode = "x" },
	} {
		b := receiving(t, 1, false)
		edit(b)
		if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestReceiverFails: a receiver that fails again and again fails the job.
func TestReceiverFails(t *testing.T) {
	b := receiving(t, 2, true)
	p := b.start()
	b.topic.mu.Lock()
	b.topic.broken = fmt.Errorf("the broker has left")
	close(b.topic.changed)
	b.topic.changed = make(chan struct{})
	b.topic.mu.Unlock()
	err := p.Wait()
	p.cancel()
	if err == nil || !strings.Contains(err.Error(), "receiving: task") || !strings.Contains(err.Error(), "the broker has left") {
		t.Errorf("the job ended with %v", err)
	}
}

func FuzzBlock(f *testing.F) {
	b := block{}.add(3, &connectors.Batch{Split: connectors.Split{ID: "a/1", Partition: 1}, Next: 9, Records: []connectors.Record{
		{Key: []byte("k"), Value: nil, Offset: 3, Timestamp: -1, Headers: []connectors.Header{{Key: "h", Value: []byte("v")}}}, {Value: []byte{}, Offset: 8}}})
	f.Add(b.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decodeBlock(data)
		if err != nil {
			return
		}
		again, err := decodeBlock(b.encode())
		if err != nil || !bytes.Equal(again.encode(), b.encode()) {
			t.Errorf("not the same: %v", err)
		}
	})
}

// TestASplitComesBack: a split is deleted, which is allowed, and is there again later:
// what it has then is read, from its first record where it is, or may be, another.
func TestASplitComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string // incarnations
		rows          int    // of the split in all
	}{
		"made anew":  {"a", "b", 50 + 20},
		"not told":   {"", "", 50 + 20},
		"it was off": {"a", "a", 50 + 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, 2, connectors.AtLeastOnce)
				b.config.Interval = Duration(100 * time.Millisecond)
				b.config.Source.Mode, b.config.Source.FailOnDataLoss = Structured, false
				b.discovery = time.Second
				b.graph = func() *pipeline.Graph { return plainGraph(b.topic, b.store) }
				b.topic.incarnation = c.before
				b.topic.fill(100, 7)
				p := b.start()
				<-time.After(550 * time.Millisecond)
				set := func(f func(*topic)) {
					b.topic.mu.Lock()
					defer b.topic.mu.Unlock()
					f(b.topic)
				}
				set(func(x *topic) { x.deleted = map[int]bool{1: true} })
				<-time.After(2 * time.Second)
				set(func(x *topic) {
					x.deleted, x.incarnation = nil, c.after
					if c.after != "a" {
						x.parts[1] = nil
					}
				})
				for range c.rows - 50 {
					b.topic.add(1, 3)
				}
				// Where partition 0 is another one too, that is noticed as any is.
				<-time.After(3 * time.Second)
				p.stopNow()
				n := 0
				for _, r := range b.store.rows() {
					if r.partition == 1 {
						n++
					}
				}
				if n != c.rows {
					t.Errorf("%d rows of the split, want %d", n, c.rows)
				}
			})
		})
	}
}

// TestReceiversShareTheLimit: it is the job's, however many sources there are.
func TestReceiversShareTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := receiving(t, 2, true)
		b.config.Cores = 8
		b.config.Rate.Initial = 200
		other := newTopic("other", 2)
		b.graph = func() *pipeline.Graph {
			g := pipeline.New("two")
			both := pipeline.Union(pipeline.From(g, "in", b.topic, decodeEvent), pipeline.From(g, "other", other, decodeEvent))
			pipeline.To(both, "out", b.store, encodeEvent)
			return g
		}
		b.topic.fill(4000, 7)
		other.fill(4000, 7)
		p := b.start()
		<-time.After(5*time.Second + 50*time.Millisecond)
		got := p.Gauges().Consumed
		p.stopNow()
		if got < 950 || got > 1050 {
			t.Errorf("%d records in 5 s at 200 a second", got)
		}
	})
}

// untold is a topic whose broker takes no positions.
type untold struct{ *topic }

type untoldEnumerator struct{ connectors.Enumerator }

func (u untold) Enumerator(ctx context.Context, env connectors.Env) (connectors.Enumerator, error) {
	e, err := u.topic.Enumerator(ctx, env)
	return untoldEnumerator{e}, err
}

func (untoldEnumerator) Commit(context.Context, map[connectors.SplitID]connectors.Position) error {
	return errors.New("the group is not known")
}

// TestReceivedButNotTold: under at-most-once no batch has a block before the outside
// system knows that it was received: a restart would receive it again.
func TestReceivedButNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := receiving(t, 2, false)
		b.graph = func() *pipeline.Graph { return countGraph(untold{b.topic}, b.store) }
		b.config.Interval = Duration(5 * time.Millisecond)
		b.topic.fill(100, 7)
		p := b.start()
		err := p.Wait()
		p.cancel()
		if err == nil || !strings.Contains(err.Error(), "committing positions: the group is not known") {
			t.Errorf("the job ended with %v", err)
		}
		b.graph = func() *pipeline.Graph { return countGraph(b.topic, b.store) }
		p = b.start()
		<-time.After(time.Second)
		p.stopNow()
		b.expect(0, 0)
	})
}

// TestTheLogOfReceiversAndIncarnations: what a restart finds in the write-ahead log is
// of the topic that there was, and behind it that topic is read on.
func TestTheLogOfReceiversAndIncarnations(t *testing.T) {
	for _, recreated := range []bool{false, true} {
		t.Run(fmt.Sprint("made anew ", recreated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := receiving(t, 2, true)
				b.topic.incarnation = "a"
				p := b.startArmed("M1", 2)
				b.topic.fill(100, 7)
				<-time.After(150 * time.Millisecond)
				b.topic.fill(50, 7)
				if p.Wait() == nil {
					t.Fatal("no crash")
				}
				p.cancel()
				if recreated {
					b.topic.recreate(200, 777)
				} else {
					b.topic.fill(30, 7)
				}
				p, err := b.tryStart("", 0)
				if recreated {
					if err == nil || !strings.Contains(err.Error(), "went with their split: it was deleted and made anew: begin anew in an empty folder") {
						t.Errorf("start: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Second)
				p.stopNow()
				b.expect(0, 0)
			})
		})
	}
}

// TestPositionsDoNotGoBack: two batches begin at once, and the later one is first to say
// where it ends. What is committed then covers both; at most once, a restart that began
// behind the first would run the second again.
func TestPositionsDoNotGoBack(t *testing.T) {
	x := newTopic("in", 2)
	s := &source{node: &pipeline.Node{Name: "in"}, enumerator: topicEnumerator{x}, byID: map[connectors.SplitID]*split{"in/0": {}, "in/1": {}}}
	for _, ranges := range []map[connectors.SplitID]splitRange{
		{"in/0": {Until: 20}, "in/1": {Until: 5}}, {"in/0": {Until: 10}, "in/1": {Until: 5}}, {"in/0": {Until: 10}},
	} {
		if err := s.publish(t.Context(), ranges); err != nil {
			t.Fatal(err)
		}
	}
	if x.committed["in/0"] != 20 || x.committed["in/1"] != 5 {
		t.Errorf("committed: %v", x.committed)
	}
}
