package microbatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"streamduel/pipeline"
)

// Config is the engine's block in a scenario file.
type Config struct {
	// Interval between batches.
	Interval Duration `json:"interval"`
	// Clock says what happens to ticks that a long batch ran over: skipping
	// (structured streaming) or queueing (discretized streams).
	Clock ClockKind `json:"clock"`
	// Trigger of the skipping clock: processing-time, every interval; once, a
	// single batch of all that is there, whatever the limits; available-now, as
	// many batches as the limits ask for until what was there at the start is
	// read. After the last two the job ends. Under continuous (the interval is an
	// epoch's) and real-time (it is a long batch's) records pass through as they
	// come.
	Trigger Trigger `json:"trigger" jsonschema:"enum=processing-time,enum=once,enum=available-now,enum=continuous,enum=real-time"`
	// Continuous and RealTime are about the triggers of those names.
	Continuous ContinuousConfig `json:"continuous"`
	RealTime   RealTimeConfig   `json:"realTime"`
	// Source says how splits are found and who reads them.
	Source SourceConfig `json:"source"`
	// Rate limits how much a batch takes.
	Rate RateConfig `json:"rate"`
	// Watermark says how the partitions of a source make its watermark: spark (one
	// maximum over all of them) or min-over-partitions (Flink's).
	Watermark WatermarkPolicy `json:"watermark" jsonschema:"enum=spark,enum=min-over-partitions"`
	// MultipleWatermarkPolicy says how the sources of a job make its watermark:
	// min or max over them, as spark.sql.streaming.multipleWatermarkPolicy does.
	MultipleWatermarkPolicy SourcesPolicy `json:"multipleWatermarkPolicy" jsonschema:"enum=min,enum=max"`
	// StateSnapshotEvery is after how many delta files a full one is written.
	StateSnapshotEvery int `json:"stateSnapshotEvery"`
	// RetainedBatches is how many batches the logs and state versions reach back.
	RetainedBatches int `json:"retainedBatches"`
	// Executors is how many processes run the tasks; 1 is the worker itself. With
	// more, the worker is only the driver.
	Executors int `json:"executors"`
	// Cores is how many tasks an executor runs at once; 0 takes the processors that
	// the process may use.
	Cores int `json:"cores"`
	// Scheduler says how tasks get cores.
	Scheduler SchedulerConfig `json:"scheduler"`
	// Shuffle says how much of what lies between stages is kept in memory.
	Shuffle ShuffleConfig `json:"shuffle"`
	// BatchAttempts is how often a whole batch is run before the job fails with
	// it: under exactly-once, when a task that writes or the transaction itself
	// has failed. Other tasks are run again by themselves (scheduler.maxFailures).
	BatchAttempts int `json:"batchAttempts"`
	// ExactlyOnce says what one transaction holds under that guarantee: the whole
	// batch with its offsets (batch-transaction); a partition's rows with their
	// range of offsets, where nothing is shuffled (offset-range); or an output
	// partition's rows with query, batch and partition (output-partition). With
	// batch-id the sink is told these and must be idempotent by them.
	ExactlyOnce Way `json:"exactlyOnce" jsonschema:"enum=batch-transaction,enum=offset-range,enum=output-partition,enum=batch-id"`
	// OutputMode says which rows of an aggregation leave: one for each input that
	// changes a running result, and windows when they fire (each-input); once, when
	// they are final (append); those that the batch has changed (update); or the
	// whole result table with each batch (complete).
	OutputMode pipeline.OutputMode `json:"outputMode" jsonschema:"enum=each-input,enum=append,enum=update,enum=complete"`
	// MapSideCombine adds up the records of a key that a task has for a batch before
	// they are shuffled into an aggregation that can merge, where nobody can tell:
	// windows with their default trigger, and with the output modes update and complete
	// running results too.
	MapSideCombine bool `json:"mapSideCombine"`
	// BreakExactlyOnce is the negative control: the offsets are committed apart
	// from the output. A crash between the two then repeats a batch, which the
	// ledger must see.
	BreakExactlyOnce bool `json:"breakExactlyOnce,omitempty"`
}

// ClockKind names a batch clock.
type ClockKind string

// The batch clocks.
const (
	Skipping ClockKind = "skipping"
	Queueing ClockKind = "queueing"
)

