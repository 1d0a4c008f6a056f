package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/engines"
	"streamduel/engines/dataflow"
	"streamduel/engines/microbatch"
	"streamduel/harness/broker"
	"streamduel/state"
	"streamduel/worker"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
)

// BenchmarkCatchUp reads a backlog of so many records as fast as it goes: by a
// loop written by hand on the client library, and by both engines, in one
// process one after the other. It reports the processor time of this process a
// million records, and that of an engine by the loop's ("by-hand"). The loop does
// the job's work, reads and writes the same records and keeps nothing for a
// restart.
//
//	go test -run '^$' -bench CatchUp -benchtime 1000000x -count 3 ./cmd/bench
//
// STREAMDUEL_BENCH_BROKER=local takes a real Kafka; without it the broker is the
// embedded one, which keeps what it gets in memory and answers in smaller pieces.
func BenchmarkCatchUp(b *testing.B) {
	kind := broker.Embedded
	if k := os.Getenv("STREAMDUEL_BENCH_BROKER"); k != "" {
		kind = broker.Kind(k)
	}
	br, err := broker.Start(b.Context(), broker.Options{Kind: kind, Dir: b.TempDir(), MemoryLimit: 4 << 30, Log: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := br.Close(); err != nil {
			b.Log(err)
		}
	})
	for _, w := range []struct {
		name string
		hand func(*backlog, *byHand) error
	}{{"ysb", ysbByHand}, {"keyed-count", countByHand}} {
		b.Run(w.name, func(b *testing.B) {
			bl := &backlog{broker: br, workload: workloads.Lookup(w.name)}
			defer bl.drop(b)
			best := 0.0
			b.Run("hand", func(b *testing.B) {
				each := bl.measure(b, func() error { return bl.byHand(b, w.hand) })
				if best == 0 || 0 < each && each < best {
					best = each
				}
			})
			for _, e := range []struct {
				engine engines.Engine
				config string
			}{
				{dataflow.Engine{}, `{"checkpoint":{"interval":"1s"}}`},
				{microbatch.Engine{}, `{"interval":"10ms","watermark":"min-over-partitions","rate":{"maxRecordsPerBatch":500000,"pid":{"enabled":false}}}`},
			} {
				b.Run(e.engine.Name(), func(b *testing.B) {
					each := bl.measure(b, func() error { return bl.engine(b, e.engine, e.config) })
					if best > 0 && each > 0 {
						b.ReportMetric(each/best, "by-hand")
					}
				})
			}
		})
	}
}

const backlogPartitions = 4

// backlog is a workload's input, filled in once for a number of records.
type backlog struct {
	broker   *broker.Broker
	workload *workloads.Workload
	records  int
	input    string
	topics   []string
	views    int64 // of ysb, as the loop by hand has counted them
}

// drop deletes the topics made so far: the embedded broker holds them in memory.
func (l *backlog) drop(b *testing.B) {
	if err := l.broker.DeleteTopics(b.Context(), l.topics...); err != nil {
		b.Log(err)
	}
	l.topics = nil
}

func (l *backlog) topic(b *testing.B, what string) string {
	name := fmt.Sprintf("%s-%s-%d", l.workload.Name, what, time.Now().UnixNano())
	if err := l.broker.CreateTopic(b.Context(), name, backlogPartitions, nil); err != nil {
		b.Fatal(err)
	}
	l.topics = append(l.topics, name)
	return name
}

