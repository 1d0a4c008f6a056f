package pipeline

import (
	"errors"
	"fmt"
	"time"

	"streamduel/codec"
	"streamduel/state"
)

// StateSpec says what MapWithState does.
type StateSpec[K comparable, T, S, R any] struct {
	// Function is called for each record with its key's state. For a key whose time
	// is over it is called once more, with the zero value and a state whose
	// TimingOut is true, and the state is gone behind it.
	Function func(key K, v T, s *MappedState[K, S], emit func(R))
	// Open, if set, makes Function once per subtask.
	Open func(r *RuntimeContext) func(key K, v T, s *MappedState[K, S], emit func(R))
	// Timeout in processing time since the key's last record; 0 is none.
	Timeout time.Duration
	// Initial is the state that a job begins with. Its keys time out too.
	Initial map[K]S
}

// MappedState is the state of the key at hand.
type MappedState[K comparable, S any] struct {
	ctx       *Ctx
	node      *Node
	table     *state.Table[K, timedState[S]]
	key       K
	timingOut bool
	removed   bool
}

// timedState is a state and when its key's last record came.
type timedState[S any] struct {
	touched int64 // processing time
	s       S
}

// Get returns the state and whether there is one.
func (m *MappedState[K, S]) Get() (v S, exists bool) {
	if m.removed {
		return v, false
	}
	t, ok := m.table.Get(m.key)
	return t.s, ok
}

// TimingOut reports whether the function is called because the key's time is
// over. Such a state cannot be updated or removed.
func (m *MappedState[K, S]) TimingOut() bool { return m.timingOut }

// Update sets the state.
func (m *MappedState[K, S]) Update(v S) {
	if m.refused("updated") {
		return
	}
	m.removed = false
	t, _ := m.table.Ref(m.key)
	t.s = v
}

// Remove forgets the key.
func (m *MappedState[K, S]) Remove() {
	if !m.refused("removed") {
		m.removed = true
	}
}

func (m *MappedState[K, S]) refused(what string) bool {
	if m.timingOut {
		m.ctx.Fail(fmt.Errorf("operator %q: a state that is timing out cannot be %s", m.node.Name, what))
	}
	return m.timingOut
}

// MapWithState calls a function for each record with the state of its key, and
// only for keys with records: what it costs does not depend on how many keys
// there are, unlike UpdateStateByKey. A key that had no record for the timeout is
// told once that its time is over. Both engines run it. In micro-batch a timeout
// fires at the beginning of the first batch behind it, before that batch's
// records; Spark tells of it later, with a checkpoint, and behind them.
func MapWithState[K comparable, T, S, R any](k *Keyed[K, T], name string, states codec.Codec[S], spec StateSpec[K, T, S, R]) *Stream[R] {
	if states == nil {
		states, _ = codec.Of[S]()
	}
	if (spec.Function == nil) == (spec.Open == nil) {
		k.s.g.fail("operator %q: mapWithState needs its function: set either Function or Open", name)
	}
	if spec.Timeout < 0 || spec.Timeout > 0 && spec.Timeout < time.Millisecond {
		k.s.g.fail("operator %q: a timeout of %v: allowed are 0 and 1 ms or more", name, spec.Timeout)
	}
	n := attach(k.s, &Node{Name: name, Kind: KindKeyed, Role: Role{Does: MapsGroups}}, Hash, hashKey(k))
	if k.codec != nil && states != nil {
		n.snapshots = keyStateCodec(k.codec, states)
	}
	n.build = func(b *builder, n *Node) any {
		next := outputOf[R](b, n, "")
		s := &Setup[K]{b: b, node: n, keys: k.codec}
		w := &withState[K, T, S, R]{spec: spec, task: b.task, timeout: spec.Timeout.Milliseconds()}
		if spec.Open != nil {
			w.spec.Function = spec.Open(s.Runtime())
		}
		var fire func(ts int64, c *KeyedCtx[K], emit func(R))
		if w.timeout > 0 {
			fire = w.due
		}
		c, emit := keyed(s, next, nil, fire)
		w.c, w.emit = c, emit
		w.m = MappedState[K, S]{ctx: c.Ctx, node: n, table: Table(s, "state", timedStateCodec(states))}
		op := &b.task.operators[len(b.task.operators)-1]
		if n.PerBatch != "" {
			shots := &snapshots[K, S]{task: b.task, table: w.m.table, next: outputOf[KeyState[K, S]](b, n, snapshotSide)}
			op.endBatch = shots.end
		}
		if len(spec.Initial) > 0 {
			w.loaded = UnionList(s, "initial state is loaded", codec.Codec[int64](codec.Int64{}))
			if err := w.own(b, s); err != nil {
				b.fail(err)
			}
			timers, move := op.nextTimer, op.processingTime
			op.nextTimer = func() int64 {
				if w.initial != nil {
					return 0 // at once
				}
				return timers()
			}
			op.processingTime = func(now int64) bool {
				w.load()
				return move(now)
			}
		}
		return Receiver[T](func(v T, _ *Ctx) {
			w.load()
			c.key = k.key(v)
			w.element(v)
		})
	}
	return streamOf[R](n)
}

// snapshotSide is the side output of StateSnapshots.
const snapshotSide = "state snapshots"

