package audit

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"streamduel/runs"
)

// sound is a cell with nothing to complain about.
func sound() Facts {
	return Facts{
		Generator: &Generator{Slip999: 3 * time.Millisecond, SlipMax: 8 * time.Millisecond},
		Counts:    &Counts{Sent: 100, Planned: 100, Stored: 100},
		Samples:   &Samples{Recorded: 100, Due: 100},
		Crash:     &CrashPoint{Point: "M3", Hit: 2, Reached: true},
		Clock:     &Clock{Wall: 18*time.Second + 3*time.Millisecond, Mono: 18 * time.Second},
		Machine:   &Machine{Wall: 18 * time.Second, Cores: 2, Busy: 20, Stolen: 0.2, Harness: 8, Engine: 10},
		Ends:      &Ends{},
		Observer:  &Observer{HandleMax: 4 * time.Millisecond},
		Drained:   &Drained{Seen: true},
		Memory:    &Memory{Broker: 300 << 20, BrokerLimit: 1 << 30, Observer: 200 << 20, ObserverLimit: 1 << 30},
	}
}

func TestSoundCell(t *testing.T) {
	all := Check(sound())
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
		if !a.OK || a.Detail == "" || a.Remedy != "" || a.Voids != nil {
			t.Errorf("%+v", a)
		}
	}
	want := []string{NameGenerator, NameOffsets, NameCounts, NameSamples, NameCrashPoint, NameClock,
		NameSaturation, NameStolen, NameEnds, NameObserver, NameDrained, NameMemory}
	if !slices.Equal(names, want) {
		t.Errorf("checks %v", names)
	}
}

func TestEachFailure(t *testing.T) {
	counts, latency, cost, pressure := runs.GroupCounts, runs.GroupLatency, runs.GroupCost, runs.GroupPressure
	for _, c := range []struct {
		name   string
		change func(*Facts)
		audit  string
		detail string // part of it
		voids  []string
	}{
		{"slow generator", func(f *Facts) { f.Generator.Slip99, f.Generator.Slip999 = 6*time.Millisecond, 9*time.Millisecond }, NameGenerator, "99 % of the records were handed over within 6 ms", []string{latency}},
		{"generator slow for a few", func(f *Facts) { f.Generator.Slip999 = 9 * time.Millisecond }, NameGenerator, "99.9 % of the records were handed over within 9 ms", []string{runs.GroupTail}},
		{"load died", func(f *Facts) { f.Generator.Died = "signal: killed" }, NameGenerator, "signal: killed",
			[]string{counts, latency, runs.GroupThroughput, pressure, runs.GroupSteps}},
		{"foreign record", func(f *Facts) { f.Generator.Mismatched = 4 }, NameOffsets, "4 records", []string{counts, latency}},
		{"record not acknowledged", func(f *Facts) { f.Generator.Failed = 1 }, NameOffsets, "1 were never", []string{counts, latency}},
		{"fewer than planned", func(f *Facts) { f.Counts.Sent, f.Counts.Stored = 99, 99 }, NameCounts, "99 records sent, but the schedule holds 100", []string{counts}},
		{"load is silent", func(f *Facts) { f.Counts.Sent = -1 }, NameCounts, "did not say", []string{counts}},
		{"broker has more", func(f *Facts) { f.Counts.Stored = 101 }, NameCounts, "holds 101", []string{counts}},
		{"sums", func(f *Facts) { f.Counts.Balance = errors.New("1 + 1 = 3") }, NameCounts, "1 + 1 = 3", []string{counts}},
		{"clipped", func(f *Facts) { f.Samples.Negative = 2 }, NameSamples, "2 below zero", []string{latency}},
		{"sample missing", func(f *Facts) { f.Samples.Recorded = 98 }, NameSamples, "98 latencies recorded for 100", []string{latency}},
		{"point not reached", func(f *Facts) { f.Crash.Reached, f.Crash.Waited = false, time.Minute }, NameCrashPoint, "M3 was not reached 2 times within 60 s", []string{counts, latency}},
		{"clock stepped back", func(f *Facts) { f.Clock.Wall -= time.Second }, NameClock, "-997 ms", []string{latency, pressure, runs.GroupSteps}},
		{"harness uses it up", func(f *Facts) { f.Machine.Busy, f.Machine.Harness = 35.5, 25 }, NameSaturation, "harness and broker 25.0 s", []string{cost, latency, runs.GroupSteps}},
		{"neighbour uses it up", func(f *Facts) { f.Machine.Busy, f.Machine.Harness = 35.5, 4 }, NameSaturation, "other processes 21.5 s", []string{cost, latency, runs.GroupSteps}},
		{"stolen", func(f *Facts) { f.Machine.Stolen = 3.6 }, NameStolen, "10.0 %", []string{cost, latency, runs.GroupSteps}},
		{"transaction open", func(f *Facts) { f.Ends.Stuck = []string{"out/1: 40 of 60"} }, NameEnds, "out/1: 40 of 60", []string{counts}},
		{"transaction ongoing", func(f *Facts) { f.Ends.Ongoing = []string{"sink-0"} }, NameEnds, "sink-0", []string{counts}},
		{"broker gone", func(f *Facts) { f.Ends.Unknown = "dial: refused" }, NameEnds, "refused", []string{counts}},
		{"observer broke off", func(f *Facts) { f.Observer.Err = errors.New("offset out of range") }, NameObserver, "out of range",
			[]string{counts, latency, runs.GroupThroughput, pressure, runs.GroupSteps}},
		{"unread", func(f *Facts) { f.Observer.Unread = 12 }, NameObserver, "12 records", []string{counts, latency}},
		{"observer slow", func(f *Facts) { f.Observer.HandleMax = 70 * time.Millisecond }, NameObserver, "70 ms", []string{latency}},
		{"not drained", func(f *Facts) { f.Drained = &Drained{Waited: time.Minute, Missing: []int32{3}} }, NameDrained, "[3]", []string{counts}},
		{"memory", func(f *Facts) { f.Memory.Broker = 2 << 30 }, NameMemory, "broker 2048 MiB", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := sound()
			c.change(&f)
			failed := 0
			for _, a := range Check(f) {
				if a.OK {
					continue
				}
				failed++
				slices.Sort(a.Voids)
				slices.Sort(c.voids)
				if a.Name != c.audit || !strings.Contains(a.Detail, c.detail) || a.Remedy == "" || !slices.Equal(a.Voids, c.voids) {
					t.Errorf("%+v\nwant %s voiding %v with %q", a, c.audit, c.voids, c.detail)
				}
				for _, v := range a.Voids {
					if !slices.Contains(runs.Groups(), v) {
						t.Errorf("no group %q", v)
					}
				}
			}
			if failed != 1 {
				t.Errorf("%d audits failed", failed)
			}
		})
	}
}

