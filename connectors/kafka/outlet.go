package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// outlet hands one goroutine's records to a client and settles them when the
// client answers. It owns what the records are made of: record structs and the
// slabs that hold their bytes go round between the writing goroutine and the
// client's answers, so that a record costs no allocation.
//
// It also bounds what is in flight. The client's own bound is not used: it ties
// a buffered record's life to the context of its Write and starts a goroutine
// each time it blocks.
type outlet struct {
	topic     string
	node      string
	byOrigin  bool
	addHeader bool
	every     int64 // of a partition's inputs, those whose outputs get the header
	lane      *connectors.Lane
	acked     func(connectors.Origin)
	patience  time.Duration // without any answer, while somebody waits for one
	maxRecs   int64
	maxBytes  int64
	promise   func(*kgo.Record, error)
	room      chan struct{} // capacity 1
	track     bool          // remember where an epoch's first record went
	aborting  atomic.Bool   // failures are wanted
	failure   atomic.Pointer[error]

	// From here on the sides are kept apart, each on cache lines of its own: a
	// line that both write costs more than the record's copy. These are the
	// writing goroutine's.
	_    [64]byte
	free []*pooled
	slab *slab
	// filled and taken are the slab's: how many bytes of it are given out, to how
	// many records.
	filled int
	taken  int32
	// seen and seenBytes are what had settled when last looked.
	seen, seenBytes int64
	written         atomic.Int64
	writtenBytes    atomic.Int64

	// These are of the client's goroutine that settles; the writing one comes by
	// now and then.
	_        [64]byte
	settled  atomic.Int64
	setBytes atomic.Int64
	sampled  atomic.Pointer[place]
	waiting  atomic.Bool
	mu       sync.Mutex
	returned []*pooled
	slabs    []*slab
}

// pooled is a record on its way. It is its own record's context, which is how
// the client's answer, a *kgo.Record, leads back to it.
type pooled struct {
	context.Context
	rec    kgo.Record
	size   int64
	slab   *slab
	origin connectors.Origin
}

// slab holds the bytes of many records. What is owed goes down with each record
// that is settled, below nothing while the slab is being filled, and up by all of
// them when it is full: it is free when nothing is owed, and the writing goroutine
// touches the count once.
type slab struct {
	buf  []byte
	owed atomic.Int32
}

// place is where an acknowledged record lies and who wrote it.
type place struct {
	partition int32
	offset    int64
	producer  int64
	epoch     int16
}

const slabSize = 64 << 10

func newOutlet(cfg *SinkConfig, env connectors.WriterEnv) *outlet {
	o := &outlet{
		topic: cfg.Topic, node: env.Node,
		byOrigin: cfg.Partitioner == ByOrigin, addHeader: cfg.OriginHeader, every: max(cfg.OriginEvery, 1),
		lane: env.Gate.Lane(), acked: env.Acked,
		patience: time.Duration(cfg.DeliveryMillis) * time.Millisecond,
		maxRecs:  int64(cfg.BufferRecords), maxBytes: int64(cfg.BufferBytes),
		room: make(chan struct{}, 1),
	}
	o.promise = o.settle
	return o
}

// inFlight is what was written and has no answer yet.
func (o *outlet) inFlight() (records, bytes int64) {
	// The settled side is read first, so that the difference is never negative.
	s, sb := o.settled.Load(), o.setBytes.Load()
	return o.written.Load() - s, o.writtenBytes.Load() - sb
}

// err is the first failure of a record; nothing can be written after it.
func (o *outlet) err() error {
	if p := o.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// write passes the gate, copies the record and gives it to the client.
func (o *outlet) write(ctx context.Context, cl *kgo.Client, r *connectors.Record, or *connectors.Origin) error {
	if err := o.err(); err != nil {
		return err
	}
	if o.byOrigin && or == nil {
		return fmt.Errorf("kafka sink %s: partitioner origin needs records that carry an origin", o.node)
	}
	if o.full() {
		if err := o.waitForRoom(ctx); err != nil {
			return err
		}
	}
	if err := o.lane.Enter(ctx); err != nil {
		return err
	}
	p := o.get()
	o.fill(p, r, or)
	o.written.Store(o.written.Load() + 1) // only this goroutine writes it
	o.writtenBytes.Store(o.writtenBytes.Load() + p.size)
	cl.Produce(context.Background(), &p.rec, o.promise)
	return nil
}

// full is the writing goroutine's. It looks at what has settled only when what it
// saw last is not enough.
func (o *outlet) full() bool {
	if o.written.Load()-o.seen < o.maxRecs && o.writtenBytes.Load()-o.seenBytes < o.maxBytes {
		return false
	}
	o.seen, o.seenBytes = o.settled.Load(), o.setBytes.Load()
	return o.written.Load()-o.seen >= o.maxRecs || o.writtenBytes.Load()-o.seenBytes >= o.maxBytes
}

// waitForRoom blocks until half of the buffer is free: waking for each answer
// would make small batches.
func (o *outlet) waitForRoom(ctx context.Context) error {
	for o.full() {
		o.waiting.Store(true)
		if o.full() && o.err() == nil {
			before := o.settled.Load()
			t := time.NewTimer(o.patience)
			select {
			case <-o.room:
			case <-t.C:
				o.stuck(before)
			case <-ctx.Done():
				t.Stop()
				o.waiting.Store(false)
				return ctx.Err()
			}
			t.Stop()
		}
		o.waiting.Store(false)
		if err := o.err(); err != nil {
			return err
		}
	}
	return nil
}

// get returns a record struct that is not in use.
func (o *outlet) get() *pooled {
	if len(o.free) == 0 {
		o.mu.Lock()
		o.free, o.returned = o.returned, o.free
		o.mu.Unlock()
		if len(o.free) == 0 {
			return &pooled{Context: context.Background()}
		}
	}
	n := len(o.free) - 1
	p := o.free[n]
	o.free = o.free[:n]
	return p
}

// fill copies a record.
func (o *outlet) fill(p *pooled, r *connectors.Record, or *connectors.Origin) {
	withOrigin := o.addHeader && or != nil && (o.every == 1 || or.Sequence%o.every == 0)
	size := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += len(r.Headers[i].Value)
	}
	if withOrigin {
		size += connectors.OriginSize
	}
	buf := o.take(p, size)
	rec := &p.rec
	rec.Key, buf = keep(buf, r.Key)
	rec.Value, buf = keep(buf, r.Value)
	rec.Headers = rec.Headers[:0]
	for i := range r.Headers {
		h := &r.Headers[i]
		if withOrigin && h.Key == connectors.OriginHeader {
			continue // the engine's own is newer
		}
		var v []byte
		v, buf = keep(buf, h.Value)
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: v})
	}
	if withOrigin {
		v := connectors.AppendOrigin(buf[:0:connectors.OriginSize], *or)
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: connectors.OriginHeader, Value: v})
	}
	rec.Topic = o.topic
	rec.Context = p
	rec.Timestamp = time.Time{} // the client's clock
	if r.Timestamp != 0 {
		rec.Timestamp = time.UnixMilli(r.Timestamp)
	}
	if o.byOrigin {
		rec.Partition = or.Partition
	}
	if o.acked != nil {
		p.origin = connectors.Origin{}
		if or != nil {
			p.origin = *or
		}
	}
	p.size = int64(size)
}

