package worker

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"streamduel/engines"
	"streamduel/metrics"
)

// MetricsVariable is the environment's variable that names the address at which
// a worker serves its metrics when the job's line names none.
const MetricsVariable = "STREAMDUEL_METRICS"

// MetricsServed is the event that tells where the metrics are.
type MetricsServed struct {
	URL string `json:"url"`
}

// Kind names the event.
func (MetricsServed) Kind() string { return "metricsServed" }

// exporter keeps what Prometheus is told: the newest gauges and batch, and sums of
// what events have said. It looks at events on their way out, so a scrape asks the
// engine nothing. docs/metrics.md lists the names.
type exporter struct {
	job Job

	mu                          sync.Mutex
	gauges                      engines.Gauges
	attempt                     int
	batch                       *engines.BatchCompleted
	batches                     int64
	records                     int64
	phases                      map[string]float64    // milliseconds
	failed                      map[string]int64      // attempts, by stage
	spilled                     map[string]int64      // bytes, by stage
	shuffled                    map[string]int64      // rows, by stage
	states                      map[string]*stateRows // by operator
	sinks                       map[string]int64      // rows, by operator
	executorsLost, splits, gone int64
	limits                      int64
	flink                       flink
	counted                     []metrics.Value // by the job's functions
}

// stateRows sums up what batches have done to a state operator's rows.
type stateRows struct{ updated, removed, late int64 }

func newExporter(j Job) *exporter {
	return &exporter{job: j, flink: newFlink(), phases: map[string]float64{}, failed: map[string]int64{}, spilled: map[string]int64{}, shuffled: map[string]int64{}, states: map[string]*stateRows{}, sinks: map[string]int64{}}
}

// observe takes in an event.
func (m *exporter) observe(e engines.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flink.observe(e)
	switch e := e.(type) {
	case engines.Started:
		m.attempt = e.Attempt
	case engines.Sampled:
		m.gauges = e.Gauges
	case engines.RateLimited:
		m.limits++
	case engines.Discovered:
		m.splits++
	case engines.DataLost:
		m.gone += int64(e.Until - e.From)
	case engines.ExecutorLost:
		m.executorsLost++
	case engines.BatchCompleted:
		m.batch = &e
		m.batches++
		m.records += e.Records
		for phase, took := range e.Durations {
			m.phases[phase] += took
		}
		for _, s := range e.Stages {
			m.failed[s.Name] += int64(s.Failed)
			m.spilled[s.Name] += s.Spilled
			m.shuffled[s.Name] += s.Shuffled
		}
		for _, o := range e.StateOperators {
			rows := m.states[o.Operator]
			if rows == nil {
				rows = &stateRows{}
				m.states[o.Operator] = rows
			}
			rows.updated += o.RowsUpdated
			rows.removed += o.RowsRemoved
			rows.late += o.RowsLate
		}
		for _, s := range e.Sinks {
			m.sinks[s.Sink] += max(s.Rows, 0)
		}
	}
}

// serve answers scrapes at an address until stop is called.
func (m *exporter) serve(address string) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", nil, fmt.Errorf("metrics: value %q: %w: name a free address such as 127.0.0.1:9600", address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(m.text()) // who has gone needs no answer
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends with Close
	}()
	return "http://" + l.Addr().String() + "/metrics", func() {
		_ = s.Close()
		<-done
	}, nil
}

// page writes Prometheus' text format.
type page struct{ b bytes.Buffer }

