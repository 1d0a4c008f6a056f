package worker

import (
	"strconv"
	"strings"
	"time"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/metrics"
)

// flink keeps what is told of an engine with Flink's checkpoints and exchange, under
// the names, units and labels of Flink's Prometheus reporter: all but histograms are
// gauges there, and in the values of labels it leaves letters, digits, ":" and "_".
type flink struct {
	seen    bool // the job is of such an engine
	now     func() int64
	slots   *engines.PlanSlots
	stages  map[string]engines.PlanStage // by name
	rates   map[string]map[string]*metrics.Rate
	life    map[string]engines.SubtaskCheckpoint // of the last checkpoint, by task
	running int64                                // monotonic nanoseconds since when the job runs
	broken  int64                                // since when it does not; 0 while it does

	restarts, triggered, completed, failed int64
	last                                   *engines.CheckpointCompleted
	lastAt, restoredAt                     int64 // Unix milliseconds
}

func newFlink() flink {
	return flink{
		now: clock.Mono, stages: map[string]engines.PlanStage{}, rates: map[string]map[string]*metrics.Rate{},
		life: map[string]engines.SubtaskCheckpoint{}, restoredAt: -1,
	}
}

func (f *flink) observe(e engines.Event) {
	switch e := e.(type) {
	case engines.Planned:
		f.seen, f.slots = e.Plan.Slots != nil, e.Plan.Slots
		for _, s := range e.Plan.Stages {
			f.stages[s.Name] = s
		}
	case engines.Started:
		f.running, f.broken = f.now(), 0
	case engines.Restored:
		f.restoredAt = time.Now().UnixMilli()
	case engines.Restarting:
		if f.broken == 0 {
			f.broken = f.now()
		}
	case engines.Restarted:
		f.restarts++
		f.running, f.broken = f.now(), 0
		f.restoredAt = time.Now().UnixMilli()
	case engines.CheckpointTriggered:
		f.triggered++
	case engines.CheckpointFailed:
		f.failed++
	case engines.CheckpointCompleted:
		f.completed++
		f.last, f.lastAt = &e, time.Now().UnixMilli()
		for _, s := range e.Subtasks {
			f.life[s.Name] = s
		}
	case engines.Sampled:
		for _, t := range e.Tasks {
			if t.IO != nil {
				f.rate(t.Name, t.IO)
			}
		}
	}
}

// perSecond are the counters that Flink also shows as a rate.
var perSecond = []struct {
	name  string
	count func(*engines.TaskIO) int64
}{
	{"numRecordsIn", func(io *engines.TaskIO) int64 { return io.RecordsIn }},
	{"numRecordsOut", func(io *engines.TaskIO) int64 { return io.RecordsOut }},
	{"numBytesIn", func(io *engines.TaskIO) int64 { return io.BytesInLocal + io.BytesInRemote }},
	{"numBytesOut", func(io *engines.TaskIO) int64 { return io.BytesOut }},
	{"numBuffersOut", func(io *engines.TaskIO) int64 { return io.BuffersOut }},
	{"Shuffle.Netty.Input.numBytesInLocal", func(io *engines.TaskIO) int64 { return io.BytesInLocal }},
	{"Shuffle.Netty.Input.numBytesInRemote", func(io *engines.TaskIO) int64 { return io.BytesInRemote }},
	{"Shuffle.Netty.Input.numBuffersInLocal", func(io *engines.TaskIO) int64 { return io.BuffersInLocal }},
	{"Shuffle.Netty.Input.numBuffersInRemote", func(io *engines.TaskIO) int64 { return io.BuffersInRemote }},
}

// mails is what Flink shows as a rate alone.
const mails = "mailboxMails"

func (f *flink) rate(task string, io *engines.TaskIO) {
	of := f.rates[task]
	if of == nil {
		of = map[string]*metrics.Rate{}
		f.rates[task] = of
	}
	now := f.now()
	for _, c := range perSecond {
		if of[c.name] == nil {
			of[c.name] = &metrics.Rate{}
		}
		of[c.name].Observe(c.count(io), now)
	}
	if of[mails] == nil {
		of[mails] = &metrics.Rate{}
	}
	of[mails].Observe(io.Mails, now)
}

