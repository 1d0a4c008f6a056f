package microbatch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/pipeline"
	"streamduel/state"
	"streamduel/state/lsm"
)

const memberEnv = "STREAMDUEL_MICROBATCH_MEMBER"

// farJob is the line that the tests' executors make their job of.
type farJob struct {
	Brokers     []string
	Guarantee   connectors.Guarantee
	Parallelism int
	Folder      string
	Config      json.RawMessage
	// Deadly is how often a record with key 7 ends the executor that reads it, for
	// good counts kept in files of that name.
	Deadly     int
	DeadlyFile string
	Disk       bool // state is on disk
	// Does is what the job does: "" counts by key, one row a record; "pass" hands
	// the records on; "sum" counts by key in a function that merges; "bench" is
	// BenchmarkKeyedPipeline's job over so many Records.
	Does    string
	Records int64
}

func (j farJob) backend() state.Backends {
	if j.Disk {
		return lsm.Within(1)
	}
	return nil
}

// graph is the job, over Kafka.
func (j farJob) graph() (*pipeline.Graph, error) {
	if j.Does == "bench" {
		return keyedGraph(j.Records), nil
	}
	in, err := kafka.NewSource(kafka.SourceConfig{Brokers: j.Brokers, Topics: []string{"in"}, FetchWaitMillis: 5})
	if err != nil {
		return nil, err
	}
	out, err := kafka.NewSink(kafka.SinkConfig{Brokers: j.Brokers, Topic: "out"})
	if err != nil {
		return nil, err
	}
	g := pipeline.New("count")
	events := pipeline.From(g, "in", in, decodeEvent)
	if j.Deadly > 0 {
		events = pipeline.Filter(events, "deadly", func(e event) bool {
			if e.key == 7 {
				j.die()
			}
			return true
		})
	}
	switch j.Does {
	case "pass":
		events = pipeline.Filter(events, "pass", func(event) bool { return true })
	case "sum":
		events = pipeline.Aggregate(byKeyOf(events.Codec(eventCodec)), "count", countFunction(), eventCodec)
	default:
		events = counted(events, "count")
	}
	pipeline.To(events, "out", out, encodeEvent)
	return g, nil
}

// die ends this process unless enough have died.
func (j farJob) die() {
	for i := range j.Deadly {
		f, err := os.OpenFile(fmt.Sprintf("%s-%d", j.DeadlyFile, i), os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // it does
			select {}
		}
	}
}

func (j farJob) job() (job engines.Job, cfg *Config, err error) {
	c := Default()
	if err := json.Unmarshal(j.Config, c); err != nil {
		return job, nil, err
	}
	f, err := state.OpenFolder(j.Folder, state.DurableProcess)
	if err != nil {
		return job, nil, err
	}
	g, err := j.graph()
	return engines.Job{Name: "job", Graph: g, Parallelism: j.Parallelism, Guarantee: j.Guarantee, Folder: f, Origins: true, Backend: j.backend()}, c, err
}

// memberMain is an executor's process in tests.
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
		var j farJob
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

// far is a bed whose job runs in several processes over a Kafka.
type far struct {
	*bed
	ctx     context.Context
	brokers []string
	client  *kgo.Client
	made    []int64 // records in each partition
	line    farJob
}

const farKeys = 41

func newFar(t *testing.T, g connectors.Guarantee, change func(*Config)) *far {
	const partitions = 3
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "in"), kfake.SeedTopics(2, "out"), kfake.SleepOutOfOrder())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	f := &far{bed: newBed(t, partitions, g), ctx: ctx, brokers: cluster.ListenAddrs(), made: make([]int64, partitions)}
	f.config.Executors, f.config.Cores, f.config.StateSnapshotEvery = 2, 2, 3
	f.config.Interval = Duration(5 * time.Millisecond)
	if change != nil {
		change(f.config)
	}
	config, err := json.Marshal(f.config)
	if err != nil {
		t.Fatal(err)
	}
	f.line = farJob{Brokers: f.brokers, Guarantee: g, Parallelism: 4, Folder: f.dir, Config: config}
	f.connect()
	return f
}

// connect makes the client that produces.
func (f *far) connect() {
	f.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("in"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.Close)
	f.client = c
}

