package microbatch

import "slices"

// SourceMode says how a job learns of splits and who reads them.
type SourceMode string

// The source modes.
const (
	// Fixed is the direct stream of Kafka 0.8: the splits of the start, for ever.
	Fixed SourceMode = "fixed"
	// Assignment is the direct stream of Kafka 0.10: each batch compares with an
	// assignment that is refreshed now and then; a new split begins where the
	// source's reset says, and with latest it loses what was written before.
	Assignment SourceMode = "assignment"
	// Structured is structured streaming: a new split begins at its first record,
	// and what is not there any more is data loss, which fails the job unless it is
	// allowed.
	Structured SourceMode = "structured"
	// Receiver is the older way: long-running tasks receive and store blocks.
	Receiver SourceMode = "receiver"
)

// SourceConfig is how the engine uses its sources.
type SourceConfig struct {
	Mode SourceMode `json:"mode" jsonschema:"enum=fixed,enum=assignment,enum=structured,enum=receiver"`
	// MetadataAge is how old the assignment may be. 0 takes the job's discovery
	// interval; Kafka's own default is 5m.
	MetadataAge Duration `json:"metadataAge"`
	// FailOnDataLoss fails the job when records are gone before they were read;
	// false, only in structured mode, says so and goes on.
	FailOnDataLoss bool           `json:"failOnDataLoss"`
	Receiver       ReceiverConfig `json:"receiver"`
}

// ReceiverConfig is about mode receiver.
type ReceiverConfig struct {
	// Receivers are the tasks that receive; each occupies a core.
	Receivers int `json:"receivers"`
	// BlockInterval is how often a receiver stores what it has as a block. A batch
	// takes the blocks that are there at its tick.
	BlockInterval Duration `json:"blockInterval"`
	// WriteAheadLog makes blocks durable before the outside system is told that
	// they were received. With it a job is at-least-once, without it at-most-once:
	// blocks that no batch has processed are gone after a crash.
	WriteAheadLog bool `json:"writeAheadLog"`
	// MaxRate of each receiver, records per second; 0 does not limit.
	MaxRate Rate `json:"maxRate"`
}

func (c *SourceConfig) validate(check func(ok bool, text string)) {
	check(slices.Contains([]SourceMode{Fixed, Assignment, Structured, Receiver}, c.Mode), "source.mode: one of fixed, assignment, structured, receiver")
	check(c.FailOnDataLoss || c.Mode == Structured, "source.failOnDataLoss: false in mode structured only")
	check(c.Receiver.Receivers >= 1 && c.Receiver.Receivers <= 1024, "source.receiver.receivers: 1 to 1024")
	check(c.Receiver.BlockInterval > 0, "source.receiver.blockInterval: a duration above 0s")
	check(c.Receiver.MaxRate >= 0, "source.receiver.maxRate: 0 (no limit) or a rate")
}
