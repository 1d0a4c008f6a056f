package microbatch

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/engines"
	"streamduel/pipeline"
)

// TestFolderOfAnotherQuery: logs are gone on from only by the query that wrote them.
func TestFolderOfAnotherQuery(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	b.topic.fill(100, 7)
	p := b.start()
	p.drained()
	p.stopNow()
	twice := func() *pipeline.Graph {
		g := pipeline.New("count")
		n := counted(pipeline.From(g, "in", b.topic, decodeEvent), "count")
		pipeline.To(counted(n, "again"), "out", b.store, encodeEvent)
		return g
	}
	other := func() *pipeline.Graph {
		g := pipeline.New("count")
		pipeline.To(counted(pipeline.From(g, "in", b.topic, decodeEvent), "tally"), "out", b.store, encodeEvent)
		return g
	}
	renamed := func() *pipeline.Graph {
		g := pipeline.New("count")
		pipeline.To(counted(pipeline.From(g, "source", b.topic, decodeEvent), "count"), "out", b.store, encodeEvent)
		return g
	}
	for want, change := range map[string]func(*bed, *engines.Job){
		`the folder holds the logs of job "job", not of "another": give each job a folder of its own`:                func(_ *bed, j *engines.Job) { j.Name = "another" },
		`the job ran with 128 key groups and cannot go on with 64: set maxParallelism back`:                          func(_ *bed, j *engines.Job) { j.MaxParallelism = 64 },
		`the job had 1 stages with state and has 2: stateful operators cannot be added or removed: begin anew`:       func(_ *bed, j *engines.Job) { j.Graph = twice() },
		`the stateful operators were ["count"] and are ["tally"]: they cannot be changed: begin anew in an empty fo`: func(_ *bed, j *engines.Job) { j.Graph = other() },
		`source "source" is not in the offset log: sources cannot be added to a job that has run`:                    func(_ *bed, j *engines.Job) { j.Graph = renamed() },
	} {
		job := b.job()
		change(b, &job)
		if _, err := New().Start(context.Background(), job, b.config, engines.Runtime{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: %v, want %s", err, want)
		}
	}
	b.topic.fill(50, 7) // none of them has harmed it
	p = b.start()
	p.drained()
	p.stopNow()
	b.expect(0, 0)
	if err := b.counts(); err != nil {
		t.Error(err)
	}
}

// TestSourcesStay: a batch that is to be run again has records of each source, so none
// may be missing, and none may be new.
func TestSourcesStay(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	other := newTopic("other", 1)
	b.graph = func() *pipeline.Graph {
		g := pipeline.New("two")
		both := pipeline.Union(pipeline.From(g, "in", b.topic, decodeEvent), pipeline.From(g, "other", other, decodeEvent))
		pipeline.To(both, "out", b.store, encodeEvent)
		return g
	}
	b.topic.fill(50, 7)
	other.fill(50, 7)
	p := b.startArmed("M1", 1)
	if p.Wait() == nil {
		t.Fatal("no crash")
	}
	p.cancel()
	b.graph = func() *pipeline.Graph { return plainGraph(b.topic, b.store) }
	if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), `source "other" of the offset log is not in the job: sources cannot be removed from a job that has run: put it back`) {
		t.Errorf("start: %v", err)
	}
}

// TestGapsInTheLogs: what is missing is named with what to do, and nothing runs.
// Batches 0 to 2 are committed, 3 to 5 wait in the queue.
func TestGapsInTheLogs(t *testing.T) {
	for want, missing := range map[string][]string{
		"offset log: batch 4 is missing: the folder is incomplete: put back what is missing or damaged, or begin anew":  {"offset-4"},
		"offset log: batch 2 is missing: the folder is incomplete: put back what is missing":                            {"offset-2"},
		"the commit log has batch 2, the offset log is empty: the folder is incomplete: put back":                       {"offset-*"},
		"the commit log has batch 2, the offset log ends at 1: the folder is incomplete: put back":                      {"offset-[2-9]"},
		"the offset log begins at batch 1 and nothing is committed: the folder is incomplete: put back what is missing": {"offset-0", "commit-*"},
		"state version 3 cannot be rebuilt": {"state-0-1/delta-2"},
	} {
		t.Run(strings.Join(missing, " "), func(t *testing.T) {
			g := connectors.AtLeastOnce
			if strings.HasPrefix(want, "state") {
				g = connectors.ExactlyOnce // which never goes back
			}
			b := newBed(t, 2, g)
			b.topic.fill(300, 7)
			b.config.Rate.MaxRecordsPerBatch = 50
			p := b.startArmed("M1", 4)
			if p.Wait() == nil {
				t.Fatal("no crash")
			}
			p.cancel()
			for i := int64(4); i < 6; i++ { // as the queueing clock leaves them
				e, err := batchLogs{b.job().Folder}.readOffset(i - 1)
				if err != nil {
					t.Fatal(err)
				}
				e.Batch = i
				for id, rg := range e.Sources["in"] {
					rg.From, rg.Until = rg.Until, rg.Until+25
					e.Sources["in"][id] = rg
				}
				if err := (batchLogs{b.job().Folder}).planned(e); err != nil {
					t.Fatal(err)
				}
			}
			for _, pattern := range missing {
				names, err := filepath.Glob(filepath.Join(b.dir, pattern))
				if err != nil || len(names) == 0 {
					t.Fatal(pattern, err)
				}
				for _, name := range names {
					if err := os.Remove(name); err != nil {
						t.Fatal(err)
					}
				}
			}
			rows := len(b.store.rows())
			if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("start: %v", err)
			}
			if n := len(b.store.rows()); n != rows {
				t.Errorf("%d rows were written", n-rows)
			}
		})
	}
}

