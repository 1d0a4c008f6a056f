package floors

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"streamduel/harness/broker"
	"streamduel/harness/load"

	_ "streamduel/workloads/builtin"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "broker":
			os.Exit(broker.Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
		case "floors":
			os.Exit(Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
		case "load":
			os.Exit(load.Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
		}
	}
	os.Exit(m.Run())
}

func TestMeasure(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Kind: broker.Embedded, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	began := time.Now()
	f, err := Measure(t.Context(), Options{Broker: b, Records: 60_000, Limit: 2 * time.Minute, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("in %v: client loop %.0f records/s %.2f CPU-s/M, exchange %.1f M/s, decode %.1f M/s", time.Since(began),
		*f.ClientLoop.RecordsPerSecond, *f.ClientLoop.CPUSecondsPerMillion, *f.Exchange.RecordsPerSecond/1e6, *f.Decode.RecordsPerSecond/1e6)
	for _, v := range []*float64{f.ClientLoop.RecordsPerSecond, f.ClientLoop.CPUSecondsPerMillion,
		f.Exchange.RecordsPerSecond, f.Exchange.CPUSecondsPerMillion, f.Decode.RecordsPerSecond, f.Decode.CPUSecondsPerMillion} {
		if v == nil || !(*v > 0) {
			t.Errorf("a floor is missing: %+v", f)
		}
	}
	// Once more: the topics of the first time must be gone.
	if _, err := Measure(t.Context(), Options{Broker: b, Records: 1000, Limit: 2 * time.Minute}); err != nil {
		t.Error(err)
	}
}

// TestMeasurePaced checks that the loop passes everything on at a cell's pace,
// with and without transactions. Only what no machine can be too slow for is
// asserted: output committed every interval cannot be visible in the median
// long before half of one has passed.
func TestMeasurePaced(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Kind: broker.Embedded, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	paces := []Pace{{Rate: 2000}, {Rate: 2000, Commit: 500 * time.Millisecond}}
	o := Options{Broker: b, Limit: 2 * time.Minute, Quick: true, Log: t.Output(), drain: time.Minute}
	began := time.Now()
	all, skipped, err := MeasurePaced(t.Context(), o, paces)
	if err != nil || len(skipped) > 0 || len(all) != len(paces) {
		t.Fatalf("%d floors, %v, %q", len(all), err, skipped)
	}
	t.Logf("in %v", time.Since(began))
	for i, f := range all {
		if f.Rate != 2000 || (f.CommitSeconds != nil) != (paces[i].Commit > 0) || f.CPUSecondsPerMillion == nil || *f.CPUSecondsPerMillion <= 0 {
			t.Errorf("%v: %+v", paces[i], f)
		}
		if l := f.LatencyMillis; l == nil {
			t.Logf("%v: %.1f CPU-s/M, the generator was behind", paces[i], *f.CPUSecondsPerMillion)
		} else {
			t.Logf("%v: %.1f CPU-s/M, p50 %.2f ms, p99 %.2f ms of %d", paces[i], *f.CPUSecondsPerMillion, l.P50, l.P99, l.Count)
			if l.Count != 1000 {
				t.Errorf("%v: %d records in a window of half a second at 2000/s", paces[i], l.Count)
			}
		}
	}
	if l := all[1].LatencyMillis; l != nil && l.P50 < 200 {
		t.Errorf("committed every 500 ms, the median is %.1f ms", l.P50)
	}
}

// TestPacedFloorsSkip: what cannot be measured is named and costs no time.
func TestPacedFloorsSkip(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Kind: broker.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	all, skipped, err := MeasurePaced(t.Context(), Options{Broker: b, Limit: time.Second}, []Pace{{Rate: 1000}, {Rate: 10, Commit: time.Second}})
	if err != nil || len(all) != 0 || len(skipped) != 2 || !strings.HasPrefix(skipped[1], "10 records/s, committed every 1s: ") {
		t.Errorf("%v, %q, %v", all, skipped, err)
	}
}

// TestWarmUpGivesUp: a broker that refuses was asked again and again for a minute.
func TestWarmUpGivesUp(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Kind: broker.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if d, err := WarmUp(t.Context(), Options{Broker: b, Quick: true}, Pace{Rate: 1000}); err != nil || d >= warmLimit {
		t.Errorf("%v, %v", d, err)
	}
}

func TestMeasureWithoutBroker(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Kind: broker.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := Measure(t.Context(), Options{Broker: b, Limit: time.Second}); err == nil {
		t.Error("floors without a broker")
	}
}

func TestLoopsCountRight(t *testing.T) {
	for _, size := range []int{1, 8, 100, 40_000} {
		if s := exchangeLoop(10_000, size); s.records != 10_000 || s.wall <= 0 {
			t.Errorf("%d bytes: %+v", size, s)
		}
	}
	if s := decodeLoop(4096); s.records != 4096 || s.wall <= 0 {
		t.Errorf("%+v", s)
	}
}

func TestWrongJob(t *testing.T) {
	for _, line := range []string{"", "{}}\n", "{\"x\":1}\n"} {
		var errs bytes.Buffer
		if code := Main(t.Context(), strings.NewReader(line), &bytes.Buffer{}, &errs); code != 2 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: exit code %d, message %q", line, code, errs.String())
		}
	}
}
