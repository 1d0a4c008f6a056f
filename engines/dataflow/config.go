package dataflow

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"streamduel/exchange"
	"streamduel/exchange/remote"
)

// Config is the engine's part of a scenario.
type Config struct {
	// BufferTimeout is how long a record may wait in a partly filled buffer:
	// all outputs are flushed every so often. 0 flushes behind every batch that
	// a task takes in; -1 only when a buffer is full or a barrier passes.
	BufferTimeout BufferTimeout `json:"bufferTimeout" jsonschema:"oneof_type=string;integer"`
	Checkpoint    Checkpoint    `json:"checkpoint"`
	Buffers       Buffers       `json:"buffers"`
	Restart       Restart       `json:"restart"`
	// TaskManagers is how many task managers the job's subtasks are spread over,
	// and Slots how many places each has; 0 gives each as many as the job needs.
	TaskManagers int `json:"taskManagers"`
	Slots        int `json:"slots,omitempty"`
	// Standbys is how many coordinators wait, each a process, to go on from the last
	// checkpoint when the one that leads is lost; Lease is how long it may not say
	// that it leads before that.
	Standbys int      `json:"standbys,omitempty"`
	Lease    Duration `json:"lease"`
	// RestoreFrom is the folder of a savepoint that a job without checkpoints
	// begins from. AllowNonRestored lets it begin although some of the savepoint's
	// state, or a checkpoint's, belongs to operators that the job has not.
	RestoreFrom      string `json:"restoreFrom,omitempty"`
	AllowNonRestored bool   `json:"allowNonRestored,omitempty"`
	// Watchdog is how long a subtask may be in one step before the function that
	// it is in is named; CancelTimeout how long it may take to end when it has to,
	// before the job fails without it.
	Watchdog      Duration `json:"watchdog"`
	CancelTimeout Duration `json:"cancelTimeout"`
	// FlowControl is what keeps a subtask from sending more to another task
	// manager than that holds: credit (Flink since 1.5), or tcp (before), with
	// which a slow channel stops all that share its connection.
	FlowControl remote.FlowControl `json:"flowControl" jsonschema:"enum=credit,enum=tcp"`
	// WatermarkInterval is how often sources emit watermarks.
	WatermarkInterval Duration `json:"watermarkInterval"`
	// Watermark says how the splits of a source make its watermark: min (Flink's,
	// also called min-over-partitions), task-max (Kafka Streams') or spark.
	Watermark WatermarkPolicy `json:"watermark" jsonschema:"enum=min,enum=min-over-partitions,enum=task-max,enum=spark"`
	// AcceptLost lets a job go on although prepared output that its checkpoint
	// lists has been given up by the outside system, because the job was down for
	// longer than its transactions live. Without it such a job does not start: the
	// records are lost either way, and somebody has to know.
	AcceptLost bool `json:"acceptLost,omitempty"`
	// BreakRecovery initializes the sinks' transactional ids before what they hold
	// is committed again: the negative control X2, which loses just that.
	BreakRecovery bool `json:"breakRecovery,omitempty" jsonschema:"-"`
	// BreakExactlyOnce commits sink transactions before the checkpoint that
	// lists them is durable: the negative control, which a ledger must catch.
	BreakExactlyOnce bool `json:"breakExactlyOnce,omitempty" jsonschema:"-"`
}

// Checkpoint says when checkpoints are taken.
type Checkpoint struct {
	// Interval between the starts of two checkpoints.
	Interval Duration `json:"interval"`
	// Timeout after which an incomplete checkpoint is given up.
	Timeout Duration `json:"timeout"`
	// MinPause between the end of one checkpoint and the start of the next.
	MinPause Duration `json:"minPause"`
	// TolerableFailures is how many checkpoints in a row may fail before the
	// restart strategy decides what becomes of the job.
	TolerableFailures int `json:"tolerableFailures"`
	// Concurrent is how many may be under way at once. With a pause between two
	// there is always one.
	Concurrent int `json:"concurrent"`
	// Unaligned lets barriers overtake records, which become part of the
	// checkpoint: at once, or when a checkpoint has not been gathered within
	// AlignedTimeout. Exactly-once only, one at a time; such a checkpoint is gone
	// back to at the same parallelism only.
	Unaligned      bool     `json:"unaligned"`
	AlignedTimeout Duration `json:"alignedTimeout"`
	// Retained is how many completed checkpoints are kept.
	Retained int `json:"retained"`
}