// fill writes b.N records, 20 to a millisecond of event time.
func (l *backlog) fill(b *testing.B) {
	if l.records == b.N {
		return
	}
	l.drop(b)
	l.records, l.input = b.N, l.topic(b, "in")
	g, err := l.workload.Generator(l.workload.Params(), 1)
	if err != nil {
		b.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.broker.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	failed := kgo.AbortingFirstErrPromise(cl)
	for i := range b.N {
		in := workloads.Input{Index: int64(i), Partition: int32(i % backlogPartitions), Sequence: int64(i / backlogPartitions), EventTime: 1_700_000_000_000 + int64(i/20)}
		value, key := g.Append(nil, in)
		o := connectors.Origin{Partition: in.Partition, Sequence: in.Sequence}
		cl.Produce(b.Context(), &kgo.Record{Topic: l.input, Partition: in.Partition, Key: key, Value: value, Headers: []kgo.RecordHeader{{Key: connectors.OriginHeader, Value: connectors.AppendOrigin(nil, o)}}}, failed.Promise())
	}
	if err := errors.Join(cl.Flush(b.Context()), failed.Err()); err != nil {
		b.Fatal(err)
	}
}

// measure runs the work and reports, and returns, its processor seconds a million
// records.
func (l *backlog) measure(b *testing.B, work func() error) float64 {
	if b.N < 1000 {
		return 0 // the testing package's trial run, for which the backlog is not made
	}
	l.fill(b)
	before := processorTime(b)
	b.ResetTimer()
	if err := work(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	each := (processorTime(b) - before).Seconds() * 1e6 / float64(b.N)
	b.ReportMetric(each, "CPU-s/M")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e3, "krec/s")
	return each
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// engine runs the job in this process until it has read the backlog.
func (l *backlog) engine(b *testing.B, e engines.Engine, config string) error {
	output := l.topic(b, "out")
	line := worker.Job{
		Protocol: worker.Protocol, Name: l.input, Workload: l.workload.Name, Engine: e.Name(), Config: json.RawMessage(config),
		Guarantee: "at-least-once", Parallelism: 2,
		Kafka: worker.Kafka{Brokers: l.broker.Brokers(), Input: workloads.Topics{Names: []string{l.input}}, Output: output, Late: output},
	}
	_, c, job, err := worker.Prepare(line, map[string]engines.Engine{e.Name(): e}, worker.Connectors{
		Source: func(k worker.Kafka, t workloads.Topics) (connectors.Source, error) {
			return kafka.NewSource(kafka.SourceConfig{Brokers: k.Brokers, Topics: t.Names, Bounded: true})
		},
		Sink: func(k worker.Kafka, topic string, _ int64) (connectors.Sink, error) {
			return kafka.NewSink(kafka.SinkConfig{Brokers: k.Brokers, Topic: topic})
		},
	})
	if err != nil {
		return err
	}
	if job.Folder, err = state.OpenFolder(b.TempDir(), state.DurableProcess); err != nil {
		return err
	}
	run, err := e.Start(b.Context(), job, c, engines.Runtime{})
	if err != nil {
		return err
	}
	if err := run.Wait(); err != nil {
		return err
	}
	b.StopTimer()
	g := run.Gauges()
	if want := int64(b.N); l.workload.Name == "keyed-count" && g.Written != want {
		return fmt.Errorf("%d outputs of %d inputs", g.Written, want)
	}
	if l.workload.Name != "ysb" || l.views == 0 {
		return nil
	}
	if n, err := counted(b.Context(), l.broker, output, g.Written); err != nil || n != l.views {
		return fmt.Errorf("%d views counted, by hand %d: %w", n, l.views, err)
	}
	return nil
}

// counted adds the counts of a topic's rows up.
func counted(ctx context.Context, br *broker.Broker, topic string, rows int64) (n int64, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(br.Brokers()...), kgo.ConsumePartitions(fromStart(topic)))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	for rows > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return 0, err
		}
		fs.EachRecord(func(r *kgo.Record) {
			digits, _, _ := bytes.Cut(r.Value, []byte{','})
			c, e := strconv.ParseInt(string(digits), 10, 64)
			err = errors.Join(err, e)
			n += c
			rows--
		})
	}
	return n, err
}

func fromStart(topic string) map[string]map[int32]kgo.Offset {
	from := map[int32]kgo.Offset{}
	for p := range int32(backlogPartitions) {
		from[p] = kgo.NewOffset().AtStart()
	}
	return map[string]map[int32]kgo.Offset{topic: from}
}

// byHand is what a loop by hand has: a client for each direction, with the
// settings of our connectors.
type byHand struct {
	ctx     context.Context
	in, out *kgo.Client
	output  string
	promise func() func(*kgo.Record, error)
}

