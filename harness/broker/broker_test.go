package broker

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The test binary is the broker process when it is called like the command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "broker" {
		os.Exit(Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func start(t testing.TB, o Options) *Broker {
	t.Helper()
	b, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func produce(t testing.TB, b *Broker, topic string, partition int32, n, size int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(20_000))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	value := bytes.Repeat([]byte("x"), size)
	failed := kgo.AbortingFirstErrPromise(cl)
	for range n {
		cl.Produce(t.Context(), &kgo.Record{Topic: b.Topic(topic), Partition: partition, Value: value}, failed.Promise())
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := failed.Err(); err != nil {
		t.Fatal(err)
	}
}

// exercise does with a broker all that a run does.
func exercise(t *testing.T, b *Broker) {
	t.Helper()
	ctx := t.Context()
	if b.Version() == "" || len(b.Brokers()) == 0 {
		t.Errorf("version %q, brokers %v", b.Version(), b.Brokers())
	}
	if err := b.CreateTopic(ctx, "in", 2, nil); err != nil {
		t.Fatal(err)
	}
	produce(t, b, "in", 1, 1000, 100)
	if err := b.Grow(ctx, "in", 3); err != nil {
		t.Fatal(err)
	}
	if err := b.await(ctx, b.Topic("in"), 3); err != nil {
		t.Fatal(err)
	}
	produce(t, b, "in", 2, 10, 100)
	tr := NewTrimmer(1)
	tr.Add(b.Topic("in"), "job")
	tr.Hold(b.Topic("in"), 1, "job", 600)
	if err := b.Trim(ctx, tr); err != nil {
		t.Fatal(err)
	}
	starts, err := b.Admin().ListStartOffsets(ctx, b.Topic("in"))
	if err != nil {
		t.Fatal(err)
	}
	ends, err := b.Admin().ListEndOffsets(ctx, b.Topic("in"))
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range [][2]int64{{0, 0}, {600, 1000}, {0, 10}} {
		s, _ := starts.Lookup(b.Topic("in"), int32(p))
		e, _ := ends.Lookup(b.Topic("in"), int32(p))
		if s.Offset != want[0] || e.Offset != want[1] {
			t.Errorf("partition %d holds %d to %d, want %v", p, s.Offset, e.Offset, want)
		}
	}
	if err := b.CreateTopic(ctx, "in", 2, nil); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("the same topic twice: %v", err)
	}
	if err := b.DeleteTopics(ctx, "in", "never-there"); err != nil {
		t.Error(err)
	}
}

func TestEmbedded(t *testing.T) {
	b := start(t, Options{Kind: Embedded, Log: t.Output()})
	exercise(t, b)
	if u, ok := b.Usage(); !ok || u.CPU == 0 || u.RSS == 0 {
		t.Errorf("usage %+v, %v", u, ok)
	}
	if s, ok, err := b.Stats(t.Context()); !ok || err != nil || s.HeapBytes == 0 {
		t.Errorf("stats %+v, %v, %v", s, ok, err)
	}
}

func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = Start(t.Context(), Options{Kind: Embedded, Port: port})
	want := fmt.Sprintf("broker: port %d is in use; name another one or leave it out to take a free one", port)
	if err == nil || err.Error() != want {
		t.Errorf("a busy port gives %v, want %s", err, want)
	}
	var errs bytes.Buffer
	code := Main(t.Context(), strings.NewReader(fmt.Sprintf("{\"port\":%d}\n", port)), &bytes.Buffer{}, &errs)
	if code != 4 || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d, message %q", code, errs.String())
	}
	if code := Main(t.Context(), strings.NewReader("{\"prot\":1}\n"), &bytes.Buffer{}, &errs); code != 2 {
		t.Errorf("a wrong job gives exit code %d", code)
	}
}

func TestUnreachableBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().String() // accepts and says nothing
	defer l.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := free.Addr().String()
	free.Close()
	for _, address := range []string{silent, refuses} {
		began := time.Now()
		_, err := Start(t.Context(), Options{Kind: External, Addresses: []string{address}})
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
		if d := time.Since(began); d > reachable+time.Second {
			t.Errorf("%s: known after %v", address, d)
		}
	}
}

