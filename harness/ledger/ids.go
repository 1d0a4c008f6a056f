package ledger

import (
	"fmt"
	"math"

	"streamduel/runs"
	"streamduel/workloads"
)

// Bounds on what a row may claim, so that a damaged one cannot make the ledger
// allocate without end.
const (
	maxPartitions = 1 << 16
	// slack is how many records a partition may be ahead of what the plan
	// knows: rows of an epoch that this side has not heard of yet.
	slack = 1 << 16
	// early is how long, in nanoseconds, a row may be seen before its input is
	// due. A generator never sends ahead of its schedule but may round.
	early = int64(10e6)
)

// part is what was seen of one input partition: two bits an input, a third
// only where there are copies.
type part struct {
	seen, late, twice bitmap
	first             int64 // when the first result became visible
	chunks            []uint32
}

// lane is one stream of rows that Kafka and the engine keep in order.
type lane struct {
	in, out int32
	last    int64 // highest sequence among first rows
}

// key is what is kept for one grouping key.
type key struct {
	lanes   []lane
	index   map[uint64]int32 // of lanes, once there are too many to search
	lineage []uint32
	first   int64  // first rows seen with this key
	hash    uint64 // sum of their HashIDs
}

// ids accounts for rows that name their input.
type ids struct {
	l       *Ledger
	running bool
	parts   []*part
	keys    map[string]*key
	extra   map[id]int32 // copies beyond the second

	visible    int64
	duplicates int64
	lateInputs int64
	both       int64 // inputs seen as a result and as late
	bothLate   int64 // of these, late first: their latency is not counted
	reordered  int64
	lineages   int64 // slots in all lineages, capacity

	owners []owner // by chunk number
}

type id struct {
	partition int32
	sequence  int64
}

// chunkShift: 4,096 neighbouring inputs share a chunk of the numbers that
// lineages are made of.
const chunkShift = 12

type owner struct {
	partition int32
	base      int64
}

// unknown stands in a lineage for an input whose row was not seen.
const unknown = ^uint32(0)

func (a *ids) init(l *Ledger) {
	a.l = l
	a.running = l.cfg.Accounting.Kind == workloads.Running
	a.keys = map[string]*key{}
	a.extra = map[id]int32{}
}

// part returns the partition of a row, or nil when no plan can hold its id,
// and when the input was due; known is false while the plan cannot say.
func (a *ids) part(at int64, o *Observation) (p *part, due int64, known bool) {
	if o.Partition < 0 || o.Partition >= maxPartitions || o.Sequence < 0 {
		return nil, 0, false
	}
	i, known := a.l.plan.Index(o.Partition, o.Sequence)
	if known {
		// An invented id must not get as far as the lanes and lineages: it would
		// make its honest neighbours look wrong.
		if due = a.l.cursor.Due(i); a.l.plan.Closing(i) || due > at+early {
			return nil, 0, false
		}
	} else if a.l.plan.Limit() != math.MaxInt64 || o.Sequence > a.l.plan.Count(at)+slack {
		return nil, 0, false
	}
	for int(o.Partition) >= len(a.parts) {
		a.parts = append(a.parts, nil)
	}
	p = a.parts[o.Partition]
	if p == nil {
		p = &part{}
		a.parts[o.Partition] = p
	}
	return p, due, known
}

func (a *ids) observe(at int64, o *Observation) {
	p, due, known := a.part(at, o)
	if p == nil {
		a.surprise(o, "no such input was sent")
		return
	}
	fresh := p.seen.add(o.Sequence)
	if fresh {
		a.visible++
		if p.first == 0 {
			p.first = at
		}
		if p.late.has(o.Sequence) {
			a.both++
			a.bothLate++
			a.duplicates++
			p.twice.add(o.Sequence)
		} else if known {
			a.l.sampleDue(due, at, o.Intake)
		} else {
			a.l.sample(o.Partition, o.Sequence, at, o.Intake)
		}
	} else {
		a.copy(p, o)
	}
	if a.l.watching && a.l.isNew(o, fresh) {
		a.l.sawNew(at)
	}
	if !fresh && !a.running {
		return
	}
	k := a.keys[string(o.Key)]
	if k == nil {
		k = &key{}
		a.keys[string(o.Key)] = k
	}
	if fresh {
		k.first++
		k.hash += workloads.HashID(o.Partition, o.Sequence)
		a.order(k, o)
	}
	if a.running {
		a.extend(at, k, p, o)
	}
}

