package dataflow

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/pipeline"
)

// enumeration is the coordinator's side of one source: it finds splits, deals
// them out, and publishes positions. Its goroutine is the only user of the
// enumerator.
type enumeration struct {
	run     *run
	node    *pipeline.Node
	bounded bool
	enum    connectors.Enumerator
	seats   []*seat // of the source's subtasks

	highest atomic.Int64 // watermark over all splits, where the policy wants a maximum

	mu    sync.Mutex
	views map[connectors.SplitID]*splitView
	dealt [][]assignment // to each subtask
	// To publish: positions, and who waits for that.
	positions map[connectors.SplitID]connectors.Position
	waiting   []chan error
	kick      chan struct{}
}

func newEnumeration(r *run, n *pipeline.Node) *enumeration {
	s := &enumeration{
		run: r, node: n, bounded: n.Source.Describe().Bounded,
		views: map[connectors.SplitID]*splitView{}, positions: map[connectors.SplitID]connectors.Position{},
		kick: make(chan struct{}, 1),
	}
	s.highest.Store(pipeline.NoTime)
	return s
}

func (s *enumeration) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("source %q: %w", s.node.Name, err)
}

// start finds the splits at the job's start and where each begins.
func (s *enumeration) start(ctx context.Context, restored *checkpoints.Checkpoint) (as []assignment, err error) {
	found, err := s.enum.Discover(ctx)
	if err != nil {
		return nil, s.wrap(err)
	}
	ids := make([]connectors.SplitID, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	from := map[connectors.SplitID]connectors.Position{}
	times := map[connectors.SplitID]*int64{}
	until := map[connectors.SplitID]connectors.Position{}
	if restored != nil {
		known := map[connectors.SplitID]bool{}
		for _, src := range restored.Sources {
			if src.Operator != s.node.UID {
				continue
			}
			for _, sp := range src.Splits {
				from[sp.ID], times[sp.ID] = sp.Position, sp.Watermark
				known[sp.ID] = true
				if sp.Until != nil {
					until[sp.ID] = *sp.Until
				}
			}
		}
		for _, id := range ids {
			delete(known, id)
		}
		for id := range known {
			return nil, s.wrap(fmt.Errorf("split %s is in checkpoint %d and is not there any more", id, restored.ID))
		}
		if s.run.job.Guarantee == connectors.AtMostOnce {
			committed, err := s.enum.Committed(ctx, ids)
			if err != nil {
				return nil, s.wrap(err)
			}
			for id, p := range committed {
				from[id] = p
			}
		}
	}
	var unknown []connectors.SplitID
	for _, id := range ids {
		if _, ok := from[id]; !ok {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		starts, err := s.enum.Start(ctx, unknown, restored == nil)
		if err != nil {
			return nil, s.wrap(err)
		}
		for id, p := range starts {
			from[id] = p
		}
		if s.bounded {
			// What is there now is what the job reads, however often it restarts.
			bounds, err := s.enum.Bounds(ctx, unknown)
			if err != nil {
				return nil, s.wrap(err)
			}
			for id, b := range bounds {
				until[id] = b.Latest
			}
		}
	}
	for _, f := range found {
		a := s.assignment(f, from[f.ID], times[f.ID])
		if end, ok := until[f.ID]; ok {
			a.Until = max(end, a.From)
		}
		as = append(as, a)
	}
	return as, nil
}

func (s *enumeration) assignment(sp connectors.Split, from connectors.Position, watermark *int64) assignment {
	v := &splitView{}
	v.watermark.Store(pipeline.NoTime)
	v.position.Store(int64(from))
	v.reached.Store(int64(from))
	v.latest.Store(int64(from))
	s.mu.Lock()
	s.views[sp.ID] = v
	s.mu.Unlock()
	return assignment{connectors.Assignment{Split: sp, From: from, Until: connectors.NoEnd}, watermark, v}
}

// deal gives each split to the subtask that has the fewest.
// The lock is held.
func (s *enumeration) deal(as []assignment) map[*seat]assign {
	sort.Slice(as, func(i, j int) bool { return as[i].Split.ID < as[j].Split.ID })
	dealt := map[*seat]assign{}
	if s.dealt == nil {
		s.dealt = make([][]assignment, len(s.seats))
	}
	for _, a := range as {
		least := 0
		for i := range s.dealt {
			if len(s.dealt[i]) < len(s.dealt[least]) {
				least = i
			}
		}
		s.dealt[least] = append(s.dealt[least], a)
		dealt[s.seats[least]] = append(dealt[s.seats[least]], a)
	}
	return dealt
}

// begin deals the first splits out, before the tasks run.
func (s *enumeration) begin(as []assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, as := range s.deal(as) {
		at.task().assign(as)
	}
}

// replace puts a new task into a seat and gives it the splits of the one before,
// from where a restart goes on. A split that is found meanwhile is mailed to
// either the old task, and is then among these, or the new one.
func (s *enumeration) replace(at *seat, t *task, from *checkpoints.Checkpoint) {
	starts, times := s.run.restartPositions(), from.Watermarks(s.node.UID)
	s.mu.Lock()
	defer s.mu.Unlock()
	as := slices.Clone(s.dealt[at.index])
	for i := range as {
		as[i].From, as[i].watermark = starts[as[i].Split.ID], times[as[i].Split.ID]
		as[i].view.position.Store(int64(as[i].From))
	}
	if len(as) > 0 {
		t.assign(as)
	}
	at.current.Store(t)
}

// lagInterval is how often the ends of the splits are looked up, for the lag
// gauge: a source that is held up does not see them grow.
const lagInterval = time.Second

// loop serves until the job ends.
func (s *enumeration) loop() error {
	defer s.enum.Close()
	ctx := s.run.ctx
	var discovery <-chan time.Time
	if d := s.run.job.Discovery; d > 0 && !s.bounded {
		t := time.NewTicker(d)
		defer t.Stop()
		discovery = t.C
	}
	s.look(ctx)
	lag := time.NewTicker(lagInterval)
	defer lag.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-discovery:
			err = s.discover(ctx)
		case <-lag.C:
			s.look(ctx)
		case <-s.kick:
			err = s.commit(ctx)
		}
		if err != nil && ctx.Err() == nil {
			return s.wrap(err)
		}
	}
}

