package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
	"streamduel/connectors/kafka/recordbatch"
)

// node is one broker that leads assigned partitions.
type node struct {
	id   int32
	kick chan struct{} // capacity 1: there may be something to fetch
}

// flight is a partition's part in a fetch under way.
type flight struct {
	s    *split
	gen  int
	from int64
}

// fetchFrom keeps one fetch under way at one broker.
func (r *reader) fetchFrom(n *node) {
	var (
		flights []flight
		bo      backoff
		failing trouble
		first   int
	)
	for {
		var req *kmsg.FetchRequest
		req, flights = r.request(n, first, flights[:0])
		first++
		if req == nil {
			select {
			case <-n.kick:
				continue
			case <-r.ctx.Done():
				return
			}
		}
		began := time.Now()
		resp, err := r.cl.Broker(int(n.id)).Request(r.ctx, req)
		if r.ctx.Err() != nil {
			return
		}
		if err == nil {
			failing = trouble{}
			if r.receive(flights, resp.(*kmsg.FetchResponse)) {
				bo.wait(r.ctx) //nolint:errcheck // the loop sees the context
			} else {
				bo = backoff{}
			}
			continue
		}
		// The broker is gone, perhaps for good: somebody else may lead by now.
		if failing.over(began, time.Now(), r.cfg.patience()) {
			r.fail(fmt.Errorf("kafka: broker %d does not answer since %s: %w", n.id, failing.since.UTC().Format(time.RFC3339), err))
			return
		}
		r.mu.Lock()
		for _, f := range flights {
			if f.gen == f.s.gen {
				f.s.fetching, f.s.leader = false, noLeader
			}
		}
		r.mu.Unlock()
		signal(r.look)
		bo.wait(r.ctx) //nolint:errcheck // the loop sees the context
	}
}

// trouble is since when something has failed, with no success between. The zero
// value is that of a success.
type trouble struct{ since, last time.Time }

// over notes that an attempt has failed and reports whether all of them have for
// longer than patience. A time longer than that, and than any wait between two
// attempts, in which there was nothing to ask for ends a trouble: nobody knows
// whether it lasted.
func (t *trouble) over(began, now time.Time, patience time.Duration) bool {
	if t.since.IsZero() || began.Sub(t.last) > patience+time.Second {
		t.since = now
	}
	t.last = now
	return now.Sub(t.since) > patience
}

// request builds the next fetch, or none. Partitions take turns at being first,
// because a broker fills its answer in their order and may run out of room.
func (r *reader) request(n *node, first int, flights []flight) (*kmsg.FetchRequest, []flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := r.cfg.FetchWaitMillis
	for _, s := range r.splits {
		if !s.active || s.leader != n.id || s.fetching || s.fetchPos >= s.until {
			continue
		}
		if s.queued >= r.cfg.PartitionBytes {
			// It will want more in a moment and must not wait long for a fetch
			// that only idle partitions take part in.
			wait = min(wait, 5)
			continue
		}
		flights = append(flights, flight{s: s, gen: s.gen, from: s.fetchPos})
	}
	if len(flights) == 0 {
		return nil, flights
	}
	slices.SortFunc(flights, func(a, b flight) int {
		if a.s.topic != b.s.topic {
			if a.s.topic < b.s.topic {
				return -1
			}
			return 1
		}
		return int(a.s.Partition) - int(b.s.Partition)
	})
	if k := first % len(flights); k > 0 {
		turned := slices.Concat(flights[k:], flights[:k])
		copy(flights, turned)
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(wait)
	req.MinBytes = 1
	req.MaxBytes = int32(r.cfg.FetchBytes)
	req.IsolationLevel = r.cfg.Isolation.level()
	req.SessionEpoch = -1 // no session: partitions come and go with every range
	for i := range flights {
		s := flights[i].s
		s.fetching = true
		k := slices.IndexFunc(req.Topics, func(t kmsg.FetchRequestTopic) bool { return t.Topic == s.topic })
		if k < 0 {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = s.topic, s.topicID
			req.Topics = append(req.Topics, t)
			k = len(req.Topics) - 1
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = s.Partition
		p.FetchOffset = s.fetchPos
		p.PartitionMaxBytes = s.maxBytes
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, p)
	}
	return req, flights
}

// receive puts a fetch's answer where Poll finds it. It reports whether the
// next fetch had better wait a little.
func (r *reader) receive(flights []flight, resp *kmsg.FetchResponse) (pause bool) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		r.fail(fmt.Errorf("kafka: fetch: %w", err))
		return true
	}
	var look bool
	r.mu.Lock()
	for _, f := range flights {
		if f.gen == f.s.gen {
			f.s.fetching = false
		}
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			k := slices.IndexFunc(flights, func(f flight) bool {
				return f.s.Partition == p.Partition &&
					(resp.Version >= 13 && f.s.topicID == t.TopicID || resp.Version < 13 && f.s.topic == t.Topic)
			})
			if k < 0 || flights[k].gen != flights[k].s.gen {
				continue
			}
			s := flights[k].s
			err := kerr.ErrorForCode(p.ErrorCode)
			switch {
			case err == nil:
				s.lost = trouble{}
				if err := s.append(p, r.cfg.Isolation); err != nil {
					r.setErr(s.fetchError(err))
				}
			case errors.Is(err, kerr.OffsetOutOfRange):
				r.mu.Unlock()
				err := r.outOfRange(s, flights[k].from)
				r.mu.Lock()
				if flights[k].gen == s.gen { // it has not been moved meanwhile
					r.setErr(err)
				}
			case staleMetadata(err), kerr.IsRetriable(err), errors.Is(err, kerr.OffsetNotAvailable):
				// The metadata may go on naming a leader that refuses: an election takes
				// a while, a disk is gone for good.
				pause = true
				if staleMetadata(err) {
					s.leader, look = noLeader, true
				}
				now := time.Now()
				if s.lost.over(now, now, r.cfg.patience()) {
					r.setErr(s.fetchError(fmt.Errorf("for %s: %w", r.cfg.patience(), err)))
				}
			default:
				r.setErr(s.fetchError(err))
			}
		}
	}
	r.mu.Unlock()
	if look {
		signal(r.look)
	}
	signal(r.ready)
	return pause
}

