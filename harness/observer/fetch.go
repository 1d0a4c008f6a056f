package observer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/clock"
	"streamduel/connectors/kafka/recordbatch"
)

// Bounds of one fetch: small enough for caches, large enough that the requests
// cost little at full speed.
const (
	fetchBytes     = 1 << 20
	partitionBytes = 256 << 10
)

// fetchWait is how long the broker may hold a fetch that finds nothing. It
// bounds how late a newly found partition joins the fetch under way.
const fetchWait = 100 * time.Millisecond

// Pauses after what did not work.
const (
	retryFirst = 5 * time.Millisecond
	retryLast  = 250 * time.Millisecond
)

const noLeader = -1

// part is a partition as one view reads it. It is guarded by view.mu.
type part struct {
	topic  int // index in Observer.topics
	number int32
	id     [16]byte // of its topic
	leader int32
	epoch  int32 // of the leader
	dead   bool  // an error ended its observation

	// at is where the next fetch begins, tail the epoch in which the record
	// before was written, -1 if not known.
	at   int64
	tail int32
	// owner is the node that fetches it or hands over rows of it, held once for
	// each. No other may have it until then: rows must stay in order when the
	// leader moves.
	owner *node
	held  int

	next int64 // below this offset the ledger was told everything
	lag  int64 // records behind the end of what the view may see
}

// node is one broker that leads partitions. One goroutine keeps one fetch under
// way there and hands over what it brings, so that a row passes from the socket
// to the ledger without changing goroutines.
type node struct {
	v    *view
	id   int32
	addr string        // guarded by view.mu
	kick chan struct{} // capacity 1: there may be something to fetch

	conn    *conn
	req     kmsg.FetchRequest
	resp    kmsg.FetchResponse
	sent    int64 // when the fetch under way was sent
	turn    int   // whose turn it is to be first in a request
	flying  []flight
	landed  []flight
	answers []answer
	timer   *time.Timer
	tries   atomic.Int64 // failures since the last answer
}

// flight is a partition's part in a fetch.
type flight struct {
	p    *part
	from int64
}

// answer is what a fetch brought of one partition.
type answer struct {
	p       *part
	from    int64
	batches []byte
	aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction
	end     int64 // of what the view may see
}

func newNode(v *view, id int32, addr string) *node {
	n := &node{v: v, id: id, addr: addr, kick: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	n.req = kmsg.NewFetchRequest()
	n.req.MaxWaitMillis = int32(fetchWait.Milliseconds())
	n.req.MinBytes = 1
	n.req.MaxBytes = fetchBytes
	n.req.SessionEpoch = -1 // no session: partitions come and go
	if v.isolation == Committed {
		n.req.IsolationLevel = 1
	}
	return n
}

// run fetches until the context ends. What can be got over is tried again for
// as long as it takes: nothing is lost by it, and should it last, the output is
// not read to its end and an audit says so.
func (n *node) run(ctx context.Context) {
	defer n.timer.Stop()
	for ctx.Err() == nil {
		n.v.mu.Lock()
		addr := n.addr
		n.v.mu.Unlock()
		c, err := dial(ctx, addr, clientID(n.v.isolation))
		if err == nil {
			n.conn = c
			stop := context.AfterFunc(ctx, c.close)
			err = n.fetch(ctx)
			stop()
			c.close()
		}
		n.drop(&n.flying)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errVersions) {
			n.v.o.fail(fmt.Errorf("observer (%s): %w", n.v.isolation, err))
			return
		}
		// The broker is gone, perhaps for good: somebody else may lead by now.
		n.v.o.cfg.Log.Debug("fetch", "isolation", n.v.isolation, "broker", n.id, "err", err)
		signal(n.v.o.look)
		n.rest(ctx, min(retryFirst<<min(n.tries.Add(1)-1, 10), retryLast))
	}
}

