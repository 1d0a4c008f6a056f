package plan

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"streamduel/workloads"
)

// Partition names a partition of a topic.
type Partition struct {
	Topic  string `json:"topic"`
	Number int32  `json:"partition"`
}

// Epoch says: from record From on, until the next epoch, records go round
// robin over Partitions.
type Epoch struct {
	From       int64       `json:"from"`
	Partitions []Partition `json:"partitions"`
	// First is the sequence with which each partition goes on. It follows from
	// the epochs before and is checked when it is given.
	First []int64 `json:"first,omitempty"`
}

// Plan is the schedule of one load. Its methods may be called from any number
// of goroutines, also while an epoch is appended: records below the epoch's
// first index never change.
type Plan struct {
	shape Shape
	line  *timeline
	write sync.Mutex
	now   atomic.Pointer[layout]
}

// layout is one immutable state of what is learned while the load runs.
type layout struct {
	start  int64 // monotonic nanoseconds at which record 0's second begins
	wall   int64 // Unix nanoseconds minus monotonic nanoseconds
	limit  int64 // records; above it there are only closing records
	epochs []Epoch
	global [][]int32 // for each epoch, its partitions' global numbers
	turns  []*turn   // for each epoch
	parts  []Partition
	number map[Partition]int32
	slots  [][]slot // for each global partition, where it stands in the epochs
}

// slot is one partition's place in one epoch.
type slot struct {
	epoch int
	place int64
	first int64 // sequence of its first record in the epoch
}

// New makes a plan whose first epoch covers the given partitions.
func New(shape Shape, partitions []Partition) (*Plan, error) {
	if err := shape.Validate(); err != nil {
		return nil, err
	}
	p := &Plan{shape: shape, line: newTimeline(shape)}
	p.now.Store(&layout{limit: math.MaxInt64, number: map[Partition]int32{}})
	if _, err := p.Append(0, partitions); err != nil {
		return nil, err
	}
	return p, nil
}

// Partitions lists partitions 0 to n−1 of a topic.
func Partitions(topic string, n int) []Partition {
	ps := make([]Partition, n)
	for i := range ps {
		ps[i] = Partition{topic, int32(i)}
	}
	return ps
}

// Begin fixes the load's start: the monotonic time of the schedule's zero, and
// the difference from monotonic to Unix time, both in nanoseconds.
func (p *Plan) Begin(start, wall int64) {
	_ = p.update(func(l *layout) error { l.start, l.wall = start, wall; return nil })
}

// Start returns the monotonic nanoseconds of the schedule's zero.
func (p *Plan) Start() int64 { return p.now.Load().start }

// Shape returns the load's shape.
func (p *Plan) Shape() Shape { return p.shape }

// Append adds an epoch: from record from on, these are the partitions. New
// ones get the next global numbers in the order given. It returns the epoch
// with the sequences at which the partitions go on.
func (p *Plan) Append(from int64, partitions []Partition) (Epoch, error) {
	e := Epoch{From: from, Partitions: slices.Clone(partitions), First: make([]int64, len(partitions))}
	err := p.update(func(l *layout) error {
		if len(partitions) == 0 {
			return fmt.Errorf("plan: an epoch without partitions")
		}
		if n := len(l.epochs); n == 0 && from != 0 || n > 0 && from <= l.epochs[n-1].From {
			return fmt.Errorf("plan: an epoch from record %d does not come after the one before", from)
		}
		if from >= l.limit {
			return fmt.Errorf("plan: an epoch from record %d, but the load ends at %d", from, l.limit)
		}
		l.number = clone(l.number)
		l.slots = slices.Clone(l.slots)
		l.parts = slices.Clone(l.parts)
		global := make([]int32, len(partitions))
		for i, name := range partitions {
			if slices.Contains(partitions[:i], name) {
				return fmt.Errorf("plan: partition %s/%d twice in an epoch", name.Topic, name.Number)
			}
			g, known := l.number[name]
			if !known {
				g = int32(len(l.parts))
				l.number[name] = g
				l.parts = append(l.parts, name)
				l.slots = append(l.slots, nil)
			}
			global[i] = g
			e.First[i] = l.count(g, from)
			l.slots[g] = append(slices.Clone(l.slots[g]), slot{len(l.epochs), int64(i), e.First[i]})
		}
		weights := make([]int64, len(global))
		for i, g := range global {
			weights[i] = p.shape.weight(g)
		}
		if slices.Max(weights) == 0 {
			return fmt.Errorf("plan: each partition of an epoch has weight 0: one at least must get records")
		}
		l.turns = append(slices.Clone(l.turns), newTurn(weights))
		l.epochs = append(slices.Clone(l.epochs), e)
		l.global = append(slices.Clone(l.global), global)
		return nil
	})
	return e, err
}

