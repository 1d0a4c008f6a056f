package microbatch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"streamduel/clock"
	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/state"
)

// The test binary is also its own executors.
func TestMain(m *testing.M) {
	if os.Getenv(memberEnv) != "" {
		os.Exit(memberMain())
	}
	goleak.VerifyTestMain(m)
}

var eventCodec = codec.Struct("event/1", func(dst []byte, e event) []byte { return append(dst, e.bytes()...) },
	func(src []byte) (event, int, error) {
		if len(src) < 32 {
			return event{}, 0, codec.ErrShort
		}
		e, err := eventOf(src[:32])
		return e, 32, err
	}, nil)

// encodeEvent writes an event; where it is a count, time holds it.
func encodeEvent(e event, r *connectors.Record) { r.Value = append(r.Value, e.bytes()...) }

// counted is the keyed count: one output an input, which carries the input's id,
// its key and the running count.
func counted(events *pipeline.Stream[event], name string) *pipeline.Stream[event] {
	keyed := pipeline.KeyBy(events.Codec(eventCodec), func(e event) int64 { return e.key })
	return pipeline.Process(keyed, name, func(s *pipeline.Setup[int64]) pipeline.Function[int64, event, event] {
		counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
		seen := s.Metrics().Counter("seen")
		return pipeline.Function[int64, event, event]{Element: func(e event, c *pipeline.KeyedCtx[int64], emit func(event)) {
			seen.Inc()
			n, _ := counts.Ref(c.Key())
			*n++
			e.time = *n
			emit(e)
		}}
	})
}

func countGraph(in connectors.Source, out connectors.Sink) *pipeline.Graph {
	g := pipeline.New("count")
	pipeline.To(counted(pipeline.From(g, "in", in, decodeEvent), "count"), "out", out, encodeEvent)
	return g
}

// bed is what outlives a job's processes: the folder, the topic and the store.
type bed struct {
	t         testing.TB
	dir       string
	topic     *topic
	store     *store
	guarantee connectors.Guarantee
	config    *Config
	graph     func() *pipeline.Graph
	parallel  int
	discovery time.Duration
	acks      *engines.AckLog
	clock     *clock.Clock
	gate      *connectors.Gate
	backend   state.Backends
	groups    int // 0 takes the default
	members   *engines.Members
	log       *slog.Logger
	disk      func(*os.File, []byte) (int, error) // nil for one with room
}

func newBed(t testing.TB, partitions int, g connectors.Guarantee) *bed {
	b := &bed{t: t, dir: t.TempDir(), topic: newTopic("in", partitions), store: &store{}, guarantee: g, config: Default(), parallel: 2, acks: engines.NewAckLog(), clock: &clock.Clock{}}
	b.config.Interval = Duration(2 * time.Millisecond)
	b.config.Rate.PID.Enabled = false // its rates depend on the machine
	b.graph = func() *pipeline.Graph { return countGraph(b.topic, b.store) }
	return b
}

// process is one start of the job.
type process struct {
	engines.Run
	bed        *bed
	mu         sync.Mutex
	events     []engines.Event
	seen       chan struct{} // closed and made anew at each event
	failpoints *engines.Failpoints
	cancel     context.CancelFunc
	crashed    chan crash // gets one value when an armed point is reached
}

type crash struct {
	point    string
	recovery engines.Recovery
	acked    int64 // outputs acknowledged at or behind the recovery positions
	missing  int64 // inputs of this batch whose output is not acknowledged and that are not read again
}

func (b *bed) job() engines.Job {
	folder, err := state.OpenFolder(b.dir, state.DurableProcess)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.disk != nil {
		folder = folder.Through(b.disk)
	}
	return engines.Job{Name: "job", Graph: b.graph(), Parallelism: b.parallel, Guarantee: b.guarantee, Folder: folder, Origins: true, Discovery: b.discovery, Backend: b.backend, MaxParallelism: b.groups}
}

