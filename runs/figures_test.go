package runs

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestFigure(t *testing.T) {
	c := &Cell{
		Phases: []Phase{{Name: "warmup"}, {Name: "steady"}, {Name: "a.b"}},
		Records: &Records{
			Losses:     new(int64(0)),
			Duplicates: new(int64(1204)),
		},
		LatencyMillis: &LatencyMillis{Event: map[string]Latency{
			"steady": {Count: 9, P99: 12.5},
			"a.b":    {Count: 1, P50: 3},
		}},
		Throughput: map[string]Throughput{"steady": {Visible: new(9999.5)}},
		Pressure: &Pressure{
			FollowSeconds: new(Never),
			Blocked:       map[string]Blocked{"source.0": {Share: 0.7, Level: "HIGH"}},
		},
		Crash: &Crash{Reached: true, Hit: 3, Expected: &Expected{Duplicates: new(int64(1204))}},
		Cost:  &Cost{DurableMillis: &Durable{P50: 1, P99: 4}},
	}
	tests := []struct {
		path      string
		value     float64
		ok, known bool
	}{
		{"records.losses", 0, true, true},
		{"records.duplicates", 1204, true, true},
		{"records.late", 0, false, true},
		{"records.lost", 0, false, false},
		{"latencyMillis.event.steady.p99", 12.5, true, true},
		{"latencyMillis.event.steady.count", 9, true, true},
		{"latencyMillis.event.a.b.p50", 3, true, true},
		{"latencyMillis.event.warmup.p99", 0, false, true},
		{"latencyMillis.event.stead.p99", 0, false, false},
		{"latencyMillis.event.steady.p98", 0, false, false},
		{"latencyMillis.event.p99", 0, false, false},
		{"latencyMillis.processing.steady.p99", 0, false, true},
		{"throughput.steady.visible", 9999.5, true, true},
		{"throughput.steady.offered", 0, false, true},
		{"pressure.followSeconds", math.Inf(1), true, true},
		{"pressure.blocked.source.0.share", 0.7, true, true},
		{"pressure.blocked.sink.share", 0, false, true},
		{"pressure.blocked.sink.level", 0, false, false},
		{"growth.discoveredSeconds", 0, false, true},
		{"crash.reached", 1, true, true},
		{"crash.hit", 3, true, true},
		{"crash.expected.duplicates", 1204, true, true},
		{"crash.expected.losses", 0, false, true},
		{"crash.point", 0, false, false},
		{"cost.durableMillis.p99", 4, true, true},
		{"cost.cpuSecondsPerMillion", 0, false, true},
		{"", 0, false, false},
		{"verdict", 0, false, false},
		{"records", 0, false, false},
	}
	for _, test := range tests {
		value, ok, known := c.Figure(test.path)
		if value != test.value || ok != test.ok || known != test.known {
			t.Errorf("Figure(%q) = %v, %v, %v; want %v, %v, %v", test.path, value, ok, known, test.value, test.ok, test.known)
		}
	}
	if _, ok, known := (&Cell{}).Figure("latencyMillis.event.anything.p50"); ok || !known {
		t.Error("a cell that does not name its phases must accept every phase")
	}
}

func TestKnownFigure(t *testing.T) {
	if !KnownFigure("latencyMillis.event.x.p50") || KnownFigure("latencyMillis.event.x.p50", "steady") {
		t.Error("phases given must bind, none given must not")
	}
	if !KnownFigure("pressure.blocked.x.share", "steady") {
		t.Error("a task is not a phase")
	}
	for _, path := range FigurePaths() {
		if !KnownFigure(path) {
			t.Errorf("%s is listed and not known", path)
		}
		if FigureGroup(path) == "" && !strings.HasPrefix(path, "state.") && !slices.Contains([]string{"crash.hit", "crash.reached", "growth.created", "badInput.failed", "badInput.failedBy.position"}, path) {
			t.Errorf("%s belongs to no group", path)
		}
	}
}

func TestSuggestFigure(t *testing.T) {
	for misspelt, want := range map[string]string{
		"records.loses":                  "records.losses",
		"latencyMilis.event.steady.p99":  "latencyMillis.event.steady.p99",
		"latencyMillis.event.steady.p98": "latencyMillis.event.steady.p99",
		"latencyMillis.event.stedy.p99":  "latencyMillis.event.steady.p99",
		"pressure.followSecond":          "pressure.followSeconds",
		"nothing of the sort at all":     "",
	} {
		got := SuggestFigure(misspelt, "warmup", "steady")
		if misspelt == "latencyMillis.event.steady.p98" {
			if got == "" { // p50, p90 and p99 are all one edit away
				t.Errorf("SuggestFigure(%q) is empty", misspelt)
			}
			continue
		}
		if got != want {
			t.Errorf("SuggestFigure(%q) = %q, want %q", misspelt, got, want)
		}
	}
}

func TestFigureGroups(t *testing.T) {
	for path, want := range map[string]string{
		"records.losses":              GroupCounts,
		"growth.discoveredSeconds":    GroupLatency,
		"growth.lostBeforeDiscovery":  GroupCounts,
		"growth.oldPartitionsDip":     GroupThroughput,
		"crash.expected.duplicates":   GroupCounts,
		"crash.caughtUpSeconds":       GroupLatency,
		"crash.reached":               "",
		"start.firstResultSeconds":    GroupLatency,
		"cost.cpuSecondsPerMillion":   GroupCost,
		"pressure.queuedRecordsPeak":  GroupPressure,
		"throughput.x.visible":        GroupThroughput,
		"steps.x.crossedSeconds":      GroupSteps,
		"growth.neverRead":            GroupCounts,
		"latencyMillis.event.x.count": GroupLatency,
		"latencyMillis.event.x.p999":  GroupTail,
		"latencyMillis.event.x.max":   GroupTail,
		"badInput.losses":             GroupCounts,
		"badInput.failed":             "",
	} {
		if got := FigureGroup(path); got != want {
			t.Errorf("FigureGroup(%s) = %q, want %q", path, got, want)
		}
	}
}