// recreate makes the topic anew, with so many records in each partition.
func (t *topic) recreate(records int, key int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.incarnation += "'"
	for p := range t.parts {
		t.parts[p] = nil
		for i := range records {
			t.parts[p] = append(t.parts[p], connectors.Record{Value: event{int32(p), int64(1000 + i), key, 0}.bytes(), Offset: int64(i)})
		}
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// TestTopicMadeAnew: a topic is deleted and created again, with fewer or more
// records than had been read. Whoever sources are read, nothing of the new one is
// taken for the old one's; structured may go on without what the old one held.
func TestTopicMadeAnew(t *testing.T) {
	const first = int64(777) // the new one's key
	for _, mode := range []SourceMode{Fixed, Assignment, Structured, Receiver} {
		for _, records := range []int{10, 200} {
			for _, running := range []bool{true, false} {
				for _, allowed := range []bool{false, true} {
					if allowed && mode != Structured {
						continue
					}
					t.Run(fmt.Sprint(mode, "/", records, " records/running ", running, "/allowed ", allowed), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							b := newBed(t, 2, connectors.AtLeastOnce)
							if mode == Receiver {
								b = receiving(t, 2, true)
							}
							b.topic.incarnation = "a"
							b.config.Interval = Duration(100 * time.Millisecond)
							b.config.Source.Mode, b.config.Source.FailOnDataLoss = mode, !allowed
							b.discovery = 300 * time.Millisecond
							b.topic.fill(100, 7)
							p := b.start()
							<-time.After(2150 * time.Millisecond) // splits were looked for at 2100
							if !running {
								p.stopNow()
							}
							b.topic.recreate(records, first)
							var err error
							if !running {
								p, err = b.tryStart("", 0)
							}
							if err == nil && !allowed {
								err = p.Wait()
								p.cancel()
							}
							if !allowed {
								if err == nil || !strings.Contains(err.Error(), `source "in": `) || !strings.Contains(err.Error(), "split in/") || !strings.Contains(err.Error(), "made anew") && !strings.Contains(err.Error(), "created again") {
									t.Errorf("the job ended with %v", err)
								}
								if slices.ContainsFunc(b.store.rows(), func(r row) bool { return r.key == first }) {
									t.Error("records of the new topic were taken for the old one's")
								}
								return
							}
							if err != nil {
								t.Fatal(err)
							}
							<-time.After(2 * time.Second)
							b.topic.mu.Lock()
							again := len(b.topic.parts[0])
							b.topic.mu.Unlock()
							if running && again > 50 {
								// The batch that meets it first fails the job, and the next start goes on.
								if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "created again") {
									t.Errorf("the job ended with %v", err)
								}
								p.cancel()
								p = b.start()
								<-time.After(2 * time.Second)
							}
							p.stopNow()
							var lost []connectors.SplitID
							for _, e := range p.all("dataLost") {
								lost = append(lost, e.(engines.DataLost).Split)
							}
							n := 0
							for _, r := range b.store.rows() {
								if r.key == first {
									n++
								}
							}
							want := 2 * records
							if slices.Sort(lost); !slices.Equal(lost, []connectors.SplitID{"in/0", "in/1"}) || n != want {
								t.Errorf("lost in %v, %d rows of the new topic, want %d", lost, n, want)
							}
						})
					})
				}
			}
		}
	}
}