// setErr ends the reader. REQUIRES: r.mu.
func (r *reader) setErr(err error) {
	if r.err == nil && err != nil {
		r.err = err
	}
}

// fetchError says where the split is fetched; how far Poll has come is not for
// this goroutine to read. REQUIRES: reader.mu.
func (s *split) fetchError(err error) error {
	return fmt.Errorf("kafka: %s at position %d: %w", s.ID, s.fetchPos, err)
}

// chunk is what one fetch returned of one partition: whole, checked batches.
type chunk struct {
	batches []byte
	latest  int64
	aborted recordbatch.Aborted
}

// append checks the whole batches of a fetched partition and queues them.
// REQUIRES: reader.mu.
func (s *split) append(p *kmsg.FetchResponseTopicPartition, iso Isolation) error {
	s.latest = p.LastStableOffset
	if iso == ReadUncommitted || s.latest < 0 {
		s.latest = p.HighWatermark
	}
	var whole int
	for b := p.RecordBatches; ; {
		n := recordbatch.Len(b)
		if n == 0 {
			break
		}
		next, err := recordbatch.Check(b[:n])
		if err != nil {
			return err
		}
		s.fetchPos = max(s.fetchPos, next)
		whole += n
		b = b[n:]
	}
	if whole == 0 {
		if len(p.RecordBatches) > 0 { // not even one whole batch: ask for more
			if s.maxBytes > 1<<29 {
				return fmt.Errorf("record batch longer than %d bytes", s.maxBytes)
			}
			s.maxBytes *= 2
		}
		return nil
	}
	c := chunk{batches: p.RecordBatches[:whole], latest: s.latest}
	if iso != ReadUncommitted {
		c.aborted.Reset(p.AbortedTransactions)
	}
	s.queue = append(s.queue, c)
	s.queued += whole
	return nil
}

// outOfRange says what became of a position that the broker refuses. Nothing
// is ever read from another position instead.
func (r *reader) outOfRange(s *split, from int64) error {
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	bounds, err := listBounds(ctx, r.cl, r.cfg.Isolation, []connectors.SplitID{s.ID}, nil)
	if err != nil {
		return fmt.Errorf("kafka: topic %s partition %d: position %d is out of range", s.topic, s.Partition, from)
	}
	b := bounds[s.ID]
	return fmt.Errorf("kafka: topic %s partition %d: position %d is out of range: records %d to %d are there; what lay at the position was deleted or never written",
		s.topic, s.Partition, from, b.Earliest, b.Latest)
}

// findLeaders looks up the leaders of splits that have none, for as long as
// there are any.
func (r *reader) findLeaders() {
	var bo backoff
	for {
		topics := r.leaderless()
		if len(topics) == 0 {
			bo = backoff{}
			select {
			case <-r.look:
				continue
			case <-r.ctx.Done():
				return
			}
		}
		metas, err := requestMetadata(r.ctx, r.cl, topics)
		if r.ctx.Err() != nil {
			return
		}
		if err != nil {
			r.fail(err)
			return
		}
		if r.assignLeaders(metas) {
			continue
		}
		if bo.wait(r.ctx) != nil {
			return
		}
	}
}

func (r *reader) leaderless() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var topics []string
	for _, s := range r.splits {
		if s.active && s.leader == noLeader && !slices.Contains(topics, s.topic) {
			topics = append(topics, s.topic)
		}
	}
	return topics
}

// assignLeaders gives splits to their brokers and reports whether all have one.
func (r *reader) assignLeaders(metas map[string]*topicMeta) (all bool) {
	all = true
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.splits {
		if s.leader != noLeader || !s.active {
			continue
		}
		m := metas[s.topic]
		leader, ok := int32(noLeader), false
		if m != nil {
			if s.known && m.id != s.topicID || s.Incarnation != "" && m.incarnation() != "" && m.incarnation() != s.Incarnation {
				r.setErr(fmt.Errorf("kafka: topic %s partition %d at position %d: the topic was deleted and created again", s.topic, s.Partition, s.fetchPos))
				signal(r.ready)
				continue
			}
			leader, ok = m.leaders[s.Partition]
		}
		if !ok {
			all = false
			now := time.Now()
			if s.lost.over(now, now, r.cfg.patience()) {
				r.setErr(fmt.Errorf("kafka: topic %s partition %d at position %d: brokers do not know it, or it has no leader, since %s",
					s.topic, s.Partition, s.fetchPos, r.cfg.patience()))
				signal(r.ready)
			}
			continue
		}
		s.leader, s.topicID, s.known = leader, m.id, true
		n := r.nodes[leader]
		if n == nil {
			n = &node{id: leader, kick: make(chan struct{}, 1)}
			r.nodes[leader] = n
			r.wg.Go(func() { r.fetchFrom(n) })
		}
		signal(n.kick)
	}
	return all
}