func (b *bed) tryStart(arm string, hit int) (*process, error) {
	p := &process{bed: b, failpoints: &engines.Failpoints{}, seen: make(chan struct{}), crashed: make(chan crash, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	gate := b.gate
	if gate == nil {
		gate = connectors.NewGate()
	}
	if arm != "" {
		p.failpoints.Arm(arm, hit, func(f engines.FailpointReached, recovery func() engines.Recovery) {
			gate.Close()
			if err := gate.Drain(ctx); err != nil {
				b.t.Error(err)
			}
			c := crash{point: f.Point, recovery: recovery()}
			for id, at := range c.recovery.Positions {
				part := int32(b.topic.index(id))
				c.acked += b.acks.From(part, at)
				c.missing += b.acks.Missing(part, c.recovery.Base[id], at)
			}
			b.store.kill()
			p.crashed <- c
			cancel()
			panic("killed at " + f.Point)
		})
	}
	run, err := New().Start(ctx, b.job(), b.config, engines.Runtime{
		Events: p.event, Failpoints: p.failpoints, Acks: b.acks, Clock: b.clock, Gate: gate, Members: b.members, Log: b.log,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	p.Run = run
	return p, nil
}

func (b *bed) start() *process { return b.startArmed("", 0) }

func (b *bed) startArmed(arm string, hit int) *process {
	b.t.Helper()
	p, err := b.tryStart(arm, hit)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (p *process) event(e engines.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
	close(p.seen)
	p.seen = make(chan struct{})
}

// await waits until the events so far satisfy ok.
func (p *process) await(what string, ok func([]engines.Event) bool) {
	p.bed.t.Helper()
	ended := make(chan struct{})
	go func() {
		p.Wait()
		close(ended)
	}()
	for {
		p.mu.Lock()
		done, seen := ok(p.events), p.seen
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-seen:
		case <-ended:
			p.mu.Lock()
			done := ok(p.events)
			p.mu.Unlock()
			if !done {
				p.bed.t.Fatalf("the job ended while waiting for %s: %v", what, p.Wait())
			}
			return
		}
	}
}

// drained waits until everything in the topic has been committed.
func (p *process) drained() {
	p.bed.t.Helper()
	p.await("the topic's end", func(es []engines.Event) bool {
		until := engines.Positions{}
		for _, e := range es {
			if d, ok := e.(engines.Durable); ok {
				maps.Copy(until, d.Positions)
			}
			if d, ok := e.(engines.Restored); ok {
				maps.Copy(until, d.Positions)
			}
		}
		n := 0
		for _, p := range until {
			n += int(p)
		}
		return n == p.bed.topic.records()
	})
}

// durable waits until this start has committed so many records of a topic that is
// not the bed's.
func (p *process) durable(records int) {
	p.bed.t.Helper()
	p.await("the topic's end", func(es []engines.Event) bool {
		n := 0
		for _, e := range es {
			if d, ok := e.(engines.Durable); ok {
				n = 0
				for _, at := range d.Positions {
					n += int(at)
				}
			}
		}
		return n == records
	})
}

func (p *process) stopNow() {
	p.bed.t.Helper()
	p.stop(engines.StopCheckpoint)
}

func (p *process) stop(m engines.StopMode) {
	p.bed.t.Helper()
	if err := p.Stop(context.Background(), m); err != nil {
		p.bed.t.Fatalf("stop: %v", err)
	}
	p.cancel()
}

func (p *process) all(kind string) (out []engines.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind() == kind {
			out = append(out, e)
		}
	}
	return out
}

// verdict counts copies and losses by input id.
func (b *bed) verdict() (copies, losses int) {
	b.topic.mu.Lock()
	defer b.topic.mu.Unlock()
	seen := map[[2]int64]int{}
	for _, r := range b.store.rows() {
		seen[[2]int64{int64(r.partition), r.sequence}]++
	}
	for p := range b.topic.parts {
		for s := range b.topic.parts[p] {
			id := [2]int64{int64(p), int64(s)}
			if n := seen[id]; n == 0 {
				losses++
			} else {
				copies += n - 1
			}
			delete(seen, id)
		}
	}
	if len(seen) > 0 {
		b.t.Errorf("%d outputs that no input explains", len(seen))
	}
	return copies, losses
}

// counts checks that each key's counts are 1…n, each once.
func (b *bed) counts() error {
	byKey := map[int64][]int64{}
	for _, r := range b.store.rows() {
		byKey[r.key] = append(byKey[r.key], r.value)
	}
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		slices.Sort(byKey[k])
		for i, v := range byKey[k] {
			if v != int64(i+1) {
				return fmt.Errorf("key %d: counts are %v", k, byKey[k])
			}
		}
	}
	return nil
}

func (b *bed) expect(copies, losses int) {
	b.t.Helper()
	if c, l := b.verdict(); c != copies || l != losses {
		b.t.Errorf("%d copies and %d losses, want %d and %d", c, l, copies, losses)
	}
}

func tear(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)-len(b)/3-1], 0o644); err != nil {
		t.Fatal(err)
	}
}
