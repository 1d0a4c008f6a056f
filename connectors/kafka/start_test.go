package kafka

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// TestStartPositions: by time, and for single partitions whatever the others do.
func TestStartPositions(t *testing.T) {
	f := setup(t)
	topic := f.topic(3)
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	defer cl.Close()
	at := int64(1_700_000_000_000)
	for i := range int64(10) {
		for p := range int32(2) { // partition 2 stays empty
			r := &kgo.Record{Topic: topic, Partition: p, Value: []byte("v")}
			r.Timestamp = time.UnixMilli(at + i*1000 + int64(p)*500)
			must(t, cl.ProduceSync(f.ctx, r).FirstErr())
		}
	}
	all := []connectors.SplitID{splitID(topic, 0), splitID(topic, 1), splitID(topic, 2)}
	start := func(c SourceConfig) map[connectors.SplitID]connectors.Position {
		t.Helper()
		c.Topics = []string{topic}
		s, err := f.enumerator(f.source(c)).Start(f.ctx, all, true)
		must(t, err)
		return s
	}
	s := start(SourceConfig{Start: connectors.StartTimestamp, StartMillis: at + 3001})
	if s[all[0]] != 4 || s[all[1]] != 3 || s[all[2]] != 0 {
		t.Errorf("by time: %v", s)
	}
	s = start(SourceConfig{Start: connectors.StartTimestamp, StartMillis: at + 99_000})
	if s[all[0]] != 10 || s[all[1]] != 10 {
		t.Errorf("behind the last: %v", s)
	}
	s = start(SourceConfig{Start: connectors.StartLatest, StartPositions: map[connectors.SplitID]connectors.Position{all[1]: 7}})
	if s[all[0]] != 10 || s[all[1]] != 7 {
		t.Errorf("by partition: %v", s)
	}
	_, err = f.enumerator(f.source(SourceConfig{Topics: []string{topic}, StartPositions: map[connectors.SplitID]connectors.Position{all[0]: 11}})).Start(f.ctx, all, true)
	if err == nil || !strings.Contains(err.Error(), "position 11: the partition has 0 to 10") {
		t.Errorf("outside: %v", err)
	}
	_, err = f.enumerator(f.source(SourceConfig{Topics: []string{topic}, StartPositions: map[connectors.SplitID]connectors.Position{splitID(topic, 3): 0}})).Start(f.ctx, all, true)
	if err == nil || !strings.Contains(err.Error(), "/3: there is no such partition") {
		t.Errorf("unknown: %v", err)
	}
	b := []string{"b"}
	for name, c := range map[string]SourceConfig{
		"startMillis -1":  {Brokers: b, Topics: b, Start: connectors.StartTimestamp, StartMillis: -1},
		"startMillis 0":   {Brokers: b, Topics: b, Start: connectors.StartTimestamp},
		"startMillis 5":   {Brokers: b, Topics: b, StartMillis: 5},
		"position -3":     {Brokers: b, Topics: b, StartPositions: map[connectors.SplitID]connectors.Position{"t/0": -3}},
		"startPositions:": {Brokers: b, Topics: b, StartPositions: map[connectors.SplitID]connectors.Position{"t": 3}},
	} {
		if _, err := NewSource(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestABoundedReadEnds where its assignment says, with records behind it.
func TestABoundedReadEnds(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 9)
	src := f.source(SourceConfig{Topics: []string{topic}, Bounded: true})
	if !src.Describe().Bounded {
		t.Error("it does not say that it ends")
	}
	r, err := src.Reader(f.ctx, connectors.Env{Job: "j", Node: "n"})
	must(t, err)
	defer r.Close()
	must(t, r.Assign(connectors.Assignment{Split: connectors.Split{ID: splitID(topic, 0)}, Until: 5}))
	n := 0
	for {
		b, err := r.Poll(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		n += len(b.Records)
	}
	if n != 5 {
		t.Errorf("%d records of 5", n)
	}
}

// TestATopicThatIsNotThere is told once, because nothing is read of it.
func TestATopicThatIsNotThere(t *testing.T) {
	f := setup(t)
	var log strings.Builder
	env := f.env("job")
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	topic := f.topic(1)
	e, err := f.source(SourceConfig{Topics: []string{topic, "nowhere"}}).Enumerator(f.ctx, env)
	must(t, err)
	defer e.Close()
	for range 2 {
		if found, err := e.Discover(f.ctx); err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
	}
	if strings.Count(log.String(), "topic=nowhere") != 1 || strings.Contains(log.String(), "topic="+topic) {
		t.Errorf("told: %s", log.String())
	}
}
