package kafka

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// childBroker serves an embedded broker until its standard input ends, so that
// its processor time is not the benchmark's.
func childBroker([]string) error {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println(strings.Join(c.ListenAddrs(), ","))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func benchBrokers(b *testing.B) []string {
	if v := os.Getenv(brokersEnv); v != "" {
		return strings.Split(v, ",")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=broker")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() { in.Close(); cmd.Wait() }) //nolint:errcheck // the broker ends with its input
	line, err := bufio.NewReader(out).ReadString('\n')
	must(b, err)
	return strings.Split(strings.TrimSpace(line), ",")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const (
	benchPartitions = 4
	benchRecords    = 400_000
)

// BenchmarkPassThrough copies records of 100 B from topic to topic, once
// through a Reader and a Writer and once in a bare loop of the client library
// with the same settings, and reports both in records per second of processor
// time, and their ratio.
func BenchmarkPassThrough(b *testing.B) {
	brokers := benchBrokers(b)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	must(b, err)
	defer cl.Close()
	in := fmt.Sprintf("bench-in-%d", time.Now().UnixNano())
	outs := []string{in + "-ours", in + "-bare"}
	adm := kadm.NewClient(cl)
	_, err = adm.CreateTopics(b.Context(), benchPartitions, 1, nil, append(outs, in)...)
	must(b, err)
	value := make([]byte, 100)
	for i := range benchRecords {
		cl.Produce(b.Context(), &kgo.Record{Topic: in, Partition: int32(i % benchPartitions), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	must(b, cl.Flush(b.Context()))

	var ours, bare time.Duration
	n := 0
	for b.Loop() {
		// A B B A, so that neither always comes first.
		for _, first := range []bool{true, false} {
			for _, own := range []bool{first, !first} {
				start := cpuTime()
				if own {
					throughContract(b, brokers, in, outs[0])
					ours += cpuTime() - start
				} else {
					throughClient(b, brokers, in, outs[1])
					bare += cpuTime() - start
				}
			}
		}
		n += 2 * benchRecords
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "ours-rec/cpu-s")
	b.ReportMetric(float64(n)/bare.Seconds(), "bare-rec/cpu-s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
}

func throughContract(b *testing.B, brokers []string, in, out string) {
	ctx := b.Context()
	src, err := NewSource(SourceConfig{Brokers: brokers, Topics: []string{in}})
	must(b, err)
	snk, err := NewSink(SinkConfig{Brokers: brokers, Topic: out})
	must(b, err)
	r, err := src.Reader(ctx, connectors.Env{})
	must(b, err)
	defer r.Close()
	var acked atomic.Int64
	w, err := snk.Writer(ctx, connectors.WriterEnv{
		Env: connectors.Env{Gate: connectors.NewGate()}, Guarantee: connectors.AtLeastOnce,
		Acked: func(connectors.Origin) { acked.Add(1) },
	})
	must(b, err)
	defer w.Close()
	for p := range int32(benchPartitions) {
		must(b, r.Assign(assign(in, p, 0, benchRecords/benchPartitions)))
	}
	var o connectors.Origin
	for {
		batch, err := r.Poll(ctx)
		if err == io.EOF {
			break
		}
		must(b, err)
		o.Partition = batch.Split.Partition
		for i := range batch.Records {
			o.Sequence = batch.Records[i].Offset
			must(b, w.Write(ctx, &batch.Records[i], &o))
		}
	}
	must(b, w.Flush(ctx))
	if acked.Load() != benchRecords {
		b.Fatal(acked.Load())
	}
}

func throughClient(b *testing.B, brokers []string, in, out string) {
	ctx := context.Background()
	offsets := make(map[int32]kgo.Offset)
	for p := range int32(benchPartitions) {
		offsets[p] = kgo.NewOffset().At(0)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{in: offsets}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(25*time.Millisecond),
		kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(1<<20))
	must(b, err)
	defer c.Close()
	p, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(32<<10),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	must(b, err)
	defer p.Close()
	var acked, seen int64
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			b.Error(err)
		}
		acked++
	}
	for seen < benchRecords {
		fs := c.PollFetches(ctx)
		must(b, fs.Err())
		fs.EachRecord(func(r *kgo.Record) {
			seen++
			p.Produce(ctx, &kgo.Record{Topic: out, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}, done)
		})
	}
	must(b, p.Flush(ctx))
	if acked != benchRecords {
		b.Fatal(acked)
	}
}
