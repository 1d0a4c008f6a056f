package worker

import (
	"io"
	"math"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/metrics"
)

// sampled is a worker's metrics behind two batches.
func sampled() *exporter {
	m := newExporter(Job{Name: "job", Engine: "microbatch", Workload: "keyed-count", Guarantee: "at-least-once"})
	m.observe(engines.Started{Attempt: 2})
	limit, wm := 1500.0, int64(12_500)
	m.observe(engines.Sampled{Gauges: engines.Gauges{Consumed: 300, Written: 200, Lag: 7, RateLimit: &limit, WatermarkMs: &wm, Tasks: []engines.Task{{Name: `a "quoted" \ task`, Busy: 0.25, Idle: 0.75}}}})
	m.observe(engines.RateLimited{RecordsPerSecond: limit})
	m.observe(engines.Discovered{Split: "in/0"})
	m.observe(engines.DataLost{Split: "in/0", From: 2, Until: 7})
	m.observe(engines.ExecutorLost{Executor: 1})
	for n := range int64(2) {
		m.observe(engines.BatchCompleted{
			Batch: n, Records: 100, SchedulingDelay: 5, ProcessingDelay: 20, TotalDelay: 25, Lag: 7, StateUsage: engines.StateUsage{StateKeys: 3}, StateBytes: 128,
			InputRowsPerSecond: 1000, ProcessedRowsPerSecond: 5000,
			Durations:      map[string]float64{"latestOffset": 1, "walCommit": 2, "queryPlanning": 0.5, "addBatch": 10, "stateCommit": 3, "commitOffsets": 4, "triggerExecution": 20},
			End:            map[connectors.SplitID]connectors.Position{"in/0": connectors.Position(50 * (n + 1))},
			Stages:         []engines.StageMetrics{{Name: "in", Tasks: 2, Failed: 1, P50: 4, Max: 9, Spilled: 500, Shuffled: 90}},
			StateOperators: []engines.StateOperatorProgress{{Operator: "count", RowsTotal: 3, RowsUpdated: 2, RowsRemoved: 1, RowsLate: 4, CommitTime: 3, MemoryBytes: 512, Instances: 2}},
			Sinks:          []engines.SinkProgress{{Sink: "out", Description: "kafka", Rows: 60}},
			Sources:        []engines.SourceProgress{{Source: "in", Records: 80, Lag: 5}, {Source: "more", Records: 20, Lag: 2}},
		})
	}
	m.counted = []metrics.Value{
		{Operator: "rule", Name: "cents", Subtask: 1, Kind: metrics.KindHistogram, Count: 7, Quantiles: []int64{1, 2, 3, 4, 5, 6}},
		{Operator: "open", Name: "dropped", Kind: metrics.KindCounter, Value: 12},
		{Operator: "rule", Name: "dropped", Subtask: 1, Kind: metrics.KindCounter, Value: 13},
		{Operator: "rule", Name: "level", Kind: metrics.KindGauge, Value: metrics.Number(math.NaN())},
		{Operator: "rule", Name: "seen", Kind: metrics.KindMeter, Value: 2.5, Count: 150},
	}
	return m
}

