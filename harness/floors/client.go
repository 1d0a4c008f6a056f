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

// clientLoop fills the input and then moves every record to the output, as fast
// as the client library does it: each fetched record is produced again as it
// is, nothing is copied, looked at or allocated. Filling is not measured.
func clientLoop(ctx context.Context, j job) (*runs.Floor, error) {
	if err := fill(ctx, j); err != nil {
		return nil, err
	}
	from := map[string]map[int32]kgo.Offset{j.Input: {}}
	for p := range j.Partitions {
		from[j.Input][int32(p)] = kgo.NewOffset().AtStart()
	}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(j.Brokers...),
		kgo.ConsumePartitions(from),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(100_000),
	)
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
	for taken < j.Records {
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

// fill writes the input in batches as large as the client makes them.
func fill(ctx context.Context, j job) error {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(j.Brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(50_000),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	value := bytes.Repeat([]byte{'x'}, j.RecordSize)
	failed := kgo.AbortingFirstErrPromise(cl)
	rs := make([]kgo.Record, j.Records)
	for i := range rs {
		rs[i] = kgo.Record{Topic: j.Input, Partition: int32(i % j.Partitions), Value: value}
		cl.Produce(ctx, &rs[i], failed.Promise())
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed.Err()
}
