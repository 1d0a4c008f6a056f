package kafka

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// Isolation says what a source shows of transactions.
type Isolation string

// The two isolation levels. ReadCommitted is the default: it stops at the last
// stable offset and leaves aborted records out.
const (
	ReadCommitted   Isolation = "read_committed"
	ReadUncommitted Isolation = "read_uncommitted"
)

func (i Isolation) level() int8 {
	if i == ReadUncommitted {
		return 0
	}
	return 1
}

// SourceConfig describes what to read. The zero value of every field but
// Brokers and one of Topics and Pattern is a working default. It survives JSON.
type SourceConfig struct {
	Brokers []string `json:"brokers"`
	// Topics names the topics to read. A topic that does not exist yet is
	// waited for. Pattern is a regular expression that must match a whole topic
	// name; give one of the two.
	Topics  []string `json:"topics,omitempty"`
	Pattern string   `json:"pattern,omitempty"`
	// Start is where partitions without a recovered position begin at the
	// job's very first start; earliest if empty.
	Start connectors.StartFrom `json:"start,omitempty"`
	// StartMillis is the time that start: timestamp means, in Unix milliseconds.
	StartMillis int64 `json:"startMillis,omitempty"`
	// StartPositions are where single partitions begin, whatever Start says.
	StartPositions map[connectors.SplitID]connectors.Position `json:"startPositions,omitempty"`
	// Bounded makes the source end where its partitions ended when the job began.
	Bounded bool `json:"bounded,omitempty"`
	// Reset is where partitions that appear later begin: earliest, the default,
	// or latest, which loses what was written to them before they were found
	// and is there to show that.
	Reset     connectors.StartFrom `json:"reset,omitempty"`
	Isolation Isolation            `json:"isolation,omitempty"`
	// Group is the consumer group under which Commit stores positions. Nothing
	// ever joins it. "streamduel-<job>-<node>" if empty.
	Group string `json:"group,omitempty"`
	// FetchWaitMillis is how long a broker may hold a fetch when there is
	// nothing to read. It bounds how long a newly assigned split waits behind a
	// fetch that is under way. Default 25.
	FetchWaitMillis int `json:"fetchWaitMillis,omitempty"`
	// PartitionBytes bounds what one fetch returns of one partition; a reader
	// holds at most about twice as much of each. Default 1 MiB.
	PartitionBytes int `json:"partitionBytes,omitempty"`
	// FetchBytes bounds one fetch over all its partitions. Default 16 MiB.
	FetchBytes int `json:"fetchBytes,omitempty"`
	// BatchRecords bounds how many records one Poll returns. Default 2048.
	BatchRecords int `json:"batchRecords,omitempty"`
	// PatienceMillis is how long brokers may be unreachable, or an assigned
	// partition unknown to them, before reading fails. Default 30,000.
	PatienceMillis int `json:"patienceMillis,omitempty"`

	// ClientOptions are appended to those of every client that is opened, for
	// what this struct does not name: TLS, SASL, a dialer, hooks.
	ClientOptions []kgo.Opt `json:"-"`
}

func (c *SourceConfig) setDefaults() error {
	if len(c.Brokers) == 0 {
		return errors.New("kafka source: no brokers")
	}
	if (len(c.Topics) == 0) == (c.Pattern == "") {
		return errors.New("kafka source: exactly one of topics and pattern must be given")
	}
	if c.Pattern != "" {
		if _, err := regexp.Compile(c.Pattern); err != nil {
			return fmt.Errorf("kafka source: pattern %q: %w", c.Pattern, err)
		}
	}
	switch c.Start {
	case "":
		c.Start = connectors.StartEarliest
	case connectors.StartEarliest, connectors.StartLatest, connectors.StartCommitted, connectors.StartTimestamp:
	default:
		return fmt.Errorf("kafka source: start %q: allowed are earliest, latest, committed, timestamp", c.Start)
	}
	if (c.Start == connectors.StartTimestamp) != (c.StartMillis != 0) || c.StartMillis < 0 {
		return fmt.Errorf("kafka source: startMillis %d: Unix milliseconds above 0, with start: timestamp and only with it", c.StartMillis)
	}
	for id, p := range c.StartPositions {
		if _, _, err := parseSplit(id); err != nil {
			return fmt.Errorf("kafka source: startPositions: %w", err)
		}
		if p < 0 {
			return fmt.Errorf("kafka source: startPositions: %s: position %d: 0 or more", id, p)
		}
	}
	switch c.Reset {
	case "":
		c.Reset = connectors.StartEarliest
	case connectors.StartEarliest, connectors.StartLatest:
	default:
		return fmt.Errorf("kafka source: reset %q: allowed are earliest, latest", c.Reset)
	}
	switch c.Isolation {
	case "":
		c.Isolation = ReadCommitted
	case ReadCommitted, ReadUncommitted:
	default:
		return fmt.Errorf("kafka source: isolation %q: allowed are read_committed, read_uncommitted", c.Isolation)
	}
	return firstError(
		atLeast("kafka source: fetchWaitMillis", &c.FetchWaitMillis, 25),
		atLeast("kafka source: partitionBytes", &c.PartitionBytes, 1<<20),
		atLeast("kafka source: fetchBytes", &c.FetchBytes, 16<<20),
		atLeast("kafka source: batchRecords", &c.BatchRecords, 2048),
		atLeast("kafka source: patienceMillis", &c.PatienceMillis, 30_000),
	)
}

