package kafka

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/connectors/kafka/recordbatch"
)

// reader fetches partitions with requests of its own making. The client's
// consumer is not used: it hides positions (those of transaction markers and
// aborted records), waits for its metadata to age before it sees a new
// partition, and finds a position itself when the wanted one is gone. Here a
// position is exactly what a fetch asked for and what its answer covered.
//
// One goroutine per broker keeps one fetch under way there; Poll decodes what
// they brought. A partition takes part in a fetch as long as less than
// PartitionBytes of it lie undecoded and its end is not reached.
type reader struct {
	cfg    SourceConfig
	cl     *kgo.Client
	env    connectors.Env
	dec    kgo.Decompressor
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	ready chan struct{} // capacity 1: something for Poll
	wake  chan struct{} // capacity 1: Wake was called
	look  chan struct{} // capacity 1: a split has no leader

	mu      sync.Mutex
	splits  map[connectors.SplitID]*split
	order   []*split // assigned ones, in the order of assignment
	turn    int      // whose turn it is in Poll
	nodes   map[int32]*node
	err     error
	changed bool // REQUIRES mu: order must be rebuilt

	batch   connectors.Batch
	records []connectors.Record
	headers recordbatch.Headers
}

// split is a partition and what was fetched of it. Its first block belongs to
// reader.mu, its second to Poll's goroutine.
type split struct {
	connectors.Split
	topic    string
	active   bool
	gen      int // counts seeks; an answer to an older fetch is dropped
	leader   int32
	topicID  [16]byte
	known    bool // topicID is known
	fetchPos int64
	until    int64
	queue    []chunk
	queued   int // bytes in queue
	latest   int64
	told     bool // Done was reported
	fetching bool
	maxBytes int32
	lost     trouble // brokers do not know it, or refuse to serve it

	pos  int64 // what the last batch reported as Next
	cur  chunk
	iter recordbatch.Iter
}

var _ connectors.Reader = (*reader)(nil)

const noLeader = -1

func newReader(cfg SourceConfig, env connectors.Env, cl *kgo.Client) *reader {
	r := &reader{
		cfg: cfg, cl: cl, env: env, dec: kgo.DefaultDecompressor(),
		ready:   make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		look:    make(chan struct{}, 1),
		splits:  make(map[connectors.SplitID]*split),
		nodes:   make(map[int32]*node),
		records: make([]connectors.Record, 0, cfg.BatchRecords),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.wg.Go(r.findLeaders)
	return r
}

// Assign implements connectors.Reader.
func (r *reader) Assign(as ...connectors.Assignment) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var unknown bool
	for _, a := range as {
		if a.From < 0 || a.Until < a.From {
			return fmt.Errorf("kafka: assignment of %s from %d until %d", a.Split.ID, a.From, a.Until)
		}
		s := r.splits[a.Split.ID]
		if s == nil {
			topic, partition, err := parseSplit(a.Split.ID)
			if err != nil {
				return err
			}
			s = &split{
				Split: connectors.Split{ID: a.Split.ID, Partition: partition, Incarnation: a.Split.Incarnation},
				topic: topic, leader: noLeader, pos: -1, maxBytes: int32(r.cfg.PartitionBytes),
			}
			r.splits[a.Split.ID] = s
		}
		if s.Incarnation != a.Split.Incarnation { // of what was fetched nothing is left
			s.Incarnation, s.known, s.leader = a.Split.Incarnation, false, noLeader
			s.seek(int64(a.From))
		}
		if s.pos != int64(a.From) {
			s.seek(int64(a.From))
		}
		s.until, s.told = int64(a.Until), false
		if !s.active {
			s.active, r.changed = true, true
		}
		if s.leader == noLeader {
			unknown = true
		}
	}
	for _, n := range r.nodes {
		signal(n.kick)
	}
	if unknown {
		signal(r.look)
	}
	return nil
}

// seek drops what was fetched and begins anew.
func (s *split) seek(pos int64) {
	s.gen++
	s.fetchPos, s.pos = pos, pos
	s.queue, s.queued = nil, 0
	s.cur, s.iter = chunk{}, recordbatch.Iter{}
	s.fetching = false // an answer under way is of an older generation
	s.latest = max(s.latest, 0)
}

// Unassign implements connectors.Reader. What was fetched is kept, in case the
// split comes back at the position where it stands.
func (r *reader) Unassign(ids ...connectors.SplitID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if s := r.splits[id]; s != nil && s.active {
			s.active, r.changed = false, true
		}
	}
}