// flinkTask are the gauges of a task, which are absent where the function says so.
var flinkTask = []struct {
	name  string
	value func(f *flink, t *engines.Task) (float64, bool)
}{
	{"busyTimeMsPerSecond", pressureOf(func(p *engines.BackPressure) float64 { return p.BusyMillis })},
	{"idleTimeMsPerSecond", pressureOf(func(p *engines.BackPressure) float64 { return p.IdleMillis })},
	{"backPressuredTimeMsPerSecond", pressureOf(func(p *engines.BackPressure) float64 { return p.BlockedMillis })},
	{"softBackPressuredTimeMsPerSecond", pressureOf(func(p *engines.BackPressure) float64 { return max(p.BlockedMillis-p.HardMillis, 0) })},
	{"hardBackPressuredTimeMsPerSecond", pressureOf(func(p *engines.BackPressure) float64 { return p.HardMillis })},
	{"isBackPressured", ioOf(func(io *engines.TaskIO) float64 {
		if io.BackPressured {
			return 1
		}
		return 0
	})},
	{"Shuffle.Netty.Input.Buffers.inputQueueLength", ioOf(func(io *engines.TaskIO) float64 { return float64(io.InputQueue) })},
	{"Shuffle.Netty.Input.Buffers.inputQueueSize", ioOf(func(io *engines.TaskIO) float64 { return float64(io.InputQueueBytes) })},
	{"Shuffle.Netty.Input.Buffers.inPoolUsage", ioOf(func(io *engines.TaskIO) float64 { return io.InPoolUsage })},
	{"Shuffle.Netty.Output.Buffers.outputQueueLength", ioOf(func(io *engines.TaskIO) float64 { return float64(io.OutputQueue) })},
	{"Shuffle.Netty.Output.Buffers.outputQueueSize", ioOf(func(io *engines.TaskIO) float64 { return float64(io.OutputQueueBytes) })},
	{"Shuffle.Netty.Output.Buffers.outPoolUsage", ioOf(func(io *engines.TaskIO) float64 { return io.OutPoolUsage })},
	// The same under the names before 1.9, which Flink shows as well.
	{"buffers.inputQueueLength", ioOf(func(io *engines.TaskIO) float64 { return float64(io.InputQueue) })},
	{"buffers.inPoolUsage", ioOf(func(io *engines.TaskIO) float64 { return io.InPoolUsage })},
	{"buffers.outputQueueLength", ioOf(func(io *engines.TaskIO) float64 { return float64(io.OutputQueue) })},
	{"buffers.outPoolUsage", ioOf(func(io *engines.TaskIO) float64 { return io.OutPoolUsage })},
	{"currentInputWatermark", func(_ *flink, t *engines.Task) (float64, bool) {
		return watermark(t.IO.InputWatermark), t.IO.Pending == nil // nothing comes into a source
	}},
	{"mailboxQueueSize", ioOf(func(io *engines.TaskIO) float64 { return float64(io.MailboxSize) })},
	{"mailboxMailsPerSecond", func(f *flink, t *engines.Task) (float64, bool) { return f.rates[t.Name][mails].PerSecond(), true }},
	{"debloatedBufferSize", debloatedOf(func(io *engines.TaskIO) float64 { return float64(io.DebloatedSize) })},
	{"estimatedTimeToConsumeBuffersMs", debloatedOf(func(io *engines.TaskIO) float64 { return io.EstimatedMillis })},
	{"checkpointStartDelayNanos", lifeOf(func(s engines.SubtaskCheckpoint) float64 { return s.StartDelay * 1e6 })},
	{"checkpointAlignmentTime", lifeOf(func(s engines.SubtaskCheckpoint) float64 { return s.Alignment * 1e6 })},
}

func pressureOf(value func(*engines.BackPressure) float64) func(*flink, *engines.Task) (float64, bool) {
	return func(_ *flink, t *engines.Task) (float64, bool) {
		if t.BackPressure == nil {
			return 0, false // the first second is not over
		}
		return value(t.BackPressure), true
	}
}

