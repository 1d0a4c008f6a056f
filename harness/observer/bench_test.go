package observer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/harness/ledger"
	"streamduel/harness/plan"
	"streamduel/workloads"
)

// brokerMode makes the test binary a broker with rows in it: "count rate",
// where rate 0 writes them before the address is printed.
const brokerMode = "STREAMDUEL_TEST_OBSERVER_BROKER"

// serve is the broker process: it lives until its standard input ends.
func serve(mode string) error {
	var n, rate int64
	if _, err := fmt.Sscan(mode, &n, &rate); err != nil {
		return err
	}
	const partitions, keys = 4, 1000
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "out"))
	if err != nil {
		return err
	}
	defer cluster.Close()
	c, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.MaxBufferedRecords(100_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer c.Close()
	write := func() error {
		start := time.Now()
		for i := range n {
			if rate > 0 && i%(rate/500+1) == 0 { // pacing in steps of about 2 ms
				if d := time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))); d > 0 {
					<-time.After(d)
				}
			}
			value := appendRow(make([]byte, 0, 40), int32(i%partitions), i/partitions, i/keys+1)
			value = append(value, "                    "...) // like keyed-count's rows
			c.Produce(context.Background(), &kgo.Record{Topic: "out", Partition: int32(i % keys % partitions),
				Key: fmt.Appendf(nil, "key-%06d", i%keys), Value: value}, nil)
		}
		return c.Flush(context.Background())
	}
	if rate == 0 {
		if err := write(); err != nil {
			return err
		}
	}
	fmt.Println(strings.Join(cluster.ListenAddrs(), ","))
	if rate > 0 {
		if err := write(); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// BenchmarkObserver states the observer's cost, ledgers included, in its own
// account: the broker and the writer of the rows are another process. One
// operation is one record, seen at both isolation levels. "bulk" reads what
// lies there, which is what the bound of 0.35 CPU-s per million and level is
// about; at 10,000 records a second the cost is that of the requests.
//
//	go test ./harness/observer -run '^$' -bench Observer/bulk -benchtime 2000000x
//	go test ./harness/observer -run '^$' -bench Observer/paced -benchtime 50000x
func BenchmarkObserver(b *testing.B) {
	b.Run("bulk", func(b *testing.B) { observe(b, 0) })
	b.Run("paced", func(b *testing.B) { observe(b, 10_000) })
}

func observe(b *testing.B, rate int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", brokerMode, b.N, rate))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	}()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	const partitions = 4
	p, err := plan.New(plan.Constant(1e8), plan.Partitions("in", partitions))
	if err != nil {
		b.Fatal(err)
	}
	p.Begin(clock.Mono()-int64(time.Minute), 0)
	var ledgers [2]*ledger.Ledger
	for i := range ledgers {
		ledgers[i], err = ledger.New(ledger.Config{Plan: p, Latency: i == 0,
			Accounting: workloads.Accounting{Kind: workloads.Running, Parse: func(r *connectors.Record, late bool, row *workloads.Row) error {
				short := *r
				short.Value = r.Value[:20]
				return parseRow(&short, late, row)
			}}})
		if err != nil {
			b.Fatal(err)
		}
		ledgers[i].Phase("steady", 0)
	}
	runtime.GC()
	before, start := cpu(b), time.Now()
	b.ReportAllocs()
	b.ResetTimer()
	o, err := Start(b.Context(), Config{Brokers: strings.Split(strings.TrimSpace(address), ","), Output: "out",
		Committed: ledgers[0], Uncommitted: ledgers[1]})
	if err != nil {
		b.Fatal(err)
	}
	// About as seldom as the parent looks while a cell runs: asking a ledger
	// takes its lock, and a look each millisecond cost what is not the observer's.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if ledgers[0].Counts().Rows >= int64(b.N) && ledgers[1].Counts().Rows >= int64(b.N) {
			break
		}
		if err := o.Err(); err != nil {
			b.Fatal(err)
		}
	}
	used := cpu(b) - before
	b.StopTimer()
	b.ReportMetric(used/float64(b.N)*1e6/2, "CPU-s/M/level")
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "records/s")
	var polls int64
	for _, s := range o.Stats() {
		polls += s.Polls
	}
	b.ReportMetric(float64(polls)/time.Since(start).Seconds()/2, "polls/s/level")
	if err := o.Close(); err != nil {
		b.Fatal(err)
	}
	sent := make([]int64, partitions)
	for g := range sent {
		sent[g] = p.Sequences(int32(g), int64(b.N))
	}
	if r := ledgers[0].Finish(sent); r.Visible != int64(b.N) || r.Duplicates+r.Losses+r.StateOvercount != 0 {
		b.Fatalf("%s visible of %d", fmt.Sprint(r.Visible), b.N)
	}
}

// cpu is the processor time of this process in seconds.
func cpu(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
