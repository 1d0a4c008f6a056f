package dataflow

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/exchange/remote"
	"streamduel/pipeline"
	"streamduel/state"
	"streamduel/state/lsm"
)

const memberEnv = "STREAMDUEL_DATAFLOW_MEMBER"

// spreadJob is the line that the tests' task managers make their job of.
type spreadJob struct {
	Brokers     []string
	Guarantee   connectors.Guarantee
	Parallelism int
	Folder      string
	Config      json.RawMessage
	OnDisk      bool
	Timed       bool // by event time, with splits that are kept together
	// TransactionMillis is how long a transaction of the sink may be open; 0 takes
	// the sink's own default.
	TransactionMillis int
}

// graph is the counting job over Kafka.
func (j spreadJob) graph() (*pipeline.Graph, error) {
	source, err := kafka.NewSource(kafka.SourceConfig{Brokers: j.Brokers, Topics: []string{"in"}, BatchRecords: 100})
	if err != nil {
		return nil, err
	}
	sink, err := kafka.NewSink(kafka.SinkConfig{Brokers: j.Brokers, Topic: "out", TransactionMillis: j.TransactionMillis})
	if err != nil {
		return nil, err
	}
	if j.Timed {
		w := pipeline.Watermarks{}
		if j.Guarantee == connectors.ExactlyOnce {
			w.Align = pipeline.Alignment{Group: "all", MaxDrift: time.Second, Update: 20 * time.Millisecond}
		}
		return lateJob(source, sink, w), nil
	}
	return counting(source, sink), nil
}

// job makes the engine's job.
func (j spreadJob) job() (job engines.Job, cfg *Config, err error) {
	c := DefaultConfig()
	if err := json.Unmarshal(j.Config, &c); err != nil {
		return job, nil, err
	}
	f, err := state.OpenFolder(j.Folder, state.DurableProcess)
	if err != nil {
		return job, nil, err
	}
	g, err := j.graph()
	job = engines.Job{Name: "job", Graph: g, Parallelism: j.Parallelism, Guarantee: j.Guarantee, Folder: f, Origins: true, Discovery: time.Second}
	if j.OnDisk {
		job.Backend = lsm.Within(1)
	}
	return job, &c, err
}

// memberMain is a task manager's process in tests.
func memberMain() int {
	err := func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		m, err := cluster.Join(context.Background(), os.Stdin, l.Addr().String())
		if err != nil {
			return err
		}
		msg, err := m.Receive()
		if err != nil {
			return err
		}
		var j spreadJob
		if err := msg.Decode(&j); err != nil {
			return err
		}
		job, cfg, err := j.job()
		if err != nil {
			return err
		}
		return New().Member(m.Context(), engines.Membership{Membership: m, Listener: l}, job, cfg,
			engines.Runtime{Gate: connectors.NewGate(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "member:", err)
		return 1
	}
	return 0
}

// spread is a world whose job runs in several processes over a Kafka.
type spread struct {
	*world
	ctx        context.Context
	client     *kgo.Client
	brokers    []string
	partitions int
	produced   int // to each partition
	line       spreadJob
}

const spreadKeys = 41

func newSpread(t *testing.T, g connectors.Guarantee, parallelism int, change func(*Config)) *spread {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SleepOutOfOrder())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	s := &spread{world: newWorld(t, g, parallelism), ctx: ctx, partitions: 3, brokers: cluster.ListenAddrs()}
	if s.client, err = kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	if _, err := kadm.NewClient(s.client).CreateTopics(ctx, int32(s.partitions), 1, nil, "in", "out"); err != nil {
		t.Fatal(err)
	}
	s.cfg.TaskManagers = 2
	change(s.cfg)
	config, err := json.Marshal(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	j := spreadJob{Brokers: cluster.ListenAddrs(), Guarantee: g, Parallelism: parallelism, Folder: s.folder.Path(), Config: config}
	s.line = j
	s.rt.Members = &engines.Members{Command: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), memberEnv+"=1")
		return cmd
	}}
	s.remake(func(*spreadJob) {})
	if s.job.Graph, err = j.graph(); err != nil {
		t.Fatal(err)
	}
	s.rt.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	return s
}

// remake changes the line that the task managers make their job of.
func (s *spread) remake(change func(*spreadJob)) {
	s.t.Helper()
	change(&s.line)
	line, err := json.Marshal(s.line)
	if err != nil {
		s.t.Fatal(err)
	}
	s.rt.Members.Job = line
}