// family begins a metric.
func (p *page) family(name, kind, help string) {
	fmt.Fprintf(&p.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample writes one value; labels are names and values in turn.
func (p *page) sample(name string, v float64, labels ...string) {
	p.b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		p.b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&p.b, `%s="%s"`, labels[i], labelEscapes.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		p.b.WriteByte('}')
	}
	p.b.WriteByte(' ')
	p.b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	p.b.WriteByte('\n')
}

// single writes a metric of one value.
func (p *page) single(name, kind, help string, v float64) {
	p.family(name, kind, help)
	p.sample(name, v)
}

func (m *exporter) text() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &page{}
	p.family("streamduel_job_info", "gauge", "The job; always 1.")
	p.sample("streamduel_job_info", 1, "job", m.job.Name, "engine", m.job.Engine, "workload", m.job.Workload, "guarantee", m.job.Guarantee)
	p.single("streamduel_attempt", "gauge", "Start number of the job, from 1.", float64(m.attempt))
	g := &m.gauges
	p.single("streamduel_records_consumed_total", "counter", "Records taken from the sources.", float64(g.Consumed))
	p.single("streamduel_records_written_total", "counter", "Records given to the sinks.", float64(g.Written))
	p.single("streamduel_bad_records_total", "counter", "Records that could not be used.", float64(g.BadRecords))
	p.single("streamduel_splits_discovered_total", "counter", "Splits that the job has begun to read.", float64(m.splits))
	p.single("streamduel_lost_records_total", "counter", "Records that were gone before they were read.", float64(m.gone))
	p.single("streamduel_queued_records", "gauge", "Records taken in and not yet written.", float64(g.QueuedRecords))
	p.single("streamduel_queued_bytes", "gauge", "Bytes in buffers between tasks.", float64(g.QueuedBytes))
	p.single("streamduel_source_lag_records", "gauge", "Records behind the end of the sources.", float64(g.Lag))
	if g.RateLimit != nil {
		p.single("streamduel_rate_limit_records_per_second", "gauge", "The rate limit; absent when there is none.", *g.RateLimit)
	}
	if g.WatermarkMs != nil {
		p.single("streamduel_watermark_seconds", "gauge", "The watermark as a Unix time; absent before there is one.", float64(*g.WatermarkMs)/1e3)
	}
	if len(g.Tasks) > 0 {
		p.family("streamduel_task_time_ratio", "gauge", "Share of the time since the last sample.")
		for _, t := range g.Tasks {
			p.sample("streamduel_task_time_ratio", t.Busy, "task", t.Name, "state", "busy")
			p.sample("streamduel_task_time_ratio", t.Blocked, "task", t.Name, "state", "blocked")
			p.sample("streamduel_task_time_ratio", t.Idle, "task", t.Name, "state", "idle")
		}
	}
	if m.batch != nil {
		m.batchText(p, m.batch)
	}
	m.flink.text(p, m.job.Name, m.gauges.Tasks)
	m.countedText(p)
	return p.b.Bytes()
}

func (m *exporter) batchText(p *page, b *engines.BatchCompleted) {
	const of = "streamduel_microbatch_"
	p.single(of+"batches_total", "counter", "Batches, or epochs, committed since the worker started.", float64(m.batches))
	p.single(of+"batch_records_total", "counter", "Records in them.", float64(m.records))
	p.family(of+"phase_seconds_total", "counter", "Time of their phases.")
	for _, phase := range slices.Sorted(maps.Keys(m.phases)) {
		p.sample(of+"phase_seconds_total", m.phases[phase]/1e3, "phase", phase)
	}
	p.single(of+"rate_limit_changes_total", "counter", "How often the rate limit has changed.", float64(m.limits))
	p.single(of+"batch_id", "gauge", "Number of the last batch.", float64(b.Batch))
	p.single(of+"batch_records", "gauge", "Records in the last batch.", float64(b.Records))
	p.family(of+"phase_seconds", "gauge", "Phases of the last batch.")
	for _, phase := range slices.Sorted(maps.Keys(b.Durations)) {
		p.sample(of+"phase_seconds", b.Durations[phase]/1e3, "phase", phase)
	}
	p.single(of+"scheduling_delay_seconds", "gauge", "From the last batch's tick to its first task.", b.SchedulingDelay/1e3)
	p.single(of+"processing_delay_seconds", "gauge", "From the last batch's first task to its commit.", b.ProcessingDelay/1e3)
	p.single(of+"total_delay_seconds", "gauge", "The sum of both.", b.TotalDelay/1e3)
	p.single(of+"input_rows_per_second", "gauge", "Records over the time since the batch before began.", b.InputRowsPerSecond)
	p.single(of+"processed_rows_per_second", "gauge", "Records over the time that the batch took.", b.ProcessedRowsPerSecond)
	p.single(of+"lag_records", "gauge", "Records that the last batch left in the sources.", float64(b.Lag))
	p.single(of+"state_rows", "gauge", "Keys in state.", float64(b.StateKeys))
	p.single(of+"state_bytes", "gauge", "Bytes of the last batch's state version.", float64(b.StateBytes))
	p.family(of+"end_offset", "gauge", "Where the last batch ended in each split.")
	for _, id := range slices.Sorted(maps.Keys(b.End)) {
		p.sample(of+"end_offset", float64(b.End[id]), "split", string(id))
	}
	p.family(of+"stage_tasks", "gauge", "Tasks of each stage of the last batch.")
	for _, s := range b.Stages {
		p.sample(of+"stage_tasks", float64(s.Tasks), "stage", s.Name)
	}
	p.family(of+"stage_task_seconds", "gauge", "Task times of each stage of the last batch: median (0.5) and longest (1).")
	for _, s := range b.Stages {
		p.sample(of+"stage_task_seconds", s.P50/1e3, "stage", s.Name, "quantile", "0.5")
		p.sample(of+"stage_task_seconds", s.Max/1e3, "stage", s.Name, "quantile", "1")
	}
	p.family(of+"stage_failed_attempts_total", "counter", "Task attempts that have failed.")
	for _, stage := range slices.Sorted(maps.Keys(m.failed)) {
		p.sample(of+"stage_failed_attempts_total", float64(m.failed[stage]), "stage", stage)
	}
	p.family(of+"stage_spilled_bytes_total", "counter", "Bytes of shuffle outputs that went to files.")
	for _, stage := range slices.Sorted(maps.Keys(m.spilled)) {
		p.sample(of+"stage_spilled_bytes_total", float64(m.spilled[stage]), "stage", stage)
	}
	p.family(of+"stage_shuffled_records_total", "counter", "Rows written to shuffles.")
	for _, stage := range slices.Sorted(maps.Keys(m.shuffled)) {
		p.sample(of+"stage_shuffled_records_total", float64(m.shuffled[stage]), "stage", stage)
	}
	p.single(of+"executors_lost_total", "counter", "Executors whose process was lost.", float64(m.executorsLost))
	m.stateText(p, b)
	if len(b.Sources) == 0 {
		return
	}
	p.family(of+"source_records", "gauge", "Records of the last batch, by source where there are several.")
	for _, s := range b.Sources {
		p.sample(of+"source_records", float64(s.Records), "source", s.Source)
	}
	p.family(of+"source_lag_records", "gauge", "Records that the last batch left, by source where there are several.")
	for _, s := range b.Sources {
		p.sample(of+"source_lag_records", float64(s.Lag), "source", s.Source)
	}
}

