package control

import (
	"math"
	"strings"
	"testing"
	"time"
)

const second = int64(time.Second)

// slow is a sink at 8,000 records a second from second 2 to second 12 while 20,000
// arrive, in batches of 200 ms: a batch of 4,000 then takes half a second.
func slow(pid bool) Simulation {
	s := Simulation{
		Interval: 200 * time.Millisecond, Queueing: true, Partitions: 4, Limits: Limits{MinPerPartition: 1},
		Until: 20 * second, Arrived: func(at int64) float64 { return 20_000 * float64(at) / 1e9 },
		Fixed: 0.005, PerRecord: 1e-6,
		Sink: []SinkLimit{{2 * second, 8000}, {12 * second, 0}},
	}
	if pid {
		s.PID = &PIDConfig{Proportional: 1, Integral: 0.2, MinRate: 100}
	}
	return s
}

func run(t *testing.T, s Simulation) []SimulatedBatch {
	t.Helper()
	out, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range out {
		if b.Began < b.Due || b.Ended < b.Began || i > 0 && b.Began < out[i-1].Ended {
			t.Fatalf("batch %d: %+v", i, b)
		}
	}
	return out
}

// TestWithoutControlTheDelayGrowsByTheExcess: each batch takes 505 ms and the next
// is due after 200, so each waits 305 ms more than the one before.
func TestWithoutControlTheDelayGrowsByTheExcess(t *testing.T) {
	var slowed []SimulatedBatch
	for _, b := range run(t, slow(false)) {
		if b.Began >= 2*second && b.Ended <= 12*second {
			slowed = append(slowed, b)
		}
	}
	if len(slowed) < 19 {
		t.Fatalf("%d batches while slowed", len(slowed))
	}
	for i, b := range slowed[1:] {
		if more := b.Waited() - slowed[i].Waited(); math.Abs(more-0.305) > 1e-6 || b.Records != 4000 {
			t.Fatalf("batch %d waits %.3f s more than the one before, and has %d records", i+1, more, b.Records)
		}
	}
}

// TestWithControlTheDelayIsBounded: three batches are on their way when the first
// slow one ends; the rate then falls far below what the sink takes, until the queue
// is gone, and comes up to it again.
func TestWithControlTheDelayIsBounded(t *testing.T) {
	s := slow(true)
	out := run(t, s)
	var peak, last, lowest float64 = 0, 0, math.Inf(1)
	var taken int64
	for _, b := range out {
		if b.Began < 2*second || b.Began > 12*second {
			continue
		}
		peak, last = max(peak, b.Waited()), b.Waited()
		if b.Rate > 0 {
			lowest = min(lowest, b.Rate)
		}
		if b.Began > 7*second {
			taken += b.Records
		}
	}
	if peak < 0.6 || peak > 1.2 || last > 0.2 || lowest > 2000 {
		t.Errorf("peak %.2f s, last %.2f s, lowest rate %.0f", peak, last, lowest)
	}
	if rate := float64(taken) / 5; rate < 6000 || rate > 8000 {
		t.Errorf("%.0f records a second in the end", rate)
	}
	// What is not taken waits outside, as much as without control.
	if a, b := s.Backlog(out, 12*second), slow(false); math.Abs(a-b.Backlog(run(t, b), 12*second)) > 0.25*a || a < 100_000 {
		t.Errorf("%.0f records wait", a)
	}
}

// TestTheSkippingClockNeverQueues: the batch behind an overrun begins at once and
// waits for no other; it takes all that has come meanwhile.
func TestTheSkippingClockNeverQueues(t *testing.T) {
	s := slow(false)
	s.Queueing = false
	var records int64
	for i, b := range run(t, s) {
		records = max(records, b.Records)
		if i > 0 && b.Due > b.Began {
			t.Fatalf("batch %d: %+v", i, b)
		}
	}
	if records < 50_000 {
		t.Errorf("the largest batch has %d records", records)
	}
	s.Limits.MaxRecords = 1000
	for _, b := range run(t, s) {
		if b.Records > 1000 {
			t.Fatalf("%d records in a batch", b.Records)
		}
	}
}

func TestEveryRecordIsInOneSimulatedBatch(t *testing.T) {
	for _, pid := range []bool{false, true} {
		s := slow(pid)
		s.Until, s.Sink = 60*second, s.Sink[:2]
		arrived := s.Arrived
		s.Arrived = func(at int64) float64 { return arrived(min(at, 15*second)) }
		var n int64
		out := run(t, s)
		for _, b := range out {
			n += b.Records
		}
		if n != 300_000 || s.Backlog(out, s.Until) != 0 {
			t.Errorf("pid %v: %d records, %.0f left", pid, n, s.Backlog(out, s.Until))
		}
	}
}

func TestWhatCannotBeSimulated(t *testing.T) {
	for want, change := range map[string]func(*Simulation){
		"an interval of 0s":     func(s *Simulation) { s.Interval = 0 },
		"0 partitions":          func(s *Simulation) { s.Partitions = 0 },
		"nobody says":           func(s *Simulation) { s.Arrived = nil },
		"in batches of":         func(s *Simulation) { s.Interval = time.Nanosecond },
		"minimum rate 0: must ": func(s *Simulation) { s.PID = &PIDConfig{} },
	} {
		s := slow(false)
		change(&s)
		if _, err := s.Run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want …%s", err, want)
		}
	}
}