// Trigger says when a structured query runs a batch.
type Trigger string

// The triggers.
const (
	ProcessingTime Trigger = "processing-time"
	Once           Trigger = "once"
	AvailableNow   Trigger = "available-now"
)

// WatermarkPolicy names how partitions combine into a watermark.
type WatermarkPolicy string

// The watermark policies.
const (
	SparkMax          WatermarkPolicy = "spark"
	MinOverPartitions WatermarkPolicy = "min-over-partitions"
)

// SourcesPolicy names how the sources of a job combine into its watermark.
type SourcesPolicy string

// The policies across sources.
const (
	LeastSource   SourcesPolicy = "min"
	LargestSource SourcesPolicy = "max"
)

// RateConfig limits how much a batch takes. Rates are records per second over
// the whole job unless they say otherwise.
type RateConfig struct {
	// Initial rate, until the estimator has one; 0 leaves the first batches
	// unlimited.
	Initial Rate `json:"initial"`
	// MaxPerPartition caps each partition; 0 does not.
	MaxPerPartition Rate `json:"maxPerPartition"`
	// MinPerPartition is how many records a limited partition takes at least.
	MinPerPartition int64 `json:"minPerPartition"`
	// MaxRecordsPerBatch caps the batch; 0 does not.
	MaxRecordsPerBatch int64 `json:"maxRecordsPerBatch"`
	// MinRecordsPerBatch is how many records must wait for a batch to take them,
	// except the first, and after MaxTriggerDelay; 0 does not wait.
	MinRecordsPerBatch int64    `json:"minRecordsPerBatch"`
	MaxTriggerDelay    Duration `json:"maxTriggerDelay"`
	// PID adapts the rate to what batches turn out to take.
	PID PIDConfig `json:"pid"`
}

// PIDConfig are the rate estimator's parameters, named as Spark's.
type PIDConfig struct {
	Enabled      bool    `json:"enabled"`
	Proportional float64 `json:"proportional"`
	Integral     float64 `json:"integral"`
	Derivative   float64 `json:"derivative"`
	MinRate      Rate    `json:"minRate"`
}

// Default returns the configuration with its defaults.
func Default() *Config {
	return &Config{
		Interval: Duration(500 * time.Millisecond),
		Clock:    Skipping,
		Trigger:  ProcessingTime,

		Continuous: ContinuousConfig{EpochBacklog: defaultEpochBacklog},
		RealTime:   RealTimeConfig{MinBatchDuration: Duration(defaultMinBatch)},

		Source:    SourceConfig{Mode: Assignment, FailOnDataLoss: true, Receiver: ReceiverConfig{Receivers: 1, BlockInterval: Duration(200 * time.Millisecond)}},
		Rate:      RateConfig{MinPerPartition: 1, MaxTriggerDelay: Duration(15 * time.Minute), PID: PIDConfig{Enabled: true, Proportional: 1, Integral: 0.2, MinRate: 100}},
		Watermark: SparkMax,

		MultipleWatermarkPolicy: LeastSource,

		StateSnapshotEvery: 10,
		RetainedBatches:    100,
		Scheduler:          defaultScheduler(),
		Shuffle:            ShuffleConfig{Memory: defaultShuffleMemory},
		BatchAttempts:      4,
		ExactlyOnce:        BatchTransaction,
		OutputMode:         pipeline.EachInput,
		MapSideCombine:     true,
		Executors:          1,
	}
}