// StateSnapshots returns a stream of the whole state of the mapWithState that s came
// out of: with each batch every key that there is then, as Spark's does. K and S are
// its types of key and state. It costs what all keys cost, and makes the engine run
// a batch each interval, with data or without; an engine that has no batches refuses
// it by name.
func StateSnapshots[K comparable, S, R any](s *Stream[R]) *Stream[KeyState[K, S]] {
	t := Side(s, NewTag[KeyState[K, S]](snapshotSide))
	for _, o := range s.from {
		c, ok := o.node.snapshots.(codec.Codec[KeyState[K, S]])
		if !ok {
			why := "it is no mapWithState of such keys and states"
			if o.node.Role.Does == MapsGroups && o.node.snapshots == nil {
				why = "its key or its state has no codec"
			}
			var v KeyState[K, S]
			s.g.fail("operator %q: StateSnapshots of %T: %s", o.node.Name, v, why)
			continue
		}
		o.node.PerBatch = "stateSnapshots"
		t.codec = c
	}
	return t
}

// snapshots emits the whole state at a batch's end. What it holds lives within that.
type snapshots[K comparable, S any] struct {
	task   *Task
	table  *state.Table[K, timedState[S]]
	next   Receiver[KeyState[K, S]]
	keys   []K // still to be told of
	ending bool
}

// end pauses where an output is starved.
func (x *snapshots[K, S]) end() (done bool) {
	if !x.ending {
		x.ending, x.keys = true, x.keys[:0]
		x.table.Each(func(k K, _ timedState[S]) bool {
			x.keys = append(x.keys, k)
			return true
		})
	}
	t := x.task
	for len(x.keys) > 0 {
		if t.pressure.Starved > 0 {
			return false
		}
		if t.err != nil {
			return true
		}
		k := x.keys[len(x.keys)-1]
		x.keys = x.keys[:len(x.keys)-1]
		if v, ok := x.table.Get(k); ok {
			t.ctx.AtTimer(NoTime)
			x.next(KeyState[K, S]{k, v.s}, &t.ctx)
		}
	}
	x.ending = false
	return true
}

// withState is the operator in a task.
type withState[K comparable, T, S, R any] struct {
	spec    StateSpec[K, T, S, R]
	task    *Task
	timeout int64
	c       *KeyedCtx[K]
	emit    func(R)
	m       MappedState[K, S]
	initial map[K]S // this task's, until it is loaded
	loaded  *state.OperatorList[int64]
}

// own finds the task's keys of the initial state.
func (w *withState[K, T, S, R]) own(b *builder, s *Setup[K]) error {
	if s.keys == nil {
		return nil // refused already
	}
	hash, err := state.Hasher[K](s.keys.Append)
	if err != nil {
		return err
	}
	w.initial = map[K]S{}
	p, most := b.fragment.Parallelism, b.cfg.MaxParallelism
	for key, v := range w.spec.Initial {
		if state.OwnerOf(state.GroupOf(hash(key), most), p, most) == b.cfg.Subtask {
			w.initial[key] = v
		}
	}
	return nil
}

// load puts the initial state in place, once in the job's life.
func (w *withState[K, T, S, R]) load() {
	if w.initial == nil || w.timeout > 0 && w.task.now == NoTime {
		return
	}
	mine := w.initial
	w.initial = nil
	if len(w.loaded.Items()) > 0 {
		w.loaded.Set([]int64{1}) // of those that all subtasks have left
		return
	}
	w.loaded.Add(1)
	for key, v := range mine {
		w.m.table.Put(key, timedState[S]{w.task.now, v})
		if w.timeout > 0 {
			w.c.proctime.add(key, w.task.now+w.timeout)
		}
	}
}

func (w *withState[K, T, S, R]) element(v T) {
	c, m := w.c, &w.m
	m.key, m.timingOut, m.removed = c.key, false, false
	if w.timeout > 0 && w.task.now == NoTime {
		c.Fail(errors.New("a timeout of mapWithState needs the engine's clock, which has not been told yet"))
		return
	}
	_, existed := m.table.Get(m.key)
	w.spec.Function(c.key, v, m, w.emit)
	if m.removed {
		m.table.Delete(m.key)
		return
	}
	if w.timeout == 0 {
		return
	}
	if !existed {
		if _, exists := m.table.Get(m.key); !exists {
			return
		}
	}
	now := w.task.now
	t, _ := m.table.Ref(m.key)
	t.touched = now
	if !existed {
		c.ProcessingTimer(now + w.timeout)
	}
}

// due is called when a key may have had no record for long enough. A key has one
// timer, which moves only when it fires.
func (w *withState[K, T, S, R]) due(ts int64, c *KeyedCtx[K], emit func(R)) {
	m := &w.m
	t, ok := m.table.Get(c.key)
	if !ok {
		return
	}
	if end := t.touched + w.timeout; end > ts {
		c.ProcessingTimer(end)
		return
	}
	m.key, m.timingOut, m.removed = c.key, true, false
	var none T
	w.spec.Function(c.key, none, m, emit)
	m.table.Delete(c.key)
}

func timedStateCodec[S any](states codec.Codec[S]) codec.Codec[timedState[S]] {
	if states == nil {
		return nil
	}
	return codec.Struct("timedState/1("+states.ID()+")", func(d []byte, t timedState[S]) []byte {
		return states.Append(codec.Int64{}.Append(d, t.touched), t.s)
	}, func(b []byte) (t timedState[S], n int, err error) {
		if t.touched, n, err = (codec.Int64{}).Decode(b); err != nil {
			return t, n, err
		}
		s, m, err := states.Decode(b[n:])
		t.s = s
		return t, n + m, err
	}, func(t timedState[S]) timedState[S] { t.s = states.Clone(t.s); return t })
}