// Poll implements connectors.Reader. A Poll that Wake ended returns a batch
// with neither split nor records; a batch with a split and no records reports
// that the position moved, or that an empty range is done.
func (r *reader) Poll(ctx context.Context) (*connectors.Batch, error) {
	for {
		select {
		case <-r.wake:
			return r.empty(), nil
		default:
		}
		s, eof, err := r.pick()
		if err != nil {
			return nil, err
		}
		if eof {
			return nil, io.EOF
		}
		if s != nil {
			b, err := r.read(s)
			if err != nil {
				r.fail(err)
				return nil, err
			}
			if b != nil {
				return b, nil
			}
			continue
		}
		select {
		case <-r.ready:
		case <-r.wake:
			return r.empty(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.ctx.Done():
			return nil, fmt.Errorf("kafka: reader of %s is closed", r.env.Node)
		}
	}
}

func (r *reader) empty() *connectors.Batch {
	r.batch = connectors.Batch{}
	return &r.batch
}

// pick finds the next split in turn that Poll can report something of.
func (r *reader) pick() (s *split, eof bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed {
		r.changed = false
		kept := r.order[:0]
		for _, s := range r.order {
			if s.active {
				kept = append(kept, s)
			}
		}
		for _, s := range r.splits {
			if s.active && !contains(kept, s) {
				kept = append(kept, s)
			}
		}
		clear(r.order[min(len(kept), len(r.order)):])
		r.order, r.turn = kept, 0
	}
	eof = len(r.order) > 0
	for i := range r.order {
		s := r.order[(r.turn+i)%len(r.order)]
		if s.told {
			continue
		}
		eof = false
		if s.pos >= s.until || len(s.queue) > 0 || s.iter.Left() > 0 || len(s.cur.batches) > 0 {
			r.turn = (r.turn + i + 1) % len(r.order)
			return s, false, nil
		}
	}
	// What is already here is delivered before an error ends the reader.
	if r.err != nil {
		return nil, false, r.err
	}
	return nil, eof, nil
}

func contains(l []*split, s *split) bool {
	for _, x := range l {
		if x == s {
			return true
		}
	}
	return false
}

// read decodes what there is of a split, up to the batch limit and the end of
// the assignment. It returns nil when that came to nothing.
func (r *reader) read(s *split) (*connectors.Batch, error) {
	before := s.pos
	recs, room := r.records[:0], cap(r.records)
	r.headers.Reset()
	for s.pos < s.until && len(recs) < room {
		if s.iter.Left() == 0 {
			more, err := r.nextBatch(s)
			if err != nil {
				return nil, s.errorf(err)
			}
			if !more {
				break
			}
			continue
		}
		if s.iter.Control() {
			s.iter.Stop()
			s.advance(s.iter.Last() + 1)
			continue
		}
		for s.iter.Left() > 0 && len(recs) < room {
			recs = recs[:len(recs)+1]
			rec := &recs[len(recs)-1]
			saved := s.iter
			if err := s.iter.Next(rec, &r.headers); err != nil {
				return nil, s.errorf(fmt.Errorf("record batch at offset %d: %w", s.iter.First(), err))
			}
			if rec.Offset < s.pos { // the batch began before the position
				recs = recs[:len(recs)-1]
				continue
			}
			if rec.Offset >= s.until { // belongs to the next assignment
				recs = recs[:len(recs)-1]
				s.iter = saved
				s.pos = s.until
				break
			}
			s.pos = rec.Offset + 1
		}
		if s.iter.Left() == 0 {
			s.advance(s.iter.Last() + 1)
		}
	}
	r.mu.Lock()
	done := s.pos >= s.until
	s.told = done
	latest := max(s.latest, s.pos)
	r.mu.Unlock()
	if len(recs) == 0 && s.pos == before && !done {
		return nil, nil
	}
	r.batch = connectors.Batch{
		Split: s.Split, Records: recs, Done: done,
		Next: connectors.Position(s.pos), Latest: connectors.Position(latest),
	}
	return &r.batch, nil
}

// advance moves the position over what carries no record, never past the end
// of the assignment: the next one begins there.
func (s *split) advance(pos int64) { s.pos = max(s.pos, min(pos, s.until)) }

func (s *split) errorf(err error) error {
	return fmt.Errorf("kafka: %s at position %d: %w", s.ID, s.pos, err)
}

// nextBatch opens the next record batch that is to be read.
func (r *reader) nextBatch(s *split) (bool, error) {
	for {
		n := recordbatch.Len(s.cur.batches)
		if n == 0 {
			if !r.takeChunk(s) {
				return false, nil
			}
			continue
		}
		b := s.cur.batches[:n]
		s.cur.batches = s.cur.batches[n:]
		skip := s.cur.aborted.Skip(b)
		if err := s.iter.Open(b, r.dec); err != nil {
			return false, err
		}
		if skip || s.iter.Last() < s.pos || s.iter.Left() == 0 {
			s.iter.Stop()
			s.advance(s.iter.Last() + 1)
			if s.pos >= s.until {
				return false, nil
			}
			continue
		}
		return true, nil
	}
}

// takeChunk makes the oldest fetched chunk the current one, which frees its
// room for the next fetch.
func (r *reader) takeChunk(s *split) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(s.queue) == 0 {
		s.cur = chunk{}
		return false
	}
	s.cur = s.queue[0]
	s.queue[0] = chunk{}
	s.queue = s.queue[1:]
	s.queued -= len(s.cur.batches)
	s.latest = s.cur.latest
	if n := r.nodes[s.leader]; n != nil {
		signal(n.kick)
	}
	return true
}

// Wake implements connectors.Reader.
func (r *reader) Wake() { signal(r.wake) }

// Close implements connectors.Reader.
func (r *reader) Close() error {
	r.cancel()
	r.cl.Close()
	r.wg.Wait()
	return nil
}

// stop ends the reader and leaves its client open.
func (r *reader) stop() {
	r.cancel()
	r.wg.Wait()
}

// fail ends the reader with an error; the first one counts.
func (r *reader) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	signal(r.ready)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