// TestALostPartition, in every source mode, while the job runs and over a restart.
func TestALostPartition(t *testing.T) {
	for _, mode := range []SourceMode{Fixed, Assignment, Structured, Receiver} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprint(mode, "/running ", running), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBed(t, 2, connectors.AtLeastOnce)
					if mode == Receiver {
						b = receiving(t, 2, true)
					}
					b.config.Interval = Duration(100 * time.Millisecond)
					b.config.Source.Mode = mode
					b.discovery = 300 * time.Millisecond
					b.topic.fill(100, 7)
					p := b.start()
					<-time.After(time.Second)
					if !running {
						p.stopNow()
					}
					b.topic.mu.Lock()
					b.topic.deleted = map[int]bool{1: true}
					b.topic.mu.Unlock()
					var err error
					if !running {
						p, err = b.tryStart("", 0)
					}
					if err == nil {
						err = p.Wait()
						p.cancel()
					}
					if err == nil || !strings.Contains(err.Error(), `job "job": source "in": split in/1 `) || !strings.Contains(err.Error(), "is gone") {
						t.Errorf("it ended with %v", err)
					}
					b.topic.mu.Lock()
					b.topic.deleted = nil // put back
					b.topic.mu.Unlock()
					b.topic.fill(20, 7)
					p = b.start()
					<-time.After(time.Second)
					p.stopNow()
					b.expect(0, 0)
				})
			})
		}
	}
}

// TestReplayOfWhatIsGone: a batch that is to be run again, and whose records are
// not there any more, is refused, or run without them where that is allowed.
func TestReplayOfWhatIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*topic)
		says    string
		lost    []engines.DataLost
		rows    int // of 200
	}{
		"retention": {func(x *topic) { x.earliest[1] = 70 }, "batch 1 cannot be run again: it took 50 to 100 of split in/1, which now has 70 to 100", []engines.DataLost{{Split: "in/1", From: 50, Until: 70}}, 180},
		"all of it": {func(x *topic) { x.earliest[1] = 100 }, "which now has 100 to 100", []engines.DataLost{{Split: "in/1", From: 50, Until: 100}}, 150},
		"the end":   {func(x *topic) { x.parts[1] = x.parts[1][:80] }, "which now has 0 to 80", []engines.DataLost{{Split: "in/1", From: 80, Until: 100}}, 180},
		"the split": {func(x *topic) { x.deleted = map[int]bool{1: true} }, "split in/1 of the offset log is gone", []engines.DataLost{{Split: "in/1", From: 50, Until: 100}}, 150},
		"anew":      {func(x *topic) { x.recreate(0, 0) }, "records from position 50 to 100 went with their split: it was deleted and made anew", []engines.DataLost{{Split: "in/0", From: 50, Until: 100}, {Split: "in/1", From: 50, Until: 100}}, 100},
	} {
		for _, allowed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", allowed ", allowed), func(t *testing.T) {
				b := newBed(t, 2, connectors.ExactlyOnce)
				b.config.Rate.MaxRecordsPerBatch = 100
				b.config.Source.Mode, b.config.Source.FailOnDataLoss = Structured, !allowed
				b.topic.incarnation = "a"
				b.topic.fill(200, 7)
				p := b.startArmed("M1", 2)
				if p.Wait() == nil {
					t.Fatal("no crash")
				}
				p.cancel()
				c.happens(b.topic)
				p, err := b.tryStart("", 0)
				if !allowed {
					if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "failOnDataLoss: false") {
						t.Errorf("start: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				p.await("the batch", func(es []engines.Event) bool { return count(es, "batchCompleted") == 1 })
				p.stopNow()
				var lost []engines.DataLost
				for _, e := range p.all("dataLost") {
					lost = append(lost, e.(engines.DataLost))
				}
				if !slices.Equal(lost, c.lost) || len(b.store.rows()) != c.rows {
					t.Errorf("lost %v and %d rows, want %v and %d", lost, len(b.store.rows()), c.lost, c.rows)
				}
				if err := b.counts(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestBrokerGone: source and sink are away for half a minute in the middle of a
// batch, for longer than a client waits. What has failed is run again, and the
// batch goes on when the broker is back.
func TestBrokerGone(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		for _, way := range []Way{BatchTransaction, OutputPartition} {
			if g == connectors.AtLeastOnce && way != BatchTransaction {
				continue
			}
			t.Run(fmt.Sprint(g, "/", way), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBed(t, 2, g)
					b.config.ExactlyOnce = way
					b.config.Interval = Duration(time.Second)
					b.config.Rate.MaxRecordsPerBatch = 100
					gone := &broker{patience: 10 * time.Second}
					b.topic.broker, b.store.broker = gone, gone
					b.gate = connectors.NewGate()
					b.gate.Throttle(100)
					b.topic.fill(300, 7)
					p := b.start()
					<-time.After(1500 * time.Millisecond)
					gone.leave()
					written := len(b.store.rows())
					<-time.After(30 * time.Second)
					if n := len(p.all("failed")); n > 0 {
						t.Fatalf("the job ended with %v", p.Wait())
					}
					gone.comeBack()
					p.drained()
					p.stopNow()
					copies, losses := b.verdict()
					if losses != 0 || g == connectors.ExactlyOnce && copies != 0 || copies > written {
						t.Errorf("%d copies, %d losses; %d rows had been written", copies, losses, written)
					}
					if g == connectors.ExactlyOnce {
						if err := b.counts(); err != nil {
							t.Error(err)
						}
					}
				})
			})
		}
	}
}