// produce appends records to all partitions in turn.
func (f *far) produce(n int) {
	f.t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		p := i % len(f.made)
		key := int64(i % farKeys)
		rs[i] = &kgo.Record{Partition: int32(p), Value: event{int32(p), f.made[p], key, 0}.bytes()}
		f.made[p]++
		f.topic.add(p, key) // so that verdict knows the inputs
	}
	if err := f.client.ProduceSync(f.ctx, rs...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *far) tryStartFar(arm string, hit int) (*process, error) {
	f.t.Helper()
	f.members = f.line.members(f.t)
	f.backend = f.line.backend()
	f.parallel, f.log = f.line.Parallelism, slog.New(slog.NewTextHandler(os.Stderr, nil))
	f.graph = func() *pipeline.Graph {
		g, err := f.line.graph()
		if err != nil {
			f.t.Fatal(err)
		}
		return g
	}
	return f.tryStart(arm, hit)
}

// members starts the test's binary for executors.
func (j farJob) members(t testing.TB) *engines.Members {
	line, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return &engines.Members{Job: line, Command: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), memberEnv+"=1")
		return cmd
	}}
}

func (f *far) startFar(arm string, hit int) *process {
	f.t.Helper()
	p, err := f.tryStartFar(arm, hit)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// untilDurable waits until all input is below a durable position.
func (f *far) untilDurable(p *process) {
	f.t.Helper()
	want := int64(0)
	for _, n := range f.made {
		want += n
	}
	p.await("a durable end of the input", func(es []engines.Event) bool {
		n := int64(0)
		for _, e := range es {
			if d, ok := e.(engines.Durable); ok {
				n = 0
				for _, at := range d.Positions {
					n += int64(at)
				}
			}
		}
		return n == want
	})
}

// read takes over what a read_committed reader sees.
func (f *far) read() { f.store.visible = consume(f.ctx, f.t, f.brokers) }

func eachGuarantee(t *testing.T, run func(*testing.T, connectors.Guarantee)) {
	for _, g := range []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) { run(t, g) })
	}
}

// rowsSeen adds up what the counting function has counted.
func (p *process) rowsSeen() (n float64) {
	for _, v := range p.Run.(engines.Metered).Metrics() {
		n += float64(v.Value)
	}
	return n
}

// TestTwoExecutors runs the counting job on two processes, and again from where it
// stopped.
func TestTwoExecutors(t *testing.T) {
	eachGuarantee(t, func(t *testing.T, g connectors.Guarantee) {
		f := newFar(t, g, nil)
		for range 2 {
			p := f.startFar("", 0)
			for range 3 {
				f.produce(700)
				f.untilDurable(p)
			}
			p.stop(engines.StopCheckpoint)
			if n := p.Gauges().Written; n != 2100 {
				t.Errorf("%d rows written, says the job", n)
			}
			if n := p.rowsSeen(); n != 2100 {
				t.Errorf("%v rows seen, say its functions", n)
			}
			var rows, keys int64
			for _, b := range batches(p.all("batchCompleted")) {
				rows += b.Sinks[0].Rows
				keys = b.StateOperators[0].RowsTotal
			}
			if rows != 2100 || keys != farKeys {
				t.Errorf("%d rows given to the sink and %d keys, say the batches", rows, keys)
			}
		}
		f.read()
		f.expect(0, 0)
		if err := f.counts(); err != nil {
			t.Error(err)
		}
	})
}

// TestThrottledExecutors: they write no faster than the throttle says, all together,
// and as fast as they can when it is lifted.
func TestThrottledExecutors(t *testing.T) {
	f := newFar(t, connectors.AtLeastOnce, nil)
	f.gate = connectors.NewGate()
	f.gate.Throttle(5000)
	p := f.startFar("", 0)
	began := time.Now()
	f.produce(1000)
	f.untilDurable(p)
	if took := time.Since(began); took < 180*time.Millisecond { // less a burst
		t.Errorf("1000 records at 5000 a second took %v", took)
	}
	f.gate.Throttle(1)
	f.produce(500)
	f.gate.Throttle(0)
	f.untilDurable(p)
	p.stop(engines.StopCheckpoint)
	f.exact()
}

// TestALostExecutor kills an executor while batches run. Whatever ran or lay there
// is computed again, its partitions of the state move, and a new process takes its
// place.
func TestALostExecutor(t *testing.T) {
	eachGuarantee(t, func(t *testing.T, g connectors.Guarantee) {
		f := newFar(t, g, func(c *Config) { c.Rate.MaxRecordsPerBatch = 150 })
		f.loseExecutors(4, 1500)
		f.exact()
	})
}