func (l *backlog) byHand(b *testing.B, loop func(*backlog, *byHand) error) error {
	ctx := b.Context()
	in, err := kgo.NewClient(kgo.SeedBrokers(l.broker.Brokers()...), kgo.DisableClientMetrics(), kgo.ConsumePartitions(fromStart(l.input)),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(25*time.Millisecond), kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := kgo.NewClient(kgo.SeedBrokers(l.broker.Brokers()...), kgo.DisableClientMetrics(),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(32<<10), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return err
	}
	defer out.Close()
	failed := kgo.AbortingFirstErrPromise(out)
	h := &byHand{ctx: ctx, in: in, out: out, output: l.topic(b, "out")}
	h.promise = failed.Promise
	return errors.Join(loop(l, h), out.Flush(ctx), failed.Err())
}

// each calls f for every record of the backlog.
func (h *byHand) each(l *backlog, f func(*kgo.Record) error) error {
	var err error
	for n := 0; n < l.records; {
		fs := h.in.PollFetches(h.ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		fs.EachRecord(func(r *kgo.Record) {
			n++
			if err == nil {
				err = f(r)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var errByHand = errors.New("by hand: a record without its fields")

// countByHand is keyed-count.
func countByHand(l *backlog, h *byHand) error {
	counts := make(map[int64]int64, 1000)
	return h.each(l, func(r *kgo.Record) error {
		in, err := idrecord.Parse(r.Value)
		if err != nil {
			return err
		}
		n := counts[in.Key] + 1
		counts[in.Key] = n
		v := make([]byte, 0, 48)
		v = append(idrecord.AppendUint(v, uint64(in.Partition), idrecord.PartitionWidth), ',')
		v = append(idrecord.AppendUint(v, uint64(in.Sequence), idrecord.SequenceWidth), ',')
		key := len(v)
		v = idrecord.AppendUint(v, uint64(in.Key), idrecord.KeyWidth)
		k := v[key:]
		v = append(idrecord.AppendUint(append(v, ','), uint64(n), 12), ",r"...)
		h.out.Produce(h.ctx, &kgo.Record{Topic: h.output, Key: k, Value: v}, h.promise())
		return nil
	})
}

// ysbByHand is ysb: fields by a walk over the text that knows their order, the
// campaign by a map of the campaigns that come, windows in an array.
func ysbByHand(l *backlog, h *byHand) error {
	type tally struct{ count, hash uint64 }
	// Ads get numbers as they come; which campaign an ad belongs to costs the same
	// lookup whatever it says.
	campaigns := map[string]int{}
	windows := map[int64][]tally{}
	var views int64
	if err := h.each(l, func(r *kgo.Record) error {
		v := r.Value
		ad, v, ok := field(v, `"ad_id":"`)
		if !ok {
			return errByHand
		}
		kind, v, ok := field(v, `"event_type":"`)
		if !ok {
			return errByHand
		}
		if string(kind) != "view" {
			return nil
		}
		digits, _, ok := field(v, `"event_time":"`)
		if !ok {
			return errByHand
		}
		var at int64
		for _, c := range digits {
			at = at*10 + int64(c-'0')
		}
		c, ok := campaigns[string(ad)]
		if !ok {
			c = len(campaigns)
			campaigns[string(ad)] = c
		}
		var o connectors.Origin
		for i := range r.Headers {
			if r.Headers[i].Key == connectors.OriginHeader {
				o, _ = connectors.ParseOrigin(r.Headers[i].Value)
			}
		}
		at -= at % 10_000
		w := windows[at]
		if w == nil {
			w = make([]tally, 1000)
			windows[at] = w
		}
		t := &w[c]
		t.count++
		t.hash += workloads.HashID(o.Partition, o.Sequence)
		views++
		return nil
	}); err != nil {
		return err
	}
	for at, w := range windows {
		for c, t := range w {
			if t.count > 0 {
				h.out.Produce(h.ctx, &kgo.Record{Topic: h.output, Value: fmt.Appendf(nil, "%012d,%016x,r,%015d,%d", t.count, t.hash, at, c)}, h.promise())
			}
		}
	}
	l.views = views
	return nil
}

// field returns the text behind name up to its closing quote, and what follows.
func field(v []byte, name string) (text, rest []byte, ok bool) {
	for {
		i := bytes.IndexByte(v, '"')
		if i < 0 {
			return nil, nil, false
		}
		v = v[i:]
		if len(v) > len(name) && string(v[:len(name)]) == name {
			v = v[len(name):]
			i = bytes.IndexByte(v, '"')
			return v[:max(i, 0)], v[max(i, 0):], i >= 0
		}
		v = v[1:]
	}
}