func TestExternalLeavesNothingBehind(t *testing.T) {
	host := start(t, Options{Kind: Embedded, Log: t.Output()})
	b, err := Start(t.Context(), Options{Kind: External, Addresses: host.Brokers(), Prefix: "sd-run7-"})
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, b)
	if err := b.CreateTopic(t.Context(), "out", 1, nil); err != nil {
		t.Fatal(err)
	}
	names := func() []string { // asked anew: a client may remember metadata
		other := start(t, Options{Kind: External, Addresses: host.Brokers()})
		ts, err := other.Admin().ListTopics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ts.Names()
	}
	if got := names(); !slices.Equal(got, []string{"sd-run7-out"}) {
		t.Errorf("topics %v", got)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if got := names(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestParseKind(t *testing.T) {
	for flag, want := range map[string]Kind{
		"embedded": Embedded, "local": Local, "container": Container,
		"10.0.0.1:9092": External, "a:1,b:2": External,
	} {
		if k, as, err := ParseKind(flag); k != want || err != nil || (k == External) != (len(as) > 0) {
			t.Errorf("%s: %v %v %v", flag, k, as, err)
		}
	}
	for _, flag := range []string{"", "embed", "host", "host:", "a:1,b"} {
		if _, _, err := ParseKind(flag); err == nil {
			t.Errorf("%q was accepted", flag)
		}
	}
}

func TestTrimmer(t *testing.T) {
	tr := NewTrimmer(100)
	tr.Add("out", "committed", "uncommitted")
	due := func(want map[int32]int64) {
		t.Helper()
		if got := tr.Due()["out"]; !maps.Equal(got, want) {
			t.Errorf("free below %v, want %v", got, want)
		}
	}
	due(nil)
	tr.Hold("out", 0, "uncommitted", 500)
	due(nil) // the other one has said nothing
	tr.Hold("out", 0, "committed", 99)
	due(nil) // too little to be worth it
	tr.Hold("out", 0, "committed", 300)
	tr.Hold("out", 1, "committed", 1000)
	due(map[int32]int64{0: 300})
	due(nil) // only once
	tr.Hold("out", 0, "committed", 200)
	tr.Hold("elsewhere", 0, "committed", 200)
	tr.Hold("out", 0, "stranger", 900)
	due(nil) // nobody may take back, and strangers do not count
	tr.Hold("out", 0, "committed", 900)
	tr.Hold("out", 1, "uncommitted", 800)
	due(map[int32]int64{0: 500, 1: 800})
	tr.Remove("out")
	tr.Hold("out", 0, "uncommitted", 9000)
	due(nil)
}

// TestMemoryIsBounded runs what ten minutes at 50,000 records/s would need, but
// as fast as it goes and a twentieth as long: 150 MB of records, of which the
// holders leave the last 20 MB standing. Untrimmed the heap would hold 200 to
// 300 MB.
func TestMemoryIsBounded(t *testing.T) {
	b := start(t, Options{Kind: Embedded, Log: t.Output()})
	ctx := t.Context()
	if err := b.CreateTopic(ctx, "in", 4, nil); err != nil {
		t.Fatal(err)
	}
	tr := NewTrimmer(10_000)
	tr.Add("in", "job")
	const rounds, perRound = 15, 25_000 // per partition: 10 MB a round
	var peak uint64
	for r := range rounds {
		for p := range int32(4) {
			produce(t, b, "in", p, perRound, 100)
			tr.Hold("in", p, "job", int64(r-2)*perRound)
		}
		if err := b.Trim(ctx, tr); err != nil {
			t.Fatal(err)
		}
		s, _, err := b.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		peak = max(peak, s.HeapBytes)
	}
	u, _ := b.Usage()
	t.Logf("heap at most %d MiB, resident at most %d MiB, for %d MB of records", peak>>20, u.RSSPeak>>20, rounds*4*perRound*100/1_000_000)
	if peak > 128<<20 {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
}
