package observer

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/connectors/kafka/recordbatch"
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

func clientID(i Isolation) string { return "streamduel-observer-" + string(i) }

// view is the output as one isolation level shows it.
type view struct {
	o         *Observer
	isolation Isolation
	ledger    *ledger.Ledger
	pace      time.Duration // between two fetches from one broker

	// handing is held while the rows of an answer are handed over: each of the
	// brokers brings its own. It guards the next block.
	handing  sync.Mutex
	rows     []ledger.Observation
	record   connectors.Record
	iter     recordbatch.Iter
	aborted  recordbatch.Aborted
	headers  recordbatch.Headers
	dec      kgo.Decompressor
	parseRow func(*connectors.Record, bool, *workloads.Row) error

	mu    sync.Mutex
	parts [][]*part // by topic and partition
	nodes map[int32]*node
	stats Stats
}

// Stats say how well a view kept up.
type Stats struct {
	Isolation Isolation
	Polls     int64 // answers of brokers
	Rows      int64 // outputs seen, closing rows included
	Bytes     int64 // of keys and values
	LagPeak   int64 // most records that an answer left unread
	// HandleMax is the longest that the rows of one answer took to be accounted
	// for: for so long the next rows could wait for their time stamp.
	HandleMax time.Duration
	// Slow are those that took longer than [SlowHandling].
	Slow []Handled
}

// SlowHandling is what is worth telling, far above what rows usually take.
const SlowHandling = 50 * time.Millisecond

// Handled is how long the rows of an answer took, and when it came (monotonic).
type Handled struct {
	At   int64
	Took time.Duration
}

// lagNow is the number of records that the view had not read at its last fetch.
// REQUIRES: v.mu.
func (v *view) lagNow() (n int64) {
	for _, parts := range v.parts {
		for _, p := range parts {
			n += p.lag
		}
	}
	return n
}

func newView(o *Observer, isolation Isolation, l *ledger.Ledger, pace time.Duration) *view {
	v := &view{o: o, isolation: isolation, ledger: l, pace: pace, parseRow: l.Parse(), dec: kgo.DefaultDecompressor(),
		rows: make([]ledger.Observation, 0, rowsAtOnce), parts: make([][]*part, len(o.topics)), nodes: map[int32]*node{}}
	if o.cfg.Parse != nil {
		v.parseRow = o.cfg.Parse
	}
	v.stats.Isolation = isolation
	return v
}

// rowsAtOnce bounds the rows that wait for the ledger, so that they stay in the
// processor's cache however long a fetch is.
const rowsAtOnce = 256

// take hands the rows of an answer that arrived at the monotonic time at to the
// ledger.
func (v *view) take(at int64, answers []answer) {
	v.handing.Lock()
	defer v.handing.Unlock()
	from := clock.Mono()
	rows, bytes := v.stats.Rows, v.stats.Bytes // written under both locks
	for i := range answers {
		a := &answers[i]
		if err := v.walk(at, a, &rows, &bytes); err != nil {
			v.mu.Lock()
			v.end(a.p, err)
			v.mu.Unlock()
			a.p = nil
		}
	}
	v.flush(at)
	handled := time.Duration(clock.Mono() - from)

	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range answers {
		a := &answers[i]
		if a.p == nil {
			continue
		}
		if len(a.batches) > 0 {
			a.p.next = a.p.at // this node's: it has not looked at a later answer yet
		}
		a.p.lag = max(0, a.end-a.p.next)
	}
	v.stats.Polls++
	v.stats.Rows, v.stats.Bytes = rows, bytes
	v.stats.LagPeak = max(v.stats.LagPeak, v.lagNow())
	v.stats.HandleMax = max(v.stats.HandleMax, handled)
	if handled > SlowHandling {
		v.stats.Slow = append(v.stats.Slow, Handled{at, handled})
	}
}

// walk hands over the rows of one partition. What is wrong with a batch ends
// the observation: what it holds cannot be counted.
func (v *view) walk(at int64, a *answer, rows, bytes *int64) error {
	if v.isolation == Committed {
		v.aborted.Reset(a.aborted)
	}
	rec, from := &v.record, v.o.topics[a.p.topic]
	for b := a.batches; len(b) > 0; {
		batch := b[:recordbatch.Len(b)]
		b = b[len(batch):]
		if _, err := recordbatch.Check(batch); err != nil {
			return err
		}
		if v.aborted.Skip(batch) {
			continue
		}
		if err := v.iter.Open(batch, v.dec); err != nil {
			return err
		}
		if v.iter.Control() {
			continue
		}
		for v.iter.Left() > 0 {
			v.headers.Reset()
			if err := v.iter.Next(rec, &v.headers); err != nil {
				return fmt.Errorf("record batch at offset %d: %w", v.iter.First(), err)
			}
			if rec.Offset < a.from { // the batch began before what was asked for
				continue
			}
			*rows++
			*bytes += int64(len(rec.Key) + len(rec.Value))
			v.parse(at, a.p.number, from)
			if len(v.rows) == rowsAtOnce {
				v.flush(at)
			}
		}
	}
	return nil
}

// flush tells the ledger the rows that wait for it.
func (v *view) flush(at int64) {
	v.ledger.Observe(at, v.rows)
	v.rows = v.rows[:0]
}

// parse appends the row of the record at hand.
func (v *view) parse(at int64, partition int32, from topic) {
	rec := &v.record
	v.rows = append(v.rows, ledger.Observation{Output: partition, Offset: rec.Offset, Late: from.late, Dead: from.dead})
	o := &v.rows[len(v.rows)-1]
	var err error
	if from.dead {
		err = v.ledger.ParseDead(rec, &o.Row)
	} else {
		err = v.parseRow(rec, from.late, &o.Row)
	}
	if err != nil {
		v.rows = v.rows[:len(v.rows)-1]
		v.ledger.Malformed(at, partition, rec.Offset, err)
		return
	}
	if len(rec.Headers) > 0 {
		if origin, ok := connectors.FindOrigin(rec.Headers); ok {
			o.Intake = origin.Intake
		}
	}
}

// Stats returns how the views kept up, read_committed first.
func (o *Observer) Stats() []Stats {
	var all []Stats
	for _, v := range o.views {
		v.mu.Lock()
		s := v.stats
		s.Slow = slices.Clone(s.Slow)
		all = append(all, s)
		v.mu.Unlock()
	}
	return all
}

// Lag returns how many records the slowest view has not read, as of its last
// fetches.
func (o *Observer) Lag() (n int64) {
	for _, v := range o.views {
		v.mu.Lock()
		n = max(n, v.lagNow())
		v.mu.Unlock()
	}
	return n
}