// late takes a record of the late topic.
func (a *ids) late(at int64, o *Observation) {
	p, _, _ := a.part(at, o)
	if p == nil {
		a.surprise(o, "late record that was never sent")
		return
	}
	if !p.late.add(o.Sequence) {
		a.copy(p, o)
		return
	}
	a.lateInputs++
	if p.seen.has(o.Sequence) {
		a.both++
		a.duplicates++
		p.twice.add(o.Sequence)
	}
}

func (a *ids) copy(p *part, o *Observation) {
	a.duplicates++
	if !p.twice.add(o.Sequence) {
		a.extra[id{o.Partition, o.Sequence}]++
	}
}

func (a *ids) surprise(o *Observation, why string) {
	a.l.unexpected++
	if a.l.full(Unexpected) {
		return
	}
	a.l.note(Unexpected, runs.RecordID{Partition: o.Partition, Sequence: o.Sequence,
		Detail: fmt.Sprintf("%s (output %d offset %d, key %q, value %d)", why, o.Output, o.Offset, o.Key, o.Value)})
}

// order checks a first row against the first rows before it in its lane.
func (a *ids) order(k *key, o *Observation) {
	ln := k.lane(o.Partition, o.Output)
	if o.Sequence > ln.last {
		ln.last = o.Sequence
		return
	}
	a.reordered++
	if !a.l.full(Reordered) {
		a.l.note(Reordered, runs.RecordID{Partition: o.Partition, Sequence: o.Sequence,
			Detail: fmt.Sprintf("key %q: after sequence %d in output %d", o.Key, ln.last, o.Output)})
	}
}

// searched is the number of lanes up to which a key's are searched one by one.
const searched = 16

func (k *key) lane(in, out int32) *lane {
	if k.index == nil {
		for i := range k.lanes {
			if ln := &k.lanes[i]; ln.in == in && ln.out == out {
				return ln
			}
		}
		if len(k.lanes) == searched {
			k.index = map[uint64]int32{}
			for i, ln := range k.lanes {
				k.index[laneKey(ln.in, ln.out)] = int32(i)
			}
		}
	} else if i, ok := k.index[laneKey(in, out)]; ok {
		return &k.lanes[i]
	}
	k.lanes = append(k.lanes, lane{in: in, out: out, last: -1})
	if k.index != nil {
		k.index[laneKey(in, out)] = int32(len(k.lanes) - 1)
	}
	return &k.lanes[len(k.lanes)-1]
}

func laneKey(in, out int32) uint64 { return uint64(uint32(in))<<32 | uint64(uint32(out)) }

// extend moves a key's lineage on by one row; the package comment says how.
func (a *ids) extend(at int64, k *key, p *part, o *Observation) {
	n := int64(len(k.lineage))
	if o.Value < 1 || o.Value > n+1 && o.Value > 2*a.l.plan.Count(at)+slack {
		a.surprise(o, "no key can have this count")
		return
	}
	before := cap(k.lineage)
	if o.Value <= n {
		k.lineage = k.lineage[:o.Value-1]
	}
	for int64(len(k.lineage)) < o.Value-1 {
		k.lineage = append(k.lineage, unknown)
	}
	k.lineage = append(k.lineage, a.number(p, o.Partition, o.Sequence))
	a.lineages += int64(cap(k.lineage) - before)
}

// number gives an input the 32-bit number that lineages hold.
func (a *ids) number(p *part, partition int32, sequence int64) uint32 {
	c := int(sequence >> chunkShift)
	for c >= len(p.chunks) {
		p.chunks = append(p.chunks, 0)
	}
	if p.chunks[c] == 0 {
		a.owners = append(a.owners, owner{partition, int64(c) << chunkShift})
		p.chunks[c] = uint32(len(a.owners)) // number of the chunk + 1
	}
	return (p.chunks[c]-1)<<chunkShift | uint32(sequence&(1<<chunkShift-1))
}

// numberOf returns the number of an input if it was given one.
func (p *part) numberOf(sequence int64) (uint32, bool) {
	c := int(sequence >> chunkShift)
	if c >= len(p.chunks) || p.chunks[c] == 0 {
		return 0, false
	}
	return (p.chunks[c]-1)<<chunkShift | uint32(sequence&(1<<chunkShift-1)), true
}

// numbered is the inverse of number.
func (a *ids) numbered(n uint32) (partition int32, sequence int64) {
	o := a.owners[n>>chunkShift]
	return o.partition, o.base + int64(n&(1<<chunkShift-1))
}

func (a *ids) bytes() int64 {
	n := a.lineages*4 + int64(len(a.extra))*32
	for _, p := range a.parts {
		if p != nil {
			n += p.seen.bytes() + p.late.bytes() + p.twice.bytes() + int64(cap(p.chunks))*4
		}
	}
	for _, k := range a.keys {
		n += int64(cap(k.lanes))*16 + 128
	}
	return n
}