// reconfigure changes the configuration, for the next start.
func (s *spread) reconfigure(change func(*Config, *spreadJob)) {
	s.t.Helper()
	change(s.cfg, &s.line)
	config, err := json.Marshal(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.remake(func(j *spreadJob) { j.Config = config })
	if s.job.Graph, err = s.line.graph(); err != nil {
		s.t.Fatal(err)
	}
}

// produce appends n records to each partition.
func (s *spread) produce(n int) {
	s.t.Helper()
	for p := range s.partitions {
		for i := range n {
			r := input(p, int64(s.produced+i), spreadKeys)
			s.client.Produce(s.ctx, &kgo.Record{Topic: "in", Partition: int32(p), Value: r.Value}, nil)
		}
	}
	if err := s.client.Flush(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	s.produced += n
}

func (s *spread) until(what string, ok func() bool) {
	s.t.Helper()
	for !ok() {
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("waited too long for: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// goesOn starts the job again: it takes in what is new, ends with its input drained,
// and in all of it nothing is lost and nothing there twice.
func (s *spread) goesOn() {
	s.t.Helper()
	r := s.start(s.ctx)
	s.produce(500)
	s.untilDurable()
	if err := r.Stop(s.ctx, engines.StopDrain); err != nil {
		s.t.Fatal(err)
	}
	expect(s.t, s.read(), tally{})
}

// untilDurable waits until all input is below a durable position.
func (s *spread) untilDurable() {
	s.t.Helper()
	s.until("a durable end of the input", func() bool {
		es := s.kinds("durable")
		if len(es) == 0 {
			return false
		}
		for _, p := range es[len(es)-1].(engines.Durable).Positions {
			if p < connectors.Position(s.produced) {
				return false
			}
		}
		return true
	})
}

// read reads what a read_committed reader sees when the job has ended, and
// tallies it. A last record in each partition tells that nothing was left out.
func (s *spread) read() tally {
	s.t.Helper()
	for p := range s.partitions {
		s.client.Produce(s.ctx, &kgo.Record{Topic: "out", Partition: int32(p), Value: []byte("end")}, nil)
	}
	if err := s.client.Flush(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Close()
	s.b.grow("in", s.partitions)
	for p := range s.partitions {
		s.fillOne("in", p, s.produced, spreadKeys)
	}
	for ends := 0; ends < s.partitions; {
		fs := reader.PollFetches(s.ctx)
		if err := fs.Err(); err != nil {
			s.t.Fatalf("after %d records: %v", len(s.b.visible), err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if string(r.Value) == "end" {
				ends++
				return
			}
			s.b.visible = append(s.b.visible, connectors.Record{Value: r.Value})
		})
	}
	return s.tally("in")
}

// TestTwoTaskManagers runs the counting job on two processes, with either way of
// flow control, through a drain and, from its last checkpoint, again.
func TestTwoTaskManagers(t *testing.T) {
	for _, flow := range []remote.FlowControl{remote.Credit, remote.TCP} {
		for _, g := range guarantees() {
			t.Run(string(flow)+"/"+string(g), func(t *testing.T) {
				s := newSpread(t, g, 4, func(c *Config) { c.FlowControl = flow })
				for range 2 {
					r := s.start(s.ctx)
					s.produce(3000)
					s.untilDurable()
					s.until("what the functions have counted", func() bool {
						_ = r.Gauges() // asks the task managers
						seen, keys := 0.0, int64(0)
						for _, v := range r.(engines.Metered).Metrics() {
							seen += float64(v.Value)
							keys += v.Count
						}
						var io engines.TaskIO // of all
						for _, task := range r.Gauges().Tasks {
							if task.IO != nil {
								io.BytesInRemote += task.IO.BytesInRemote
								io.BytesInLocal += task.IO.BytesInLocal
								io.BytesOut += task.IO.BytesOut
							}
						}
						return seen >= 9000 && float64(keys) == seen && io.BytesInRemote > 0 && io.BytesInRemote+io.BytesInLocal == io.BytesOut
					})
					s.produce(1000)
					if err := r.Stop(s.ctx, engines.StopDrain); err != nil {
						t.Fatal(err)
					}
					// What was not read yet, at the moment of the stop, the next start reads.
				}
				r := s.start(s.ctx)
				s.untilDurable()
				if err := r.Stop(s.ctx, engines.StopCheckpoint); err != nil {
					t.Fatal(err)
				}
				expect(t, s.read(), tally{})
			})
		}
	}
}