// Validate reports everything that is wrong, each error as "field: what is
// allowed".
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	check(c.Interval > 0, "interval: a duration above 0s")
	check(slices.Contains([]ClockKind{Skipping, Queueing}, c.Clock), "clock: one of skipping, queueing")
	check(slices.Contains([]Trigger{ProcessingTime, Once, AvailableNow, Continuous, RealTime}, c.Trigger), "trigger: one of processing-time, once, available-now, continuous, real-time")
	check(c.Trigger == ProcessingTime || c.Clock == Skipping, "trigger: processing-time with the queueing clock, which only knows its ticks")
	check(slices.Contains([]WatermarkPolicy{SparkMax, MinOverPartitions}, c.Watermark), "watermark: one of spark, min-over-partitions")
	check(slices.Contains([]SourcesPolicy{LeastSource, LargestSource}, c.MultipleWatermarkPolicy), "multipleWatermarkPolicy: one of min, max")
	check(c.Rate.MinPerPartition >= 0, "rate.minPerPartition: 0 or more records")
	check(c.Rate.MaxRecordsPerBatch >= 0, "rate.maxRecordsPerBatch: 0 (no cap) or more records")
	check(c.Rate.MinRecordsPerBatch >= 0, "rate.minRecordsPerBatch: 0 (does not wait) or more records")
	check(c.Rate.MaxRecordsPerBatch == 0 || c.Rate.MinRecordsPerBatch <= c.Rate.MaxRecordsPerBatch, "rate.minRecordsPerBatch: at most rate.maxRecordsPerBatch")
	check(c.Rate.MinRecordsPerBatch == 0 || c.Clock == Skipping, "rate.minRecordsPerBatch: 0 with the queueing clock, whose ticks never wait")
	check(c.Rate.Initial >= 0, "rate.initial: 0 (no limit) or a rate")
	check(c.Rate.MaxPerPartition >= 0, "rate.maxPerPartition: 0 (no cap) or a rate")
	pid := c.Rate.PID
	check(pid.Proportional >= 0, "rate.pid.proportional: 0 or more")
	check(pid.Integral >= 0, "rate.pid.integral: 0 or more")
	check(pid.Derivative >= 0, "rate.pid.derivative: 0 or more")
	check(!pid.Enabled || pid.MinRate > 0, "rate.pid.minRate: a rate above 0")
	check(c.StateSnapshotEvery >= 1, "stateSnapshotEvery: 1 or more deltas")
	check(c.RetainedBatches >= 2, "retainedBatches: 2 or more")
	check(c.Executors >= 1 && c.Executors <= 64, "executors: 1 (the worker itself) to 64 processes")
	check(c.Cores >= 0 && c.Cores <= 1024, "cores: 0 (all processors) to 1024")
	check(c.Shuffle.Memory >= NoLimit, "shuffle.memory: 0B (all goes to files) or more, or none (no limit)")
	c.Scheduler.validate(check)
	c.Source.validate(check)
	c.validateStreaming(check)
	c.validateOutput(check)
	check(c.Scheduler.ConcurrentJobs == 1 || c.Clock == Queueing, "scheduler.concurrentJobs: 1 with the skipping clock, whose batches follow one another")
	check(slices.Contains(ways, c.ExactlyOnce), "exactlyOnce: one of batch-transaction, offset-range, output-partition, batch-id")
	check(c.BatchAttempts >= 1 && c.BatchAttempts <= 100, "batchAttempts: 1 to 100")
	return errors.Join(errs...)
}

// Members implements scenarios.Membered.
func (c *Config) Members() (kind string, n int) { return "executor", c.Executors }

func (c *Config) cores() int {
	if c.Cores > 0 {
		return c.Cores
	}
	return runtime.GOMAXPROCS(0)
}

// Duration is a length of time that is written with its unit, such as "500ms".
type Duration time.Duration

// Std returns the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalText writes "500ms".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "500ms", "2s", "1m30s".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return errors.New("a duration with its unit, such as 500ms or 2s")
	}
	*d = Duration(v)
	return nil
}

// Rate counts records per second. It is written "5000/s" or as a plain number.
type Rate float64

// MarshalText writes "5000/s".
func (r Rate) MarshalText() ([]byte, error) {
	return []byte(strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s"), nil
}

// UnmarshalText reads "5000/s", "10k/s", "1.5M/s" and plain numbers.
func (r *Rate) UnmarshalText(text []byte) error {
	s := strings.TrimSuffix(string(text), "/s")
	scale := 1.0
	switch {
	case strings.HasSuffix(s, "k"):
		scale, s = 1e3, s[:len(s)-1]
	case strings.HasSuffix(s, "M"):
		scale, s = 1e6, s[:len(s)-1]
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return errors.New("a rate of 0 or more, such as 5000/s or 10k/s")
	}
	*r = Rate(v * scale)
	return nil
}

// UnmarshalJSON reads what UnmarshalText does, and numbers.
func (r *Rate) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	if err := r.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("rate %s: %w", b, err)
	}
	return nil
}