// stateText tells of each state operator and each sink.
func (m *exporter) stateText(p *page, b *engines.BatchCompleted) {
	const of = "streamduel_microbatch_"
	if len(b.Sinks) > 0 {
		p.family(of+"sink_rows_total", "counter", "Rows given to each sink in committed batches.")
		for _, sink := range slices.Sorted(maps.Keys(m.sinks)) {
			p.sample(of+"sink_rows_total", float64(m.sinks[sink]), "sink", sink)
		}
	}
	if len(b.StateOperators) == 0 {
		return
	}
	const op = of + "state_operator_"
	for _, f := range []struct {
		name, help string
		of         func(engines.StateOperatorProgress) float64
	}{
		{"rows", "Rows of each state operator.", func(o engines.StateOperatorProgress) float64 { return float64(o.RowsTotal) }},
		{"memory_bytes", "Memory of its tables.", func(o engines.StateOperatorProgress) float64 { return float64(o.MemoryBytes) }},
		{"updates_seconds", "Time in which its tasks took in rows, in the last batch.", func(o engines.StateOperatorProgress) float64 { return o.UpdatesTime / 1e3 }},
		{"removals_seconds", "Time of its tasks' timers and watermarks, in the last batch.", func(o engines.StateOperatorProgress) float64 { return o.RemovalsTime / 1e3 }},
		{"commit_seconds", "Time of writing its tasks' state, in the last batch.", func(o engines.StateOperatorProgress) float64 { return o.CommitTime / 1e3 }},
		{"instances", "Its tables in all partitions.", func(o engines.StateOperatorProgress) float64 { return float64(o.Instances) }},
	} {
		p.family(op+f.name, "gauge", f.help)
		for _, o := range b.StateOperators {
			p.sample(op+f.name, f.of(o), "operator", o.Operator)
		}
	}
	for _, f := range []struct {
		name, help string
		of         func(*stateRows) int64
	}{
		{"updated_rows_total", "Rows of each state operator that batches have put or changed.", func(r *stateRows) int64 { return r.updated }},
		{"removed_rows_total", "Rows of each state operator that batches have removed.", func(r *stateRows) int64 { return r.removed }},
		{"late_rows_total", "Rows that were late for each state operator.", func(r *stateRows) int64 { return r.late }},
	} {
		p.family(op+f.name, "counter", f.help)
		for _, o := range slices.Sorted(maps.Keys(m.states)) {
			p.sample(op+f.name, float64(f.of(m.states[o])), "operator", o)
		}
	}
}
