package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/harness/broker"
	"streamduel/harness/plan"
	"streamduel/harness/proc"
	"streamduel/workloads"
	_ "streamduel/workloads/builtin"
)

// The test binary is the broker or the load process when it is called like the
// command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "broker":
			os.Exit(broker.Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
		case "load":
			os.Exit(Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
		}
	}
	os.Exit(m.Run())
}

func startBroker(t testing.TB) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Options{Kind: broker.Embedded, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func job(t testing.TB, b *broker.Broker, workload string, shape plan.Shape, partitions []plan.Partition) Job {
	t.Helper()
	p, err := plan.New(shape, partitions)
	if err != nil {
		t.Fatal(err)
	}
	return Job{Workload: workload, Seed: 7, Brokers: b.Brokers(), Plan: p, MetadataMillis: 50, ProgressMillis: 10}
}

// process runs Main as a child would run, but within the test.
type process struct {
	t     *testing.T
	in    *io.PipeWriter
	lines chan proc.Line
	code  chan int
	id    int64
	seen  []proc.Line
}

func run1(t *testing.T, j Job) *process {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &process{t: t, in: inW, lines: make(chan proc.Line, 1<<16), code: make(chan int, 1)}
	go func() {
		p.code <- Main(context.Background(), inR, outW, t.Output())
		outW.Close()
	}()
	go func() {
		for s := bufio.NewScanner(outR); s.Scan(); {
			l := proc.Line{Raw: slices.Clone(s.Bytes())}
			if err := json.Unmarshal(l.Raw, &l); err != nil {
				t.Errorf("line %s: %v", l.Raw, err)
			}
			p.lines <- l
		}
		close(p.lines)
	}()
	t.Cleanup(func() { inW.Close() })
	p.send(j)
	return p
}

func (p *process) send(v any) {
	p.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		p.t.Fatal(err)
	}
}

// await reads lines until one is of the kind, and decodes it.
func (p *process) await(kind string, v any) {
	p.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case l, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the process ended before %q", kind)
			}
			p.seen = append(p.seen, l)
			if l.Event != kind {
				continue
			}
			if v != nil {
				if err := l.Decode(v); err != nil {
					p.t.Fatalf("%s: %v", l.Raw, err)
				}
			}
			return
		case <-timeout:
			p.t.Fatalf("no %q", kind)
		}
	}
}

func (p *process) command(c Command) proc.Line {
	p.t.Helper()
	p.id++
	c.ID = p.id
	p.send(c)
	p.await("answer", nil)
	l := p.seen[len(p.seen)-1]
	if l.ID != p.id {
		p.t.Fatalf("the answer to command %d is %s", p.id, l.Raw)
	}
	return l
}

func (p *process) start() Start {
	p.t.Helper()
	p.await("ready", nil)
	s := Start{At: clock.Mono() + int64(20*time.Millisecond)}
	s.Wall = time.Now().UnixNano() - clock.Mono()
	if l := p.command(Command{Start: &s}); l.Error != "" {
		p.t.Fatal(l.Error)
	}
	return s
}

func (p *process) exit() int {
	p.t.Helper()
	select {
	case c := <-p.code:
		return c
	case <-time.After(10 * time.Second):
		p.t.Fatal("the process does not end")
		return -1
	}
}

