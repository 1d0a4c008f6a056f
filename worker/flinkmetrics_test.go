package worker

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"streamduel/engines"
)

var update = flag.Bool("update", false, "write the goldens anew")

// flinkSampled is what a job on two task managers has told: three samples five
// seconds apart, a checkpoint that completed, one that failed, and a restart.
func flinkSampled() *exporter {
	m := newExporter(Job{Name: "job-1", Engine: "dataflow", Workload: "keyed-count", Guarantee: "exactly-once"})
	now := int64(time.Hour)
	m.flink.now = func() int64 { return now }
	m.observe(engines.Planned{Plan: engines.Plan{
		Slots: &engines.PlanSlots{TaskManagers: 2, Each: 2, Needed: 2},
		Stages: []engines.PlanStage{
			{Name: "in", Operators: []string{"in"}, Tasks: []engines.PlanPlace{{TaskManager: 1, Slot: 1}}},
			{Name: "count → out", Operators: []string{"count", "out"}, Tasks: []engines.PlanPlace{{TaskManager: 1, Slot: 1}, {TaskManager: 2, Slot: 1}}},
		},
	}})
	m.observe(engines.Started{Attempt: 1})
	m.observe(engines.CheckpointTriggered{Checkpoint: 1})
	m.observe(engines.CheckpointCompleted{Checkpoint: 1, Duration: 12.5, Bytes: 300, FullBytes: 900, Subtasks: []engines.SubtaskCheckpoint{
		{Name: "in (1/1)", StartDelay: 0.25}, {Name: "count → out (1/2)", StartDelay: 1.5, Alignment: 2.5},
	}})
	m.observe(engines.CheckpointTriggered{Checkpoint: 2})
	m.observe(engines.CheckpointFailed{Checkpoint: 2})
	m.observe(engines.CheckpointTriggered{Checkpoint: 3})
	in, out := int64(99_999), int64(12_345)
	for n := range int64(3) {
		pending := 70 - 10*n
		m.observe(engines.Sampled{Gauges: engines.Gauges{Tasks: []engines.Task{
			{
				Name:         "in (1/1)",
				BackPressure: &engines.BackPressure{BusyMillis: 250, BlockedMillis: 700, HardMillis: 100, IdleMillis: 50, SampledLevel: "HIGH", Level: "HIGH"},
				IO: &engines.TaskIO{
					RecordsIn: 600 * n, RecordsOut: 600 * n, BytesOut: 6000 * n, BuffersOut: 6 * n, OutputQueue: 4, OutputQueueBytes: 4000,
					BuffersOutInUse: 12, OutPoolUsage: 1.5, BackPressured: true, OutputWatermark: &in, Pending: &pending,
					Splits:      []engines.SplitIO{{Split: "in/0", Watermark: &in, Active: 900, Paused: 90, Idle: 10}, {Split: "in/1"}},
					MailboxSize: 1, Mails: 60 * n, MailboxMillis: []float64{0.1, 0.2, 0.5, 0.8, 0.9, 1},
				},
			},
			{Name: "count → out (1/2)", IO: &engines.TaskIO{
				RecordsIn: 300 * n, RecordsOut: 300 * n, BytesInLocal: 3000 * n, BuffersInLocal: 3 * n, InputQueue: 2, InputQueueBytes: 2000,
				InputWatermark: &in, OutputWatermark: &out,
			}},
			{Name: "count → out (2/2)", IO: &engines.TaskIO{
				RecordsIn: 300 * n, RecordsOut: 300 * n, BytesInRemote: 3000 * n, BuffersInRemote: 3 * n, InputQueue: 1, InputQueueBytes: 1000,
				BuffersInUse: 5, InPoolUsage: 0.5, DebloatedSize: 4096, EstimatedMillis: 1100,
			}},
		}}})
		now += int64(5 * time.Second)
	}
	m.observe(engines.Restarting{})
	now += int64(time.Second)
	m.observe(engines.Restarted{})
	now += int64(1500 * time.Millisecond)
	return m
}

// TestFlinkExposition is the page under Flink's names as a golden; what it says of
// the wall clock is left out.
func TestFlinkExposition(t *testing.T) {
	var page bytes.Buffer
	clock := regexp.MustCompile(`(Timestamp\{.*\}) .*`)
	for l := range strings.Lines(string(flinkSampled().text())) {
		if strings.Contains(l, "flink_") {
			page.WriteString(clock.ReplaceAllString(l, "$1 TIME"))
		}
	}
	const golden = "testdata/flink.txt"
	if *update {
		if err := os.WriteFile(golden, page.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s\n(go test ./worker -run FlinkExposition -update writes it anew)", page.Bytes(), want)
	}
}

// TestNoFlinkNamesOfAnotherEngine: a job without slots is of another kind.
func TestNoFlinkNamesOfAnotherEngine(t *testing.T) {
	if page := string(sampled().text()); strings.Contains(page, "flink_") {
		t.Error(page)
	}
}