// Buffers says how many buffers an exchange has, and how large they are.
type Buffers struct {
	// Size is how many bytes fill a buffer. What waits in an exchange is bounded
	// in bytes: small records make many of it, and small buffers fewer.
	Size int `json:"size"`
	// ExclusivePerChannel belong to one pair of subtasks.
	ExclusivePerChannel int `json:"exclusivePerChannel"`
	// FloatingPerGate are shared by the channels of one subtask's output.
	FloatingPerGate int `json:"floatingPerGate"`
	// Overdraft may be used beyond those to finish the record that a task is
	// in.
	Overdraft int `json:"overdraft"`
	// Debloat makes the size follow what the receiver takes in.
	Debloat Debloat `json:"debloat"`
}

// Debloat is buffer debloating: Flink's taskmanager.network.memory.buffer-debloat.
type Debloat struct {
	Enabled bool `json:"enabled"`
	// Target is how long a receiver should take for what waits before it.
	Target Duration `json:"target"`
	// Period is how often sizes are worked out.
	Period Duration `json:"period"`
	// Samples are how many sizes the average looks back on.
	Samples int `json:"samples"`
	// ThresholdPercent is how far a new size must be from the one in force to be told.
	ThresholdPercent int `json:"thresholdPercent"`
}

// DefaultConfig returns Flink's defaults, but for the buffer timeout (100 ms
// there), the checkpoint interval (none there) and the restart strategy
// (exponential delay there: a measured job that fails must not go on as if
// nothing had been).
func DefaultConfig() Config {
	return Config{
		BufferTimeout: BufferTimeout(10 * time.Millisecond),
		Checkpoint:    Checkpoint{Interval: Duration(time.Second), Timeout: Duration(10 * time.Minute), Concurrent: 1, Retained: 1},
		Buffers: Buffers{
			Size: exchange.Size, ExclusivePerChannel: 2, FloatingPerGate: 8, Overdraft: 5,
			Debloat: Debloat{Target: Duration(time.Second), Period: Duration(200 * time.Millisecond), Samples: 20, ThresholdPercent: 25},
		},
		Restart: Restart{
			Strategy: RestartNone, Attempts: 1, Failures: 1, Interval: Duration(time.Minute), Delay: Duration(time.Second),
			Initial: Duration(time.Second), Max: Duration(time.Minute), Multiplier: 1.5, Jitter: 0.1, Reset: Duration(time.Hour),
		},
		Watchdog: Duration(30 * time.Second), CancelTimeout: Duration(3 * time.Minute),
		TaskManagers:      1,
		Lease:             Duration(2 * time.Second),
		FlowControl:       remote.Credit,
		WatermarkInterval: Duration(200 * time.Millisecond),
		Watermark:         MinOverSplits,
	}
}

// Members implements scenarios.Membered.
func (c *Config) Members() (kind string, n int) { return "taskManager", c.TaskManagers }

// StandBy implements scenarios.Standing.
func (c *Config) StandBy() int { return c.Standbys }