// keep copies b to the head of buf and returns the copy and the rest. A nil b
// stays nil: Kafka tells nothing from an empty value.
func keep(buf, b []byte) (kept, rest []byte) {
	if b == nil {
		return nil, buf
	}
	n := copy(buf, b)
	return buf[:n:n], buf[n:]
}

// take returns size bytes of the current slab for p.
func (o *outlet) take(p *pooled, size int) []byte {
	if size > slabSize/4 { // too big to share
		p.slab = nil
		return make([]byte, size)
	}
	if o.slab == nil || slabSize-o.filled < size {
		o.nextSlab()
	}
	o.taken++
	p.slab = o.slab
	at := o.filled
	o.filled += size
	return o.slab.buf[at : at+size : at+size]
}

func (o *outlet) nextSlab() {
	taken := o.taken
	o.filled, o.taken = 0, 0
	if s := o.slab; s != nil && s.owed.Add(taken) == 0 {
		return // everything in it is already answered
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.slabs); n > 0 {
		o.slab = o.slabs[n-1]
		o.slabs = o.slabs[:n-1]
	} else {
		o.slab = &slab{buf: make([]byte, slabSize)}
	}
}

// settle is called by the client once for each record, in order per partition.
func (o *outlet) settle(r *kgo.Record, err error) {
	p := r.Context.(*pooled)
	if err == nil {
		if o.acked != nil {
			o.acked(p.origin)
		}
		if o.track && o.sampled.Load() == nil {
			o.sampled.Store(&place{r.Partition, r.Offset, r.ProducerID, r.ProducerEpoch})
		}
		o.lane.Leave(1, 1)
	} else {
		if !o.aborting.Load() {
			o.fail(fmt.Errorf("kafka sink %s: topic %s partition %d: %w", o.node, r.Topic, r.Partition, err))
		}
		o.lane.Leave(1, 0)
	}
	// The struct may be reused the moment it is returned.
	size, s := p.size, p.slab
	p.slab = nil
	o.mu.Lock()
	o.returned = append(o.returned, p)
	if s != nil && s.owed.Add(-1) == 0 {
		o.slabs = append(o.slabs, s)
	}
	o.mu.Unlock()
	o.setBytes.Add(size)
	o.settled.Add(1)
	if o.waiting.Load() {
		if n, b := o.inFlight(); err != nil || n <= o.maxRecs/2 && b <= o.maxBytes/2 {
			signal(o.room)
		}
	}
}

// flush waits until the client has answered everything.
func (o *outlet) flush(ctx context.Context, cl *kgo.Client) error {
	for {
		before := o.settled.Load()
		wait, cancel := context.WithTimeout(ctx, o.patience)
		err := cl.Flush(wait)
		cancel()
		if err == nil {
			return o.err()
		}
		if ctx.Err() != nil {
			return errors.Join(o.err(), fmt.Errorf("kafka sink %s: flush: %w", o.node, err))
		}
		if o.stuck(before) {
			return o.err()
		}
	}
}

// stuck fails the outlet if nothing was answered since. The client's own limit
// on a record's delivery is of no use here: it counts from the record's
// timestamp, which is whatever the user's data say.
func (o *outlet) stuck(before int64) bool {
	if o.settled.Load() != before {
		return false
	}
	o.fail(fmt.Errorf("kafka sink %s: topic %s: brokers have acknowledged nothing for %s", o.node, o.topic, o.patience))
	return true
}

// fail keeps the first error. It is a function of its own because taking an
// error's address puts it on the heap, in settle for every record.
func (o *outlet) fail(err error) { o.failure.CompareAndSwap(nil, &err) }