// fetch uses a connection until it fails. The next fetch is under way while the
// rows of the last are handed over.
func (n *node) fetch(ctx context.Context) error {
	for {
		if len(n.flying) == 0 {
			if err := n.send(); err != nil {
				return err
			}
			if len(n.flying) == 0 {
				select {
				case <-n.kick:
					continue
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		body, err := n.conn.receive(n.req.Version >= 12)
		if err != nil {
			return err
		}
		at := clock.Mono()
		n.tries.Store(0)
		n.resp.Version = n.req.Version
		if err := n.resp.ReadFrom(body); err != nil {
			return fmt.Errorf("an answer to a fetch: %w", err)
		}
		n.landed, n.flying = n.flying, n.landed[:0]
		again := n.sort()
		pace := n.v.pace - time.Duration(at-n.sent)
		if throttle := time.Duration(n.resp.ThrottleMillis) * time.Millisecond; throttle > 0 {
			pace = max(pace, throttle)
		}
		if again {
			pace = max(pace, retryFirst)
		}
		n.rest(ctx, pace)
		err = n.send()
		if len(n.answers) > 0 {
			n.v.take(at, n.answers)
		}
		n.drop(&n.landed)
		if err != nil {
			return err
		}
	}
}

// rest waits, unless there is no time to.
func (n *node) rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	n.timer.Reset(d)
	select {
	case <-n.timer.C:
	case <-ctx.Done():
	}
}

// send sends the next fetch, if there is anything to fetch.
func (n *node) send() error {
	if !n.build() {
		return nil
	}
	n.req.Version = n.conn.fetch
	n.sent = clock.Mono()
	return n.conn.send(&n.req)
}

// build makes the next request of all partitions that may be fetched here. They
// take turns at being first, because a broker fills its answer in their order
// and may run out of room.
func (n *node) build() bool {
	n.v.mu.Lock()
	defer n.v.mu.Unlock()
	for _, parts := range n.v.parts {
		for _, p := range parts {
			if p.leader != n.id || p.dead || p.owner != nil && p.owner != n {
				continue
			}
			p.owner = n
			p.held++
			n.flying = append(n.flying, flight{p, p.at})
		}
	}
	if len(n.flying) == 0 {
		return false
	}
	n.turn++
	n.req.Topics = n.req.Topics[:0]
	for i := range n.flying {
		p := n.flying[(i+n.turn)%len(n.flying)].p
		name := n.v.o.topics[p.topic].name // older brokers give no ids
		k := slices.IndexFunc(n.req.Topics, func(t kmsg.FetchRequestTopic) bool { return t.Topic == name })
		if k < 0 {
			k = len(n.req.Topics)
			n.req.Topics = slices.Grow(n.req.Topics, 1)[:k+1] // its partitions' room is used again
			t := &n.req.Topics[k]
			t.Topic, t.TopicID, t.Partitions = name, p.id, t.Partitions[:0]
		}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = p.number, p.at, partitionBytes
		rp.CurrentLeaderEpoch, rp.LastFetchedEpoch = p.epoch, p.tail
		n.req.Topics[k].Partitions = append(n.req.Topics[k].Partitions, rp)
	}
	return true
}

// drop gives partitions up that were in a fetch.
func (n *node) drop(flights *[]flight) {
	n.v.mu.Lock()
	defer n.v.mu.Unlock()
	for _, f := range *flights {
		if f.p.held--; f.p.held > 0 {
			continue
		}
		f.p.owner = nil
		if other := n.v.nodes[f.p.leader]; other != nil && other != n {
			signal(other.kick)
		}
	}
	*flights = (*flights)[:0]
}

// sort makes answers of a response and moves the positions on. It reports
// whether the next fetch had better wait a little.
func (n *node) sort() (again bool) {
	v := n.v
	clear(n.answers)
	n.answers = n.answers[:0]
	if err := kerr.ErrorForCode(n.resp.ErrorCode); err != nil {
		if !kerr.IsRetriable(err) {
			v.o.fail(fmt.Errorf("observer (%s): fetch from broker %d: %w", v.isolation, n.id, err))
		}
		return true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range n.resp.Topics {
		t := &n.resp.Topics[i]
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			k := slices.IndexFunc(n.landed, func(f flight) bool {
				return f.p.number == rp.Partition && (n.resp.Version >= 13 && f.p.id == t.TopicID ||
					n.resp.Version < 13 && v.o.topics[f.p.topic].name == t.Topic)
			})
			if k < 0 || n.landed[k].p.dead {
				continue
			}
			p := n.landed[k].p
			if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
				again = v.trouble(p, err) || again
				continue
			}
			if rp.DivergingEpoch.EndOffset >= 0 {
				v.end(p, fmt.Errorf("the broker lost what was read: its records of epoch %d end at offset %d",
					rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset))
				continue
			}
			a := answer{p: p, from: p.at, end: rp.HighWatermark, aborted: rp.AbortedTransactions}
			if v.isolation == Committed {
				a.end = rp.LastStableOffset
			}
			a.batches = p.advance(rp.RecordBatches)
			n.answers = append(n.answers, a)
		}
	}
	return again
}

// advance moves the position behind the whole batches and returns them. What is
// in them, checksums included, is looked at when they are handed over.
func (p *part) advance(b []byte) []byte {
	whole := 0
	for {
		size := recordbatch.Len(b[whole:])
		if size == 0 {
			return b[:whole]
		}
		p.at = max(p.at, recordbatch.Last(b[whole:])+1)
		p.tail = recordbatch.LeaderEpoch(b[whole:])
		whole += size
	}
}

// trouble sorts a partition's error into those that end its observation and
// those that another try gets over. It reports whether that one had better wait
// a little. REQUIRES: v.mu.
func (v *view) trouble(p *part, err error) (again bool) {
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		v.end(p, fmt.Errorf("%w: records were deleted before they were read", err))
		return false
	case errors.Is(err, kerr.FencedLeaderEpoch), errors.Is(err, kerr.UnknownLeaderEpoch), errors.Is(err, kerr.UnknownTopicID),
		errors.Is(err, kerr.InconsistentTopicID), kerr.IsRetriable(err):
		// Whatever it is, another look at who leads does no harm. Until then
		// nobody is asked.
		v.o.cfg.Log.Debug("fetch", "isolation", v.isolation, "partition", v.name(p), "err", err)
		p.leader = noLeader
		signal(v.o.look)
		return true
	default:
		v.end(p, err)
		return false
	}
}

// end ends the observation of a partition. REQUIRES: v.mu.
func (v *view) end(p *part, err error) {
	p.dead = true
	v.o.fail(fmt.Errorf("observer (%s): %s at offset %d: %w", v.isolation, v.name(p), p.at, err))
}

func (v *view) name(p *part) string { return fmt.Sprintf("%s/%d", v.o.topics[p.topic].name, p.number) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