// TestMachineNeverVoidsCounts: exact counts stay exact on the worst machine.
func TestMachineNeverVoidsCounts(t *testing.T) {
	m := &Machine{Wall: time.Second, Cores: 2, Busy: 2, Stolen: 1, Harness: 2}
	for _, a := range []runs.Audit{m.saturation(), m.stolen()} {
		if a.OK || slices.Contains(a.Voids, runs.GroupCounts) || slices.Contains(a.Voids, runs.GroupPressure) {
			t.Errorf("%+v", a)
		}
	}
}

func TestBusyEngineIsAResult(t *testing.T) {
	m := &Machine{Wall: 10 * time.Second, Cores: 2, Busy: 19.8, Harness: 3, Engine: 16.5}
	if a := m.saturation(); !a.OK {
		t.Errorf("%+v", a)
	}
	if a := (&Machine{}).saturation(); !a.OK {
		t.Errorf("nothing measured: %+v", a)
	}
}

// TestSlipAgainstLatency: a slip inside a latency a hundred times as long does
// not change what the latency says.
func TestSlipAgainstLatency(t *testing.T) {
	g := &Generator{Slip999: 20 * time.Millisecond, P99: time.Second}
	if a := g.schedule(); len(a) != 1 || !a[0].OK {
		t.Errorf("%+v", a)
	}
	g.P99 = 100 * time.Millisecond
	if a := g.schedule(); len(a) != 1 || a[0].OK {
		t.Errorf("%+v", a)
	}
}

// TestAStallWithinAPhase: 200 ms of a generator are a moment of a cell, but a
// twentieth of a phase, whose p99 then is the generator's; and the latencies of a
// recovery, thousands of times as long, say nothing for those of the steady phase.
func TestAStallWithinAPhase(t *testing.T) {
	const ms = time.Millisecond
	g := &Generator{Slip99: 4 * ms, Slip999: 190 * ms, SlipMax: 200 * ms, P99: 5 * time.Second, Phases: []PhaseSlip{
		{"warmup", 5 * ms, 5 * ms, 30 * ms}, {"steady", 190 * ms, 200 * ms, 200 * ms}, {"late", 5 * ms, 9 * ms, 30 * ms}, {"recovery", 190 * ms, 190 * ms, 5 * time.Second},
	}}
	all := g.schedule()
	if len(all) != 2 || !slices.Equal(all[0].Phases, []string{"steady"}) || !slices.Equal(all[0].Voids, []string{runs.GroupLatency}) ||
		!slices.Equal(all[1].Phases, []string{"late"}) || !slices.Equal(all[1].Voids, []string{runs.GroupTail}) {
		t.Errorf("%+v", all)
	}
	g.Phases = g.Phases[:1]
	if all := g.schedule(); len(all) != 1 || !all[0].OK {
		t.Errorf("%+v", all)
	}
}

// TestTheObserverWasSlowInAPhase: 150 ms are nothing in a recovery that lasts for
// seconds, whose p99 is most of the cell's, and much in a steady phase.
func TestTheObserverWasSlowInAPhase(t *testing.T) {
	const ms = time.Millisecond
	o := &Observer{HandleMax: 150 * ms, P99: 3 * time.Second, Phases: []PhaseHandling{{"steady", 150 * ms, 30 * ms}, {"recovery", 150 * ms, 3 * time.Second}}}
	if a := o.check(); a.OK || !slices.Equal(a.Phases, []string{"steady"}) || !slices.Equal(a.Voids, []string{runs.GroupLatency}) {
		t.Errorf("%+v", a)
	}
	o.Phases = o.Phases[1:]
	if a := o.check(); !a.OK {
		t.Errorf("%+v", a)
	}
}

func TestNothingCollected(t *testing.T) {
	if all := Check(Facts{}); len(all) != 0 {
		t.Errorf("%v", all)
	}
}

// TestRound: durations are written as reports write theirs, without the noise
// of binary fractions.
func TestRound(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 8540123: "8.54 ms", 56312345: "56.3 ms", -997 * time.Millisecond: "-997 ms",
		time.Minute: "60 s", 1234567890: "1.23 s",
	} {
		if got := round(d); got != want {
			t.Errorf("%d ns: %q, want %q", int64(d), got, want)
		}
	}
}