// check reads the topics back and compares every record with what the plan says.
func check(t *testing.T, b *broker.Broker, j Job, p *plan.Plan) {
	t.Helper()
	gen, err := generator(j)
	if err != nil {
		t.Fatal(err)
	}
	var topics []string
	for _, part := range p.All() {
		if !slices.Contains(topics, part.Topic) {
			topics = append(topics, part.Topic)
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seen := map[int64]bool{}
	for int64(len(seen)) < p.End() {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("%d of %d records read: %v", len(seen), p.End(), err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			g, _ := p.Global(plan.Partition{Topic: r.Topic, Number: r.Partition})
			i, ok := p.Index(g, r.Offset)
			if !ok || seen[i] {
				t.Fatalf("%s/%d at %d: index %d, %v, seen %v", r.Topic, r.Partition, r.Offset, i, ok, seen[i])
			}
			seen[i] = true
			in := p.Input(i)
			value, key := gen.Append(nil, in)
			if kind := p.Bad(i); kind != "" {
				value, key = gen.(workloads.Spoiler).AppendBad(nil, in, kind)
			}
			if p.Closing(i) {
				value, key = gen.Closing(nil, in)
			}
			if !bytes.Equal(value, r.Value) || !bytes.Equal(key, r.Key) || r.Timestamp.UnixMilli() != in.EventTime {
				t.Fatalf("record %d is %q %q at %v, want %q %q at %d", i, r.Key, r.Value, r.Timestamp, key, value, in.EventTime)
			}
			var o connectors.Origin
			if j.OriginHeader {
				if o, ok = connectors.ParseOrigin(r.Headers[0].Value); !ok || r.Headers[0].Key != connectors.OriginHeader {
					t.Fatalf("record %d has headers %v", i, r.Headers)
				}
				if o.Partition != g || o.Sequence != r.Offset || o.Scheduled != in.Scheduled {
					t.Fatalf("record %d has origin %+v", i, o)
				}
			} else if len(r.Headers) != 0 {
				t.Fatalf("record %d has headers %v", i, r.Headers)
			}
		})
	}
}

func TestEveryRecordIsAsPlanned(t *testing.T) {
	for _, origin := range []bool{false, true} {
		t.Run(fmt.Sprintf("origin=%v", origin), func(t *testing.T) {
			everyRecordIsAsPlanned(t, startBroker(t), origin)
		})
	}
}

// everyRecordIsAsPlanned runs a load over growth to its end and reads it back.
func everyRecordIsAsPlanned(t *testing.T, b *broker.Broker, origin bool) {
	if err := b.CreateTopic(t.Context(), "in", 2, nil); err != nil {
		t.Fatal(err)
	}
	shape := plan.Constant(5000)
	shape.Bad = plan.Bad{Share: 0.05, Kinds: []workloads.BadKind{workloads.Undecodable}, Seed: 3}
	j := job(t, b, "keyed-count", shape, plan.Partitions("in", 2))
	j.OriginHeader = origin
	p := run1(t, j)
	s := p.start()
	p.await("progress", nil)

	// A topic grows, and then another is added.
	mine := j.Plan
	mine.Begin(s.At, s.Wall)
	if err := b.Grow(t.Context(), "in", 3); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateTopic(t.Context(), "more", 2, nil); err != nil {
		t.Fatal(err)
	}
	for _, added := range [][]plan.Partition{{{Topic: "in", Number: 2}}, plan.Partitions("more", 2)} {
		if l := p.command(Command{Grow: &Grow{added}}); l.Error != "" {
			t.Fatal(l.Error)
		}
		var e Epoch
		p.await("epoch", &e)
		got, err := mine.Append(e.From, e.Partitions)
		if err != nil || !slices.Equal(got.First, e.First) {
			t.Fatalf("epoch %+v is %+v here, %v", e, got, err)
		}
		var a Appended
		for p.await("appended", &a); a.Partition != added[0]; p.await("appended", &a) {
		}
	}
	if l := p.command(Command{Stop: &Stop{}}); l.Error != "" {
		t.Fatal(l.Error)
	}
	var stopped Stopped
	p.await("stopped", &stopped)
	if err := mine.Stop(stopped.Limit); err != nil {
		t.Fatal(err)
	}
	var f Finished
	p.await("finished", &f)
	if f.Sent != stopped.Limit || f.Closing != 5 || f.Acked != f.Sent+5 || f.Errors != 0 || f.Slip == "" || f.Bytes < 100*f.Sent {
		t.Errorf("finished %+v", f)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, l := range p.seen {
		if l.Event == "failure" {
			t.Errorf("%s", l.Raw)
		}
	}
	check(t, b, j, mine)
}

func TestForeignRecordIsFound(t *testing.T) {
	b := startBroker(t)
	if err := b.CreateTopic(t.Context(), "in", 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Client().ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p := run1(t, job(t, b, "keyed-count", plan.Constant(1000), plan.Partitions("in", 1)))
	p.start()
	var f Failure
	p.await("failure", &f)
	if want := "in/0: record 0 has offset 1: "; !strings.HasPrefix(f.Text, want) {
		t.Errorf("failure %q, want %q…", f.Text, want)
	}
	p.command(Command{Stop: &Stop{}})
	var end Finished
	p.await("finished", &end)
	if end.Errors != end.Sent+end.Closing {
		t.Errorf("%d errors in %d records", end.Errors, end.Sent)
	}
}

func TestEndsWithItsInput(t *testing.T) {
	b := startBroker(t)
	if err := b.CreateTopic(t.Context(), "in", 1, nil); err != nil {
		t.Fatal(err)
	}
	p := run1(t, job(t, b, "keyed-count", plan.Constant(1000), plan.Partitions("in", 1)))
	p.start()
	p.await("progress", nil)
	b.Close() // nobody acknowledges any more, and that must not hold it
	began := time.Now()
	p.in.Close()
	if code := p.exit(); code != 0 || time.Since(began) > time.Second {
		t.Errorf("exit code %d after %v", code, time.Since(began))
	}
}

func TestWrongCommands(t *testing.T) {
	b := startBroker(t)
	p := run1(t, job(t, b, "keyed-count", plan.Constant(0), plan.Partitions("in", 1)))
	p.await("ready", nil)
	for _, c := range []Command{{}, {Stop: &Stop{}}, {Grow: &Grow{}}, {Start: &Start{}, Stop: &Stop{}}} {
		if l := p.command(c); l.Error == "" {
			t.Errorf("%+v was accepted", c)
		}
	}
	if l := p.command(Command{Start: &Start{At: clock.Mono()}}); l.Error != "" {
		t.Error(l.Error)
	}
	if l := p.command(Command{Start: &Start{}}); l.Error == "" {
		t.Error("a second start was accepted")
	}
}

func TestWrongJobs(t *testing.T) {
	spotless := *workloads.Lookup("keyed-count")
	generator := spotless.Generator
	spotless.Name = "without-bad-records"
	spotless.Generator = func(params any, seed uint64) (workloads.Generator, error) {
		g, err := generator(params, seed)
		return struct{ workloads.Generator }{g}, err // which hides that it is a Spoiler
	}
	if workloads.Lookup(spotless.Name) == nil { // once, with -count
		workloads.Register(&spotless)
	}
	b := startBroker(t)
	good := job(t, b, "keyed-count", plan.Constant(1), plan.Partitions("in", 1))
	for name, c := range map[string]struct {
		change func(*Job)
		code   int
	}{
		"unknown workload":  {func(j *Job) { j.Workload = "kyed-count" }, 2},
		"unknown parameter": {func(j *Job) { j.Params = json.RawMessage(`{"kyes":1}`) }, 2},
		"bad parameter":     {func(j *Job) { j.Params = json.RawMessage(`{"keys":-1}`) }, 2},
		"no plan":           {func(j *Job) { j.Plan = nil }, 2},
		"no broker":         {func(j *Job) { j.Brokers = nil }, 2},
		"no bad records": {func(j *Job) {
			j.Workload = "without-bad-records"
			shape := plan.Constant(1)
			shape.Bad = plan.Bad{Share: 0.5, Kinds: []workloads.BadKind{workloads.Undecodable}}
			j.Plan, _ = plan.New(shape, plan.Partitions("in", 1))
		}, 2},
		"nobody there": {func(j *Job) { j.Brokers = []string{"127.0.0.1:1"} }, 4},
	} {
		j := good
		c.change(&j)
		line, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		in, hold := io.Pipe() // stays open, as a parent's does
		go func() { _, _ = hold.Write(append(line, '\n')) }()
		var errs bytes.Buffer
		if code := Main(t.Context(), in, io.Discard, &errs); code != c.code || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, message %q", name, code, errs.String())
		}
		hold.Close()
	}
}

func TestNoAllocationPerRecord(t *testing.T) {
	w := workloads.Lookup("keyed-count")
	gen, err := w.Generator(w.Params(), 1)
	if err != nil {
		t.Fatal(err)
	}
	s := &slabs{acked: func(*kgo.Record, error) {}}
	o := &connectors.Origin{Partition: 1}
	fill := func() {
		b := s.get()
		for i := range slabRecords {
			from := len(b.buf)
			var key []byte
			b.buf, key = gen.Append(b.buf, workloads.Input{Index: int64(i), Sequence: int64(i)})
			b.add(from, key, o)
		}
		s.release(b)
		for i := range b.records {
			b.done(&b.records[i], nil)
		}
	}
	fill()
	if n := testing.AllocsPerRun(100, fill); n > 1 {
		t.Errorf("%v allocations a slab of %d records", n, slabRecords)
	}
}