func clone(m map[Partition]int32) map[Partition]int32 {
	c := make(map[Partition]int32, len(m)+8)
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Stop ends the load before record limit. What is left are the closing
// records, one a partition in the order of global numbers, with the indices
// from limit on.
func (p *Plan) Stop(limit int64) error {
	return p.update(func(l *layout) error {
		if limit < l.epochs[len(l.epochs)-1].From {
			return fmt.Errorf("plan: stop at record %d, before the last epoch", limit)
		}
		l.limit = limit
		return nil
	})
}

func (p *Plan) update(change func(*layout) error) error {
	p.write.Lock()
	defer p.write.Unlock()
	next := *p.now.Load()
	if err := change(&next); err != nil {
		return err
	}
	p.now.Store(&next)
	return nil
}

// Limit returns the number of records before the closing ones; the largest
// int64 while the load has not been stopped.
func (p *Plan) Limit() int64 { return p.now.Load().limit }

// Closing reports whether i is the index of a closing record.
func (p *Plan) Closing(i int64) bool { return i >= p.now.Load().limit }

// End returns the index behind the last closing record, or the largest int64
// while the load has not been stopped.
func (p *Plan) End() int64 {
	l := p.now.Load()
	if l.limit == math.MaxInt64 {
		return l.limit
	}
	return l.limit + int64(len(l.parts))
}

// All returns the partitions seen so far; the index is the global number.
func (p *Plan) All() []Partition { return p.now.Load().parts }

// Partition names the partition of a global number.
func (p *Plan) Partition(global int32) Partition { return p.now.Load().parts[global] }

// Global returns the global number of a partition.
func (p *Plan) Global(name Partition) (number int32, ok bool) {
	number, ok = p.now.Load().number[name]
	return number, ok
}

// Epochs returns the epochs so far.
func (p *Plan) Epochs() []Epoch { return p.now.Load().epochs }

// Due returns the monotonic nanoseconds at which record i is due, or Never.
func (p *Plan) Due(i int64) int64 {
	var hint int
	return p.due(p.now.Load(), i, &hint)
}

func (p *Plan) due(l *layout, i int64, hint *int) int64 {
	t := p.line.due(min(i, l.limit), hint)
	if t == Never && i >= l.limit && l.limit > 0 {
		t = p.line.due(l.limit-1, hint)
	}
	if t == Never {
		return Never
	}
	return l.start + t
}

// Count returns how many records are due at the monotonic time mono or before,
// closing records not counted.
func (p *Plan) Count(mono int64) int64 {
	l := p.now.Load()
	t := mono - l.start
	if t < 0 {
		return 0
	}
	// The integral is right to within rounding; Due decides.
	n := min(int64(p.line.integral(t)), l.limit)
	var hint int
	for n > 0 && p.line.due(n-1, &hint) > t {
		n--
	}
	for n < l.limit && p.line.due(n, &hint) <= t {
		n++
	}
	return n
}

// Rate returns the offered rate at the monotonic time mono in records per
// second; the load's end is not considered.
func (p *Plan) Rate(mono int64) float64 { return p.line.rateAt(mono - p.now.Load().start) }

// Locate returns the global partition and the sequence of record i.
func (p *Plan) Locate(i int64) (partition int32, sequence int64) {
	l := p.now.Load()
	if i >= l.limit {
		partition = int32(i - l.limit)
		return partition, l.count(partition, l.limit)
	}
	return l.locate(i, l.epoch(i))
}

func (l *layout) locate(i int64, e int) (partition int32, sequence int64) {
	ep := &l.epochs[e]
	place, before := l.turns[e].find(i-ep.From, int64(len(ep.Partitions)))
	return l.global[e][place], ep.First[place] + before
}

func (l *layout) epoch(i int64) int {
	return sort.Search(len(l.epochs), func(e int) bool { return l.epochs[e].From > i }) - 1
}

// Index returns the index of a record. ok is false for one that the plan does
// not hold, which may be one of an epoch that is not known here yet.
func (p *Plan) Index(partition int32, sequence int64) (i int64, ok bool) {
	l := p.now.Load()
	if partition < 0 || int(partition) >= len(l.slots) || sequence < 0 {
		return 0, false
	}
	slots := l.slots[partition]
	k := len(slots) - 1
	for k > 0 && slots[k].first > sequence {
		k--
	}
	s := slots[k]
	e := &l.epochs[s.epoch]
	d := sequence - s.first
	if d < 0 {
		return 0, false
	}
	if i, ok = l.turns[s.epoch].index(s.place, d, int64(len(e.Partitions))); !ok || i > math.MaxInt64-e.From {
		return 0, false
	}
	i += e.From
	end := l.limit
	if s.epoch+1 < len(l.epochs) {
		end = min(end, l.epochs[s.epoch+1].From)
	}
	if i < end {
		return i, true
	}
	if l.limit != math.MaxInt64 && sequence == l.count(partition, l.limit) {
		return l.limit + int64(partition), true
	}
	return 0, false
}

// Sequences returns how many of the records before index i lie in a partition:
// the sequence that its next record bears.
func (p *Plan) Sequences(partition int32, i int64) int64 {
	return p.now.Load().count(partition, i)
}

// count is the number of records of a partition below index i, within the
// epochs that the layout has.
func (l *layout) count(partition int32, i int64) int64 {
	slots := l.slots[partition]
	for k := len(slots) - 1; k >= 0; k-- {
		s := slots[k]
		from := l.epochs[s.epoch].From
		if from >= i {
			continue
		}
		end := i
		if s.epoch+1 < len(l.epochs) {
			end = min(end, l.epochs[s.epoch+1].From)
		}
		return s.first + l.turns[s.epoch].count(s.place, end-from, int64(len(l.epochs[s.epoch].Partitions)))
	}
	return 0
}

// Input returns record i as the generator and the observer see it.
func (p *Plan) Input(i int64) workloads.Input {
	c := Cursor{p: p}
	return c.Input(i)
}

// Cursor walks a plan in (mostly) rising order faster than the plan itself: it
// remembers where it was. It is used by one goroutine; its results are the
// plan's.
type Cursor struct {
	p       *Plan
	segment int
	epoch   int
}

// Cursor returns a new cursor.
func (p *Plan) Cursor() *Cursor { return &Cursor{p: p} }

// Due is Plan.Due.
func (c *Cursor) Due(i int64) int64 { return c.p.due(c.p.now.Load(), i, &c.segment) }

// Input is Plan.Input.
func (c *Cursor) Input(i int64) workloads.Input { return c.input(c.p.now.Load(), i) }

// Record is Input of a record that is no closing one; ok is false behind the last,
// though the load be stopped this moment.
func (c *Cursor) Record(i int64) (in workloads.Input, ok bool) {
	l := c.p.now.Load()
	if i >= l.limit {
		return in, false
	}
	return c.input(l, i), true
}

func (c *Cursor) input(l *layout, i int64) workloads.Input {
	in := workloads.Input{Index: i, Scheduled: c.p.due(l, i, &c.segment)}
	in.EventTime = c.p.shape.eventTime(l, in.Scheduled)
	if i >= l.limit { // a closing record lies behind all others, whatever lags
		in.Partition = int32(i - l.limit)
		in.Sequence = l.count(in.Partition, l.limit)
		return in
	}
	e := c.epoch
	if e >= len(l.epochs) || i < l.epochs[e].From || e+1 < len(l.epochs) && i >= l.epochs[e+1].From {
		e = l.epoch(i)
		c.epoch = e
	}
	in.Partition, in.Sequence = l.locate(i, e)
	in.EventTime -= c.p.shape.lag(in.Partition)
	return in
}

// form is the plan's JSON form, a line of the load process's job.
type form struct {
	Shape  Shape   `json:"shape"`
	Epochs []Epoch `json:"epochs"`
	Start  int64   `json:"start,omitempty"`
	Wall   int64   `json:"wall,omitempty"`
	Limit  *int64  `json:"limit,omitempty"`
}

// MarshalJSON writes the plan as it stands.
func (p *Plan) MarshalJSON() ([]byte, error) {
	l := p.now.Load()
	f := form{Shape: p.shape, Epochs: l.epochs, Start: l.start, Wall: l.wall}
	if l.limit != math.MaxInt64 {
		f.Limit = &l.limit
	}
	return json.Marshal(f)
}

// UnmarshalJSON reads what MarshalJSON wrote and checks it.
func (p *Plan) UnmarshalJSON(b []byte) error {
	var f form
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if len(f.Epochs) == 0 {
		return fmt.Errorf("plan: no epoch")
	}
	q, err := New(f.Shape, f.Epochs[0].Partitions)
	if err != nil {
		return err
	}
	for _, e := range f.Epochs[1:] {
		got, err := q.Append(e.From, e.Partitions)
		if err != nil {
			return err
		}
		if e.First != nil && !slices.Equal(e.First, got.First) {
			return fmt.Errorf("plan: epoch from record %d goes on at sequences %v, expected %v", e.From, e.First, got.First)
		}
	}
	q.Begin(f.Start, f.Wall)
	if f.Limit != nil {
		if err := q.Stop(*f.Limit); err != nil {
			return err
		}
	}
	p.shape, p.line = q.shape, q.line
	p.now.Store(q.now.Load())
	return nil
}
