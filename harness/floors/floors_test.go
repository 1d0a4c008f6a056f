package floors

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"streamduel/harness/broker"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "broker":
			os.Exit(broker.Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
		case "floors":
			os.Exit(Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
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
