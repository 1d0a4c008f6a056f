package floors

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/runs"
)

// cpuTime is the user and system time of this process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loopOptions are those of the client that a loop consumes and produces with:
// what a cell's connectors ask for, no more.
func loopOptions(j job) []kgo.Opt {
	from := map[string]map[int32]kgo.Offset{j.Input: {}}
	for p := range j.Partitions {
		from[j.Input][int32(p)] = kgo.NewOffset().AtStart()
	}
	return []kgo.Opt{
		kgo.SeedBrokers(j.Brokers...),
		kgo.ConsumePartitions(from),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(100_000),
	}
}

// clientLoop fills the input and then moves every record to the output, as fast
// as the client library does it: each fetched record is produced again as it
// is, nothing is copied, looked at or allocated. Filling is not measured.
func clientLoop(ctx context.Context, j job) (*runs.Floor, error) {
	filled, err := fill(ctx, j)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(loopOptions(j)...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	// Asked for now, so that connecting is not measured.
	if _, _, err := cl.ProducerID(ctx); err != nil {
		return nil, err
	}
	var acked atomic.Int64
	var failed atomic.Pointer[error]
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		acked.Add(1)
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(j.LoopMillis)*time.Millisecond)
	defer cancel()
	began, cpu := time.Now(), cpuTime()
	var taken int
	for taken < filled {
		fs := cl.PollFetches(limited)
		if limited.Err() != nil {
			break
		}
		if err := fs.Err(); err != nil {
			return nil, err
		}
		fs.EachRecord(func(r *kgo.Record) {
			r.Topic = j.Output
			cl.Produce(ctx, r, promise)
			taken++
		})
		if e := failed.Load(); e != nil {
			return nil, *e
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, err
	}
	s := sample{records: acked.Load(), wall: time.Since(began), cpu: cpuTime() - cpu}
	if s.records == 0 {
		return nil, errors.New("no record came through")
	}
	return s.floor(), nil
}

// fillChunk is how many records are filled in before the time is looked at.
const fillChunk = 50_000

// fill writes the input in batches as large as the client makes them, and
// returns how many records it wrote: fewer than asked for on a machine that is
// too slow for them.
func fill(ctx context.Context, j job) (int, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(j.Brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(fillChunk),
	)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	value := bytes.Repeat([]byte{'x'}, j.RecordSize)
	failed := kgo.AbortingFirstErrPromise(cl)
	rs := make([]kgo.Record, min(fillChunk, j.Records))
	until := time.Now().Add(time.Duration(j.LoopMillis) * time.Millisecond / 2)
	filled := 0
	for filled < j.Records && (filled == 0 || time.Now().Before(until)) {
		n := min(len(rs), j.Records-filled)
		for i := range rs[:n] {
			rs[i] = kgo.Record{Topic: j.Input, Partition: int32(i % j.Partitions), Value: value}
			cl.Produce(ctx, &rs[i], failed.Promise())
		}
		if err := cl.Flush(ctx); err != nil {
			return 0, err
		}
		filled += n
	}
	return filled, failed.Err()
}