func ioOf(value func(*engines.TaskIO) float64) func(*flink, *engines.Task) (float64, bool) {
	return func(_ *flink, t *engines.Task) (float64, bool) { return value(t.IO), true }
}

func debloatedOf(value func(*engines.TaskIO) float64) func(*flink, *engines.Task) (float64, bool) {
	return func(_ *flink, t *engines.Task) (float64, bool) { return value(t.IO), t.IO.DebloatedSize > 0 }
}

func lifeOf(value func(engines.SubtaskCheckpoint) float64) func(*flink, *engines.Task) (float64, bool) {
	return func(f *flink, t *engines.Task) (float64, bool) { return value(f.life[t.Name]), true }
}

// watermark is Flink's: the least number there is before there is one.
func watermark(ms *int64) float64 {
	if ms == nil {
		return -1 << 63
	}
	return float64(*ms)
}

// text writes the page's part.
func (f *flink) text(p *page, job string, tasks []engines.Task) {
	if !f.seen {
		return
	}
	f.jobText(p, job)
	type labelled struct {
		*engines.Task
		stage  engines.PlanStage
		labels []string
	}
	var all []labelled
	for i := range tasks {
		t := &tasks[i]
		if t.IO == nil {
			continue
		}
		name, subtask := subtaskOf(t.Name)
		stage := f.stages[name]
		tm := 1
		if subtask < len(stage.Tasks) {
			tm = stage.Tasks[subtask].TaskManager
		}
		all = append(all, labelled{t, stage, []string{
			"job_name", flinkLabel(job), "task_name", flinkLabel(name), "subtask_index", strconv.Itoa(subtask), "tm_id", strconv.Itoa(tm),
		}})
	}
	if len(all) == 0 {
		return
	}
	const task = "taskmanager.job.task"
	for _, c := range perSecond {
		family := f.family(p, task, c.name)
		for _, t := range all {
			p.sample(family, float64(c.count(t.IO)), t.labels...)
		}
		family = f.family(p, task, c.name+"PerSecond")
		for _, t := range all {
			p.sample(family, f.rates[t.Name][c.name].PerSecond(), t.labels...)
		}
	}
	for _, g := range flinkTask {
		family := ""
		for _, t := range all {
			v, ok := g.value(f, t.Task)
			if !ok {
				continue
			}
			if family == "" {
				family = f.family(p, task, g.name)
			}
			p.sample(family, v, t.labels...)
		}
	}
	f.mailboxText(p, task, func(yield func(*engines.Task, []string)) {
		for _, t := range all {
			yield(t.Task, t.labels)
		}
	})
	const operator = task + ".operator"
	family := f.family(p, operator, "currentOutputWatermark")
	for _, t := range all {
		for _, o := range t.stage.Operators {
			p.sample(family, watermark(t.IO.OutputWatermark), append(t.labels, "operator_name", flinkLabel(o))...)
		}
	}
	family = f.family(p, operator, "pendingRecords")
	for _, t := range all {
		if t.IO.Pending != nil && len(t.stage.Operators) > 0 {
			p.sample(family, float64(*t.IO.Pending), append(t.labels, "operator_name", flinkLabel(t.stage.Operators[0]))...)
		}
	}
	for _, g := range splitTimes {
		family := ""
		for _, t := range all {
			for _, s := range t.IO.Splits {
				if family == "" {
					family = f.family(p, operator, "split.watermark."+g.name)
				}
				p.sample(family, g.value(s), append(t.labels, "operator_name", flinkLabel(t.stage.Operators[0]), "split", flinkLabel(s.Split))...)
			}
		}
	}
}

// mailboxText writes the one histogram, which the reporter shows as a summary.
func (f *flink) mailboxText(p *page, scope string, tasks func(yield func(*engines.Task, []string))) {
	name := ""
	tasks(func(t *engines.Task, labels []string) {
		if len(t.IO.MailboxMillis) == 0 {
			return
		}
		if name == "" {
			name = f.familyOf(p, "summary", scope, "mailboxLatencyMs")
		}
		for i, v := range t.IO.MailboxMillis {
			p.sample(name, v, append(labels[:len(labels):len(labels)], "quantile", strconv.FormatFloat(metrics.Quantiles[i], 'g', -1, 64))...)
		}
	})
}