// discover deals out splits that were not there before. They begin at their
// earliest record.
func (s *enumeration) discover(ctx context.Context) error {
	found, err := s.enum.Discover(ctx)
	if err != nil {
		return err
	}
	var fresh []connectors.Split
	var ids []connectors.SplitID
	for _, f := range found {
		if s.views[f.ID] == nil { // read without the lock: only this goroutine writes
			fresh = append(fresh, f)
			ids = append(ids, f.ID)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	from, err := s.enum.Start(ctx, ids, false)
	if err != nil {
		return err
	}
	var as []assignment
	for _, f := range fresh {
		as = append(as, s.assignment(f, from[f.ID], nil))
	}
	s.run.begun(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, a := range s.deal(as) {
		at.task().box.send(a)
	}
	return nil
}

func (s *enumeration) look(ctx context.Context) {
	var ids []connectors.SplitID
	for id := range s.views {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return
	}
	bounds, err := s.enum.Bounds(ctx, ids)
	if err != nil {
		if ctx.Err() == nil {
			s.run.rt.Log.Warn("the lag is not known", "source", s.node.Name, "error", err)
		}
		return
	}
	for id, b := range bounds {
		if v := s.views[id]; v != nil {
			v.latest.Store(max(v.latest.Load(), int64(b.Latest)))
		}
	}
}

// lag returns how many records the source is behind, as far as known.
func (s *enumeration) lag() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.views {
		n += max(v.latest.Load()-v.position.Load(), 0)
	}
	return n
}

// reached adds how far each split has been read.
func (s *enumeration) reached(positions engines.Positions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, v := range s.views {
		positions[id] = connectors.Position(v.reached.Load())
	}
}

// claim commits a batch's end before the batch is processed, and waits for it.
// Claims that come together are committed together.
func (s *enumeration) claim(ctx context.Context, id connectors.SplitID, next connectors.Position) error {
	if s.run.here != nil {
		return s.run.here.claim(ctx, s, id, next)
	}
	s.mu.Lock()
	s.positions[id] = next
	s.mu.Unlock()
	return s.published(ctx)
}

// publish has a checkpoint's positions committed, for monitoring.
func (s *enumeration) publish(splits []checkpoints.Split) {
	if len(splits) == 0 {
		return
	}
	s.mu.Lock()
	for _, sp := range splits {
		s.positions[sp.ID] = sp.Position
	}
	s.mu.Unlock()
	s.wake()
}

// published waits until everything is committed.
func (s *enumeration) published(ctx context.Context) error {
	done := make(chan error, 1)
	s.mu.Lock()
	s.waiting = append(s.waiting, done)
	s.mu.Unlock()
	s.wake()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *enumeration) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *enumeration) commit(ctx context.Context) error {
	s.mu.Lock()
	positions, waiting := s.positions, s.waiting
	s.positions, s.waiting = map[connectors.SplitID]connectors.Position{}, nil
	s.mu.Unlock()
	var err error
	switch {
	case len(positions) == 0:
	case s.run.job.Guarantee == connectors.AtMostOnce:
		err = s.commitClaims(ctx, positions)
	default:
		err = s.enum.Commit(ctx, positions)
	}
	for _, w := range waiting {
		w <- err
	}
	if err != nil && s.run.job.Guarantee != connectors.AtMostOnce && ctx.Err() == nil {
		// Nothing depends on it.
		s.run.rt.Log.Warn("positions could not be published", "source", s.node.Name, "error", err)
		err = nil
	}
	return err
}

func (s *enumeration) commitClaims(ctx context.Context, positions map[connectors.SplitID]connectors.Position) error {
	select {
	case s.run.claiming <- struct{}{}:
		defer func() { <-s.run.claiming }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.enum.Commit(ctx, positions); err != nil {
		return err
	}
	s.run.advance(positions)
	return nil
}