// TestBrokerGoneBetweenBatches: it is away when a batch is planned, for longer than a
// client waits.
func TestBrokerGoneBetweenBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 2, connectors.ExactlyOnce)
		b.config.Interval = Duration(time.Second)
		gone := &broker{patience: 10 * time.Second}
		b.topic.broker, b.store.broker = gone, gone
		b.topic.fill(100, 7)
		p := b.start()
		<-time.After(1500 * time.Millisecond)
		gone.leave()
		<-time.After(30 * time.Second)
		b.topic.fill(100, 7)
		gone.comeBack()
		p.drained()
		p.stopNow()
		b.expect(0, 0)
	})
}

// TestBrokerGoneForGood: the job ends by its name, and a later start is exact.
func TestBrokerGoneForGood(t *testing.T) {
	for _, g := range guarantees {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, 2, g)
				b.config.Rate.MaxRecordsPerBatch = 100
				gone := &broker{patience: 10 * time.Second}
				b.topic.broker, b.store.broker = gone, gone
				b.gate = connectors.NewGate()
				b.gate.Throttle(100)
				b.topic.fill(300, 7)
				p := b.start()
				<-time.After(1500 * time.Millisecond)
				gone.leave()
				err := p.Wait()
				p.cancel()
				if err == nil || !strings.Contains(err.Error(), `job "job": batch 1: `) || !strings.Contains(err.Error(), "the broker has not answered for 10s") {
					t.Errorf("the job ended with %v", err)
				}
				gone.comeBack()
				b.gate.Throttle(0)
				p = b.start()
				p.drained()
				p.stopNow()
				copies, losses := b.verdict()
				if (g == connectors.ExactlyOnce && copies+losses > 0) || (g == connectors.AtLeastOnce && losses > 0) || (g == connectors.AtMostOnce && (copies > 0 || losses > 100)) {
					t.Errorf("%d copies, %d losses", copies, losses)
				}
			})
		})
	}
}

// away is a dialer that can be told that there is nobody to call.
type away struct {
	mu    sync.Mutex
	gone  bool
	conns []net.Conn
}

func (a *away) dial(ctx context.Context, network, address string) (net.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		a.conns = append(a.conns, c)
	}
	return c, err
}

func (a *away) set(gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone = gone; gone {
		for _, c := range a.conns {
			c.Close()
		}
		a.conns = nil
	}
}

// TestKafkaGone: the same with Kafka's clients, whose source has less patience than
// the broker is away.
func TestKafkaGone(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in"), kfake.SeedTopics(2, "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			const records = 1200
			produce(ctx, t, cluster.ListenAddrs(), records, 7, 2)
			line := &away{}
			b := newBed(t, 2, g)
			b.config.Rate.MaxRecordsPerBatch = 400
			b.gate = connectors.NewGate()
			b.gate.Throttle(1000)
			b.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			b.graph = func() *pipeline.Graph {
				options := []kgo.Opt{kgo.Dialer(line.dial)}
				in, err := kafka.NewSource(kafka.SourceConfig{Brokers: cluster.ListenAddrs(), Topics: []string{"in"}, FetchWaitMillis: 5, PatienceMillis: 300, ClientOptions: options})
				if err != nil {
					t.Fatal(err)
				}
				out, err := kafka.NewSink(kafka.SinkConfig{Brokers: cluster.ListenAddrs(), Topic: "out", ClientOptions: options})
				if err != nil {
					t.Fatal(err)
				}
				return countGraph(in, out)
			}
			p := b.start()
			p.await("the second batch", func(es []engines.Event) bool { return count(es, "batchPlanned") == 2 })
			<-time.After(100 * time.Millisecond) // a hundred of its rows
			line.set(true)
			<-time.After(time.Second)
			line.set(false)
			b.gate.Throttle(0)
			p.durable(records)
			p.stopNow()
			b.store.visible = consume(ctx, t, cluster.ListenAddrs())
			for i := range records {
				b.topic.add(i%2, int64(i%7))
			}
			copies, losses := b.verdict()
			if losses != 0 || g == connectors.ExactlyOnce && copies != 0 {
				t.Errorf("%d copies, %d losses", copies, losses)
			}
		})
	}
}
