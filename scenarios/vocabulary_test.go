package scenarios

import (
	"errors"
	"strings"
	"time"
)

// The engines and workloads of the tests: shaped like the real ones, known to
// this package only through the vocabulary.

type microConfig struct {
	Interval time.Duration `json:"interval"`
	Clock    string        `json:"clock"`
	Rate     struct {
		Cap int64 `json:"maxRecordsPerBatch"`
		PID struct {
			Enabled bool `json:"enabled"`
		} `json:"pid"`
	} `json:"rate"`
	Watermark string         `json:"watermark"`
	Cores     int            `json:"cores"`
	Source    map[string]any `json:"source"`
	Executors int            `json:"executors"`
	Output    string         `json:"outputMode"`
}

func (c *microConfig) Members() (kind string, n int) { return "executor", max(c.Executors, 1) }

func (c *microConfig) Validate() error {
	var errs []error
	if c.Interval <= 0 {
		errs = append(errs, errors.New("interval: a duration above 0s"))
	}
	if c.Rate.Cap < 0 {
		errs = append(errs, errors.New("rate.maxRecordsPerBatch: 0 (no cap) or more"))
	}
	return errors.Join(errs...)
}

type flowConfig struct {
	BufferTimeout time.Duration `json:"bufferTimeout"`
	Checkpoint    struct {
		Interval  time.Duration `json:"interval"`
		Unaligned bool          `json:"unaligned"`
	} `json:"checkpoint"`
	Buffers struct {
		Size    int            `json:"size"`
		Debloat map[string]any `json:"debloat"`
	} `json:"buffers"`
	WatermarkInterval time.Duration `json:"watermarkInterval"`
	TaskManagers      int           `json:"taskManagers"`
	Standbys          int           `json:"standbys,omitempty"`
	Lease             Duration      `json:"lease,omitempty"`
	Restart           struct {
		Strategy string        `json:"strategy"`
		Attempts int           `json:"attempts"`
		Delay    time.Duration `json:"delay"`
	} `json:"restart"`
	Watermark     string `json:"watermark"`
	AcceptLost    bool   `json:"acceptLost,omitempty"`
	BreakRecovery bool   `json:"breakRecovery,omitempty"`
}

func (c *flowConfig) StandBy() int { return c.Standbys }

type ysbParams struct {
	Delay  time.Duration `json:"delay"`
	Idle   time.Duration `json:"idle"`
	Window time.Duration `json:"window"`
}

type countParams struct {
	Keys        int   `json:"keys"`
	Size        Bytes `json:"size"`
	RecordBytes int   `json:"recordBytes"`
}

func (p *countParams) Validate() error {
	if p.Keys < 1 {
		return errors.New("keys: 1 or more")
	}
	if p.RecordBytes != 0 && p.RecordBytes < 40 {
		return errors.New("recordBytes: 40 or more")
	}
	return nil
}

type sumParams struct {
	Keys        int           `json:"keys"`
	HotKey      float64       `json:"hotKey"`
	Work        time.Duration `json:"work"`
	Aggregation string        `json:"aggregation"`
}

func testVocabulary() Vocabulary {
	return Vocabulary{
		Engines: map[string]EngineSpec{
			"microbatch": {New: func() any { return &microConfig{Interval: 500 * time.Millisecond} },
				CrashPoints: []string{"M0", "M0t", "M1", "M2", "M2r", "M3", "M4", "T1", "T2"}},
			"dataflow": {New: func() any { c := &flowConfig{}; c.Checkpoint.Interval = time.Second; return c },
				CrashPoints: []string{"D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "R1", "R2"}, Savepoints: true},
		},
		Workloads: map[string]WorkloadSpec{
			"keyed-count":  {New: func() any { return &countParams{Keys: 1000} }, Bad: []string{"undecodable"}},
			"keyed-sum":    {New: func() any { return &sumParams{} }},
			"pass-through": {},
			"ysb":          {New: func() any { return &ysbParams{} }, Bad: []string{"undecodable", "far-ahead"}},
		},
		StateBackends: []string{"memory", "lsm"},
		KnownFigure: func(path string, phases ...string) bool {
			parts := strings.Split(path, ".")
			switch parts[0] {
			case "records":
				return len(parts) == 2 && contains([]string{"sent", "visible", "rows", "beforeStart", "duplicates", "losses", "late", "unexpected", "reordered", "stateOvercount", "stateLosses"}, parts[1])
			case "latencyMillis":
				return len(parts) == 4 && contains(phases, parts[2])
			case "throughput":
				return len(parts) == 3 && contains(phases, parts[1])
			case "start", "crash", "pressure", "steps", "growth", "cost", "badInput", "state":
				return true
			}
			return false
		},
		SuggestFigure: func(path string, _ ...string) string {
			if strings.HasPrefix(path, "records.") {
				return "records.losses"
			}
			return ""
		},
	}
}

const goodScenario = `# a comment
schema: streamduel/scenario/v1
name: duel
question: Who wins?
workload: { name: keyed-count, params: { keys: 10, size: 1KiB } }
topics:   { partitions: 4 }
parallelism: 2
load:     { rate: 5000/s, shape: constant }
engines:
  microbatch: { interval: 250ms }
  dataflow:   { bufferTimeout: 10ms, checkpoint: { interval: 1s } }
guarantees: [at-least-once, exactly-once]
phases:
  - { name: warmup, duration: 5s }
  - { name: fault,  crash: { at: { microbatch: M3, dataflow: D5 }, hit: 3 } }
  - { name: recovery, until: caughtUp, atMost: 60s }
gates:
  - exactly-once: records.losses == 0
  - microbatch at-least-once: records.duplicates == crash.expected.duplicates
  - all: latencyMillis.event.warmup.p99 < 5000
`
