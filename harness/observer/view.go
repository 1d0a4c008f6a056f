package observer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/harness/ledger"
	"streamduel/workloads"
)

// Isolation is what a view sees of transactions.
type Isolation string

// The two isolation levels of Kafka.
const (
	Committed   Isolation = "read_committed"
	Uncommitted Isolation = "read_uncommitted"
)

// view is the output as one isolation level shows it.
type view struct {
	o         *Observer
	isolation Isolation
	ledger    *ledger.Ledger
	client    *kgo.Client
	pool      *recordPool
	arrived   atomic.Int64 // monotonic time of the last fetch response

	rows     []ledger.Observation
	record   connectors.Record
	parseRow func(*connectors.Record, bool, *workloads.Row) error

	mu    sync.Mutex
	next  [][]int64 // by topic and partition
	lag   [][]int64 // records behind the end of what this view may see
	stats Stats
}

// Stats say how well a view kept up.
type Stats struct {
	Isolation Isolation
	Polls     int64
	Rows      int64 // outputs seen, closing rows included
	Bytes     int64 // of keys and values
	LagPeak   int64 // most records that a response left unread
	// HandleMax is the longest that the rows of one poll took to be accounted
	// for: for so long the next rows could wait for their time stamp.
	HandleMax time.Duration
}

// lagNow is the number of records that the view had not read at its last poll.
func (v *view) lagNow() (n int64) {
	for i := range v.lag {
		for _, l := range v.lag[i] {
			n += l
		}
	}
	return n
}

// arrivals notes when fetch responses arrive.
type arrivals struct{ v *view }

var _ kgo.HookBrokerRead = arrivals{}

func (a arrivals) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.Fetch) && err == nil {
		a.v.arrived.Store(clock.Mono())
	}
}

func newView(o *Observer, isolation Isolation, l *ledger.Ledger) (*view, error) {
	v := &view{o: o, isolation: isolation, ledger: l, parseRow: l.Parse(), pool: newRecordPool(),
		rows: make([]ledger.Observation, 0, rowsAtOnce),
		next: make([][]int64, len(o.topics)), lag: make([][]int64, len(o.topics))}
	if o.cfg.Parse != nil {
		v.parseRow = o.cfg.Parse
	}
	v.stats.Isolation = isolation
	level := kgo.ReadUncommitted()
	if isolation == Committed {
		level = kgo.ReadCommitted()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(o.cfg.Brokers...),
		kgo.ClientID("streamduel-observer-"+string(isolation)),
		kgo.FetchIsolationLevel(level),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxWait(fetchWait),
		// Small enough for caches and pools, large enough that the requests
		// cost little at full speed.
		kgo.FetchMaxBytes(1<<20),
		kgo.FetchMaxPartitionBytes(256<<10),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.MetadataMinAge(100*time.Millisecond),
		kgo.MetadataMaxAge(5*time.Second),
		kgo.WithHooks(arrivals{v}),
		// Markers are records here, so that a position says what was read and
		// not where the last row was.
		kgo.KeepControlRecords(),
		kgo.WithPools(v.pool),
		// Nothing is written: the default would set compressors up.
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		return nil, fmt.Errorf("observer: %w", err)
	}
	v.client = client
	return v, nil
}

// run polls until the context ends.
func (v *view) run(ctx context.Context) {
	pace := v.o.cfg.Pace
	if v.isolation == Uncommitted {
		pace = v.o.cfg.UncommittedPace
	}
	rest := time.NewTimer(time.Hour)
	defer rest.Stop()
	for ctx.Err() == nil {
		fetches := v.client.PollFetches(ctx)
		now := clock.Mono()
		// The hook's time is that of the last response, which is the one polled
		// unless another came in since; it is never later than now.
		at := min(now, v.arrived.Load())
		if at == 0 {
			at = now
		}
		v.take(at, fetches)
		handled := time.Duration(clock.Mono() - now)
		v.mu.Lock()
		v.stats.HandleMax = max(v.stats.HandleMax, handled)
		v.mu.Unlock()
		if left := pace - handled; left > 0 {
			rest.Reset(left)
			select {
			case <-ctx.Done():
				return
			case <-rest.C:
			}
		}
	}
}