func (c *SourceConfig) patience() time.Duration {
	return time.Duration(c.PatienceMillis) * time.Millisecond
}

// group is the committed positions' group of one source of a job.
func (c *SourceConfig) group(env connectors.Env) string {
	if c.Group != "" {
		return c.Group
	}
	return "streamduel-" + env.Job + "-" + env.Node
}

// Partitioner says which partition of its topic a record goes to.
type Partitioner string

// The partitioners. ByKey is the default.
const (
	// ByKey hashes the key as Kafka's own default does (murmur2); records
	// without a key stick to one partition a batch.
	ByKey Partitioner = "key"
	// ByOrigin sends a record to the partition that its input came from,
	// modulo the number of output partitions.
	ByOrigin Partitioner = "origin"
	// BySubtask gives each sink subtask one partition, its number modulo theirs,
	// as Flink's FlinkFixedPartitioner does: no partition then has records of
	// another subtask's open transaction between its own, unless there are more
	// subtasks than partitions.
	BySubtask Partitioner = "subtask"
	// RoundRobin takes partitions in turn, record by record.
	RoundRobin Partitioner = "round-robin"
)

// SinkConfig describes where and how to write. The zero value of every field
// but Brokers and Topic is a working default. It survives JSON.
type SinkConfig struct {
	Brokers     []string    `json:"brokers"`
	Topic       string      `json:"topic"`
	Partitioner Partitioner `json:"partitioner,omitempty"`
	// LingerMillis is how long a record may wait for company; 0 sends at once.
	LingerMillis int `json:"lingerMillis,omitempty"`
	// BatchBytes bounds one record batch. Default 1,000,000, a little below
	// what a broker accepts by default.
	BatchBytes int `json:"batchBytes,omitempty"`
	// BufferRecords and BufferBytes bound what one client holds that is not
	// acknowledged; Write blocks beyond. Defaults 32,768 and 32 MiB.
	BufferRecords int `json:"bufferRecords,omitempty"`
	BufferBytes   int `json:"bufferBytes,omitempty"`
	// Compression is none (the default), gzip, snappy, lz4 or zstd.
	Compression string `json:"compression,omitempty"`
	// DeliveryMillis is how long brokers may acknowledge nothing while Write or
	// Flush waits for them, before writing fails. Default 120,000.
	DeliveryMillis int `json:"deliveryMillis,omitempty"`
	// TransactionMillis is the transaction timeout. It must be longer than the
	// longest epoch with its recovery, and at most the broker's
	// transaction.max.timeout.ms. Default 60,000.
	TransactionMillis int `json:"transactionMillis,omitempty"`
	// Group is the consumer group whose offsets a Transaction commits together
	// with the output. "streamduel-<job>" if empty.
	Group string `json:"group,omitempty"`
	// OriginHeader writes each record's origin as header sd-origin. OriginEvery
	// restricts it to a sample: origins whose sequence is a multiple of it. 0 and
	// 1 write all.
	OriginHeader bool  `json:"originHeader,omitempty"`
	OriginEvery  int64 `json:"originEvery,omitempty"`

	// ClientOptions are appended to those of every client that is opened.
	ClientOptions []kgo.Opt `json:"-"`
}

func (c *SinkConfig) setDefaults() error {
	if len(c.Brokers) == 0 {
		return errors.New("kafka sink: no brokers")
	}
	if c.Topic == "" {
		return errors.New("kafka sink: no topic")
	}
	switch c.Partitioner {
	case "":
		c.Partitioner = ByKey
	case ByKey, ByOrigin, BySubtask, RoundRobin:
	default:
		return fmt.Errorf("kafka sink: partitioner %q: allowed are key, origin, subtask, round-robin", c.Partitioner)
	}
	if _, err := codec(c.Compression); err != nil {
		return err
	}
	if c.LingerMillis < 0 {
		return fmt.Errorf("kafka sink: lingerMillis %d is negative", c.LingerMillis)
	}
	return firstError(
		atLeast("kafka sink: batchBytes", &c.BatchBytes, 1_000_000),
		atLeast("kafka sink: bufferRecords", &c.BufferRecords, 32<<10),
		atLeast("kafka sink: bufferBytes", &c.BufferBytes, 32<<20),
		atLeast("kafka sink: deliveryMillis", &c.DeliveryMillis, 120_000),
		atLeast("kafka sink: transactionMillis", &c.TransactionMillis, 60_000),
	)
}

func codec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "", "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("kafka sink: compression %q: allowed are none, gzip, snappy, lz4, zstd", name)
}

// atLeast sets a default for zero and refuses what is below one, and what the
// protocol's 32 bits cannot hold.
func atLeast(name string, v *int, def int) error {
	if *v == 0 {
		*v = def
	}
	if *v < 1 {
		return fmt.Errorf("%s is %d: must be at least 1", name, *v)
	}
	if *v > math.MaxInt32 {
		return fmt.Errorf("%s is %d: must be at most %d", name, *v, math.MaxInt32)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