// TestMetricsAreServed: what is served is Prometheus' text format and says what
// the events have said.
func TestMetricsAreServed(t *testing.T) {
	url, stop, err := sampled().serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="([^"\\\n]|\\.)*")*\})? ([-+0-9.e]+|NaN))$`)
	for l := range strings.Lines(string(body)) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("not a line of the format: %q", l)
		}
	}
	for _, want := range []string{
		`streamduel_job_info{job="job",engine="microbatch",workload="keyed-count",guarantee="at-least-once"} 1`,
		`streamduel_attempt 2`, `streamduel_records_consumed_total 300`, `streamduel_source_lag_records 7`,
		`streamduel_rate_limit_records_per_second 1500`, `streamduel_watermark_seconds 12.5`,
		`streamduel_task_time_ratio{task="a \"quoted\" \\ task",state="busy"} 0.25`,
		`streamduel_microbatch_batches_total 2`, `streamduel_microbatch_batch_records_total 200`, `streamduel_microbatch_batch_id 1`,
		`streamduel_microbatch_phase_seconds_total{phase="addBatch"} 0.02`, `streamduel_microbatch_phase_seconds{phase="walCommit"} 0.002`,
		`streamduel_microbatch_total_delay_seconds 0.025`, `streamduel_microbatch_state_rows 3`, `streamduel_microbatch_end_offset{split="in/0"} 100`,
		`streamduel_microbatch_stage_task_seconds{stage="in",quantile="1"} 0.009`, `streamduel_microbatch_stage_failed_attempts_total{stage="in"} 2`,
		`streamduel_microbatch_rate_limit_changes_total 1`, `streamduel_microbatch_stage_spilled_bytes_total{stage="in"} 1000`,
		`streamduel_microbatch_stage_shuffled_records_total{stage="in"} 180`, `streamduel_microbatch_sink_rows_total{sink="out"} 120`,
		`streamduel_microbatch_state_operator_rows{operator="count"} 3`, `streamduel_microbatch_state_operator_updated_rows_total{operator="count"} 4`,
		`streamduel_microbatch_state_operator_removed_rows_total{operator="count"} 2`, `streamduel_microbatch_state_operator_late_rows_total{operator="count"} 8`,
		`streamduel_microbatch_state_operator_commit_seconds{operator="count"} 0.003`, `streamduel_microbatch_state_operator_memory_bytes{operator="count"} 512`,
		`streamduel_microbatch_executors_lost_total 1`, `streamduel_splits_discovered_total 1`, `streamduel_lost_records_total 5`,
		`streamduel_microbatch_source_records{source="more"} 20`, `streamduel_microbatch_source_lag_records{source="in"} 5`,
		`streamduel_user_cents{job="job",operator="rule",subtask="1",quantile="0.999"} 6`, `streamduel_user_cents_count{job="job",operator="rule",subtask="1"} 7`,
		"# TYPE streamduel_user_cents summary", "# TYPE streamduel_user_dropped gauge",
		`streamduel_user_dropped{job="job",operator="open",subtask="0"} 12`, `streamduel_user_dropped{job="job",operator="rule",subtask="1"} 13`,
		`streamduel_user_level{job="job",operator="rule",subtask="0"} NaN`, `streamduel_user_seen{job="job",operator="rule",subtask="0"} 2.5`,
	} {
		if !strings.Contains(string(body), "\n"+want+"\n") {
			t.Errorf("no line %s in\n%s", want, body)
		}
	}
	if _, _, err := sampled().serve("nowhere at all"); err == nil || !strings.Contains(err.Error(), `metrics: value "nowhere at all"`) {
		t.Errorf("an address that cannot be: %v", err)
	}
}

// TestEveryMetricIsDocumented in docs/metrics.md, and no name there is made up.
func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllSubmatch(append(sampled().text(), flinkSampled().text()...), -1) {
		if name, ok := strings.CutPrefix(string(m[1]), "flink_"); ok {
			// The page names them without their scope, and with Flink's dots.
			name = strings.NewReplacer("taskmanager_job_task_operator_", "", "taskmanager_job_task_", "", "jobmanager_job_", "", "jobmanager_", "", "_", ".").Replace(name)
			if name = strings.TrimSuffix(name, "PerSecond"); !strings.Contains(string(page), "`"+name) {
				t.Errorf("docs/metrics.md says nothing of %s (%s)", m[1], name)
			}
			continue
		}
		if strings.HasPrefix(string(m[1]), userPrefix) {
			continue // the job's own
		}
		served[string(m[1])] = true
		if !strings.Contains(string(page), "`"+string(m[1])) {
			t.Errorf("docs/metrics.md says nothing of %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`(streamduel_(?:microbatch_)?[a-z_]+)").FindAllSubmatch(page, -1) {
		if name := string(m[1]); !served[name] && !strings.HasPrefix(name, userPrefix) {
			t.Errorf("docs/metrics.md names %s, which is not served", name)
		}
	}
}