// rowsAtOnce bounds the rows that wait for the ledger, so that they stay in the
// processor's cache however long a fetch is.
const rowsAtOnce = 256

// take hands the rows of one poll to the ledger.
func (v *view) take(at int64, fetches kgo.Fetches) {
	v.rows = v.rows[:0]
	var bytes, rows int64
	v.mu.Lock()
	defer v.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if p.Err != nil {
			v.trouble(p)
		}
		i := v.o.topicIndex(p.Topic)
		if i < 0 || int(p.Partition) >= len(v.next[i]) {
			return
		}
		for _, r := range p.Records {
			if r.Attrs.IsControl() {
				continue
			}
			rows++
			bytes += int64(len(r.Key) + len(r.Value))
			v.parse(at, r, v.o.topics[i].late)
			if len(v.rows) == rowsAtOnce {
				v.ledger.Observe(at, v.rows)
				v.rows = v.rows[:0]
			}
		}
		if n := len(p.Records); n > 0 {
			v.next[i][p.Partition] = p.Records[n-1].Offset + 1
		}
		end := p.HighWatermark
		if v.isolation == Committed {
			end = p.LastStableOffset
		}
		v.lag[i][p.Partition] = max(0, end-v.next[i][p.Partition])
	})
	v.ledger.Observe(at, v.rows)
	// Only now: rows alias the records.
	fetches.EachPartition(func(p kgo.FetchTopicPartition) { v.pool.putBatches(p.Records) })
	v.stats.Polls++
	v.stats.Rows += rows
	v.stats.Bytes += bytes
	v.stats.LagPeak = max(v.stats.LagPeak, v.lagNow())
}

// parse appends the row of one record.
func (v *view) parse(at int64, r *kgo.Record, late bool) {
	rec := &v.record
	rec.Key, rec.Value, rec.Offset = r.Key, r.Value, r.Offset
	rec.Timestamp = r.Timestamp.UnixMilli()
	rec.Headers = rec.Headers[:0]
	for _, h := range r.Headers {
		rec.Headers = append(rec.Headers, connectors.Header{Key: h.Key, Value: h.Value})
	}
	v.rows = append(v.rows, ledger.Observation{})
	o := &v.rows[len(v.rows)-1]
	o.Output, o.Offset, o.Late = r.Partition, r.Offset, late
	if err := v.parseRow(rec, late, &o.Row); err != nil {
		v.rows = v.rows[:len(v.rows)-1]
		v.ledger.Malformed(at, r.Partition, r.Offset, err)
		return
	}
	if len(rec.Headers) > 0 {
		if origin, ok := connectors.FindOrigin(rec.Headers); ok {
			o.Intake = origin.Intake
		}
	}
}

// trouble sorts a fetch's error into those that end the observation of a
// partition and those that the client gets over by trying again. Of the latter
// nothing is lost: should they last, the output is not read to its end, and an
// audit says so.
func (v *view) trouble(p kgo.FetchTopicPartition) {
	var (
		broker *kerr.Error
		loss   *kgo.ErrDataLoss
	)
	if errors.As(p.Err, &loss) || errors.As(p.Err, &broker) && !broker.Retriable {
		v.o.fail(fmt.Errorf("observer (%s): %s/%d: %w", v.isolation, p.Topic, p.Partition, p.Err))
		return
	}
	if !errors.Is(p.Err, context.Canceled) && !errors.Is(p.Err, kgo.ErrClientClosed) {
		v.o.cfg.Log.Debug("fetch", "isolation", v.isolation, "topic", p.Topic, "partition", p.Partition, "err", p.Err)
	}
}

func (o *Observer) topicIndex(name string) int {
	for i := range o.topics {
		if o.topics[i].name == name {
			return i
		}
	}
	return -1
}

// Stats returns how the views kept up, read_committed first.
func (o *Observer) Stats() []Stats {
	var all []Stats
	for _, v := range o.views {
		v.mu.Lock()
		all = append(all, v.stats)
		v.mu.Unlock()
	}
	return all
}

// Lag returns how many records the slowest view has not read, as of its last
// poll.
func (o *Observer) Lag() (n int64) {
	for _, v := range o.views {
		v.mu.Lock()
		n = max(n, v.lagNow())
		v.mu.Unlock()
	}
	return n
}