// splitTimes are the gauges of a source's split.
var splitTimes = []struct {
	name  string
	value func(engines.SplitIO) float64
}{
	{"currentWatermark", func(s engines.SplitIO) float64 { return watermark(s.Watermark) }},
	{"accumulatedActiveTimeMs", func(s engines.SplitIO) float64 { return float64(s.Active) }},
	{"accumulatedPausedTimeMs", func(s engines.SplitIO) float64 { return float64(s.Paused) }},
	{"accumulatedIdleTimeMs", func(s engines.SplitIO) float64 { return float64(s.Idle) }},
}

func (f *flink) jobText(p *page, job string) {
	single := func(scope, name string, v float64, labels ...string) {
		p.sample(f.family(p, scope, name), v, labels...)
	}
	const cluster, of = "jobmanager", "jobmanager.job"
	single(cluster, "numRegisteredTaskManagers", float64(f.slots.TaskManagers))
	single(cluster, "taskSlotsTotal", float64(f.slots.TaskManagers*f.slots.Each))
	single(cluster, "taskSlotsAvailable", float64(f.slots.TaskManagers*f.slots.Each-f.slots.Needed))
	label := []string{"job_name", flinkLabel(job)}
	now := f.now()
	var up, down float64
	switch {
	case f.broken != 0:
		down = float64((now - f.broken) / int64(time.Millisecond))
	case f.running != 0:
		up = float64((now - f.running) / int64(time.Millisecond))
	}
	single(of, "uptime", up, label...)
	single(of, "downtime", down, label...)
	single(of, "numRestarts", float64(f.restarts), label...)
	single(of, "totalNumberOfCheckpoints", float64(f.triggered), label...)
	single(of, "numberOfInProgressCheckpoints", float64(f.triggered-f.completed-f.failed), label...)
	single(of, "numberOfCompletedCheckpoints", float64(f.completed), label...)
	single(of, "numberOfFailedCheckpoints", float64(f.failed), label...)
	id, took, size, full, at := -1.0, -1.0, -1.0, -1.0, -1.0 // as Flink before the first
	if c := f.last; c != nil {
		id, took, size, full, at = float64(c.Checkpoint), float64(int64(c.Duration)), float64(c.Bytes), float64(c.FullBytes), float64(f.lastAt)
	}
	single(of, "lastCompletedCheckpointId", id, label...)
	single(of, "lastCheckpointDuration", took, label...)
	single(of, "lastCheckpointSize", size, label...)
	single(of, "lastCheckpointFullSize", full, label...)
	single(of, "lastCheckpointCompletedTimestamp", at, label...)
	single(of, "lastCheckpointRestoreTimestamp", float64(f.restoredAt), label...)
}

// family begins a metric and returns its name: the scope and the name with "_" in
// place of "." behind "flink_".
func (f *flink) family(p *page, scope, name string) string {
	return f.familyOf(p, "gauge", scope, name)
}

func (f *flink) familyOf(p *page, kind, scope, name string) string {
	scope, name = strings.ReplaceAll(scope, ".", "_"), strings.ReplaceAll(name, ".", "_")
	full := "flink_" + scope + "_" + name
	p.family(full, kind, name+" (scope: "+scope+")")
	return full
}

// subtaskOf takes a task's name apart, "count (2/4)" into count and 1.
func subtaskOf(name string) (vertex string, subtask int) {
	i := strings.LastIndex(name, " (")
	if i < 0 {
		return name, 0
	}
	n, _, _ := strings.Cut(name[i+2:], "/")
	if subtask, _ = strconv.Atoi(n); subtask > 0 {
		subtask--
	}
	return name[:i], subtask
}

// flinkLabel is the reporter's filter for values of labels.
func flinkLabel(v string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == ':', r == '_':
			return r
		}
		return '_'
	}, v)
}