// loseExecutors starts the job and kills one executor after the other while
// batches run, each when so many records more are on their way.
func (f *far) loseExecutors(kills, records int) {
	f.t.Helper()
	p := f.startFar("", 0)
	for i := range kills {
		f.produce(records)
		n := len(p.all("batchCompleted"))
		p.await("batches on the way", func(es []engines.Event) bool { return count(es, "batchCompleted") >= n+2 })
		if err := p.Run.(engines.Killer).Kill(i%2 + 1); err != nil {
			f.t.Fatal(err)
		}
		f.untilDurable(p)
		p.await("another in its place", func(es []engines.Event) bool { return count(es, "executorAdded") == i+1 })
	}
	p.stop(engines.StopCheckpoint)
	if n := len(p.all("executorLost")); n != kills {
		f.t.Errorf("%d executors were lost", n)
	}
	if n := p.rowsSeen(); n != float64(kills*records) {
		f.t.Errorf("%v rows seen, say its functions", n)
	}
}

// exact checks what is there of what was produced: copies only where the guarantee
// allows them, and counts that are right where there are none.
func (f *far) exact() {
	f.t.Helper()
	f.read()
	copies, losses := f.verdict()
	if losses != 0 || (copies > 0 && f.guarantee != connectors.AtLeastOnce) {
		f.t.Errorf("%d copies, %d losses", copies, losses)
	}
	if copies == 0 {
		if err := f.counts(); err != nil {
			f.t.Error(err)
		}
	}
}

func count(es []engines.Event, kind string) (n int) {
	for _, e := range es {
		if e.Kind() == kind {
			n++
		}
	}
	return n
}

// TestDriverDiesWithExecutors crashes the driver at the points of a batch: the
// executors die with it, and the figures that the point announces are right.
func TestDriverDiesWithExecutors(t *testing.T) {
	for _, point := range []string{"M1", "M2", "T1", "T2", "M3", "M4"} {
		for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
			if strings.HasPrefix(point, "T") && g != connectors.ExactlyOnce {
				continue
			}
			t.Run(fmt.Sprint(point, "/", g), func(t *testing.T) {
				f := newFar(t, g, func(c *Config) { c.Rate.MaxRecordsPerBatch = 600 })
				f.produce(3000)
				p := f.startFar(point, 3)
				if err := p.Wait(); err == nil {
					t.Fatal("no crash")
				}
				p.cancel()
				told := (<-p.crashed).acked
				p = f.startFar("", 0)
				f.untilDurable(p)
				p.stop(engines.StopCheckpoint)
				f.read()
				copies := 0
				if g == connectors.AtLeastOnce {
					copies = int(told)
				}
				f.expect(copies, 0)
			})
		}
	}
}

// TestARecordThatKillsExecutors: one that does it as often as a task may fail fails
// the job, which says so; once is no more than a loss.
func TestARecordThatKillsExecutors(t *testing.T) {
	for _, times := range []int{1, 100} {
		t.Run(fmt.Sprint(times), func(t *testing.T) {
			f := newFar(t, connectors.ExactlyOnce, nil)
			f.line.Deadly, f.line.DeadlyFile = times, filepath.Join(t.TempDir(), "died")
			p := f.startFar("", 0)
			f.produce(300)
			if times > 1 {
				err := p.Wait()
				p.cancel()
				if err == nil || !strings.Contains(err.Error(), "4 executors were lost while they ran it (scheduler.maxFailures 4)") {
					t.Error(err)
				}
				return
			}
			f.untilDurable(p)
			p.stop(engines.StopCheckpoint)
			f.read()
			f.expect(0, 0)
		})
	}
}

// TestExactlyOnceByPartitionWithExecutors: the other ways of exactly-once, whose
// transactions the driver has as well.
func TestExactlyOnceByPartitionWithExecutors(t *testing.T) {
	f := newFar(t, connectors.ExactlyOnce, func(c *Config) {
		c.ExactlyOnce = OutputPartition
		c.Rate.MaxRecordsPerBatch = 150
	})
	p := f.startFar("", 0)
	f.produce(1500)
	p.await("batches on the way", func(es []engines.Event) bool { return count(es, "batchCompleted") >= 2 })
	if err := p.Run.(engines.Killer).Kill(2); err != nil {
		t.Fatal(err)
	}
	f.untilDurable(p)
	p.stop(engines.StopCheckpoint)
	f.read()
	f.expect(0, 0)
	if err := f.counts(); err != nil {
		t.Error(err)
	}
}

// TestWhatExecutorsRefuse: each at its field's place, with what to do about it.
func TestWhatExecutorsRefuse(t *testing.T) {
	for want, change := range map[string]func(*Config, *bed){
		"executors: value 2: whoever runs the job here cannot start processes: set it to 1": func(*Config, *bed) {},
	} {
		b := newBed(t, 2, connectors.AtLeastOnce)
		b.config.Executors = 2
		change(b.config, b)
		if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