// Validate returns what is not allowed, each error beginning with the field's
// path.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, field, allowed string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s", field, allowed))
		}
	}
	check(c.BufferTimeout >= -1, "bufferTimeout", bufferTimeoutWant)
	check(c.Checkpoint.Interval > 0, "checkpoint.interval", "a duration above 0s")
	check(c.Checkpoint.Timeout > 0, "checkpoint.timeout", "a duration above 0s")
	check(c.Checkpoint.MinPause >= 0, "checkpoint.minPause", "a duration of 0s or more")
	check(c.Checkpoint.TolerableFailures >= 0 && c.Checkpoint.TolerableFailures <= 100, "checkpoint.tolerableFailures", "0 to 100")
	check(c.Checkpoint.Concurrent >= 1 && c.Checkpoint.Concurrent <= 16, "checkpoint.concurrent", "1 to 16")
	check(!c.Checkpoint.Unaligned || c.Checkpoint.Concurrent == 1, "checkpoint.unaligned", "with concurrent 1 only: what two checkpoints overtake cannot be told apart")
	check(c.Checkpoint.AlignedTimeout == 0 || c.Checkpoint.Unaligned, "checkpoint.alignedTimeout", "only with unaligned: true")
	check(c.Checkpoint.Retained >= 1 && c.Checkpoint.Retained <= 100, "checkpoint.retained", "1 to 100")
	check(c.Buffers.Size >= exchange.MinSize && c.Buffers.Size <= exchange.Size, "buffers.size", "256 to 32768 bytes")
	check(c.Buffers.ExclusivePerChannel >= 1 && c.Buffers.ExclusivePerChannel <= 1024, "buffers.exclusivePerChannel", "1 to 1024: a channel without a buffer of its own could wait for ever")
	check(c.Buffers.FloatingPerGate >= 0 && c.Buffers.FloatingPerGate <= 1<<16, "buffers.floatingPerGate", "0 to 65536")
	check(c.Buffers.Overdraft >= 1 && c.Buffers.Overdraft <= 1<<16, "buffers.overdraft", "1 to 65536: a record that is larger than a buffer needs more than one")
	d := c.Buffers.Debloat
	check(!d.Enabled || d.Target >= Duration(time.Millisecond), "buffers.debloat.target", "1ms or more: what waits is to be taken in within it")
	check(!d.Enabled || d.Period >= Duration(time.Millisecond), "buffers.debloat.period", "1ms or more")
	check(!d.Enabled || d.Samples >= 1 && d.Samples <= 10_000, "buffers.debloat.samples", "1 to 10000")
	check(!d.Enabled || d.ThresholdPercent >= 0 && d.ThresholdPercent <= 100, "buffers.debloat.thresholdPercent", "0 to 100")
	c.Restart.check(check)
	check(c.TaskManagers >= 1 && c.TaskManagers <= 64, "taskManagers", "1 to 64")
	check(c.Slots >= 0 && c.Slots <= 1024, "slots", "1 to 1024, or 0 for as many as the job needs")
	check(c.Standbys >= 0 && c.Standbys <= 16, "standbys", "0 to 16")
	check(c.Lease >= Duration(100*time.Millisecond), "lease", "100ms or more: a coordinator that is busy for a moment must not lose it")
	check(c.Watchdog > 0, "watchdog", "a duration above 0s")
	check(c.CancelTimeout > 0, "cancelTimeout", "a duration above 0s")
	check(c.FlowControl == remote.Credit || c.FlowControl == remote.TCP, "flowControl", "credit or tcp")
	check(c.WatermarkInterval > 0, "watermarkInterval", "a duration above 0s")
	policies := []WatermarkPolicy{MinOverSplits, MinOverPartitions, TaskMax, SparkMax}
	check(slices.Contains(policies, c.Watermark), "watermark", "one of min, min-over-partitions, task-max, spark")
	return errors.Join(errs...)
}

// Duration is a duration that is text in files: "500ms".
type Duration time.Duration

const (
	maxDuration  = 30 * 24 * time.Hour
	durationWant = "a duration of 0s to 720h with its unit, such as 500ms, 2s or 1m30s"
)

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration with its unit.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := parseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return 0, errors.New(durationWant + "; the unit is missing")
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 || v > maxDuration {
		return 0, errors.New(durationWant)
	}
	return v, nil
}

// BufferTimeout is a Duration that may also be -1, which never flushes by time.
type BufferTimeout time.Duration

const bufferTimeoutWant = durationWant + "; or 0 (flush at once) or -1 (only full buffers)"

// MarshalText writes "-1" or the duration.
func (t BufferTimeout) MarshalText() ([]byte, error) {
	if t == -1 {
		return []byte("-1"), nil
	}
	return Duration(t).MarshalText()
}

// UnmarshalText reads "-1", "0" or a duration with its unit.
func (t *BufferTimeout) UnmarshalText(text []byte) error {
	if string(text) == "-1" {
		*t = -1
		return nil
	}
	v, err := parseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%w; or 0 (flush at once) or -1 (only full buffers)", err)
	}
	*t = BufferTimeout(v)
	return nil
}
