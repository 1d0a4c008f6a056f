package ledger

import (
	"encoding/binary"
	"fmt"

	"streamduel/harness/plan"
	"streamduel/workloads"
)

// cell is one (key, window): what the oracle expects of it and what was seen.
type cell struct {
	// The oracle's side.
	inputs int64 // contributions
	value  int64
	hash   uint64

	// The output's side.
	rows    int64
	got     int64  // Delta: sum of the increments; else the last value
	gotHash uint64 // of got
	hashed  bool   // every row so far had a hash
	shown   int64  // value up to which inputs count as visible
	seen    sparse // Running: values seen

	pending []pending // contributions not yet visible, in schedule order
	head    int
}

// pending is a contribution that no output shows yet.
type pending struct {
	upTo int64 // the oracle's value with it
	due  int64
}

// values accounts for aggregates without ids. It evaluates the oracle as the
// schedule goes by, because latency needs to know which inputs an update makes
// visible; what the run then proves is decided in finish.
type values struct {
	l       *Ledger
	kind    workloads.AccountingKind
	oracle  workloads.Oracle
	cells   map[string]*cell
	scratch []byte
	payload []byte

	next    int64 // index of the next input to evaluate
	epochs  int
	dirty   bool // inputs were evaluated by a plan that has changed since
	emitted bool
	quiet   bool // the run is over: no more latencies
	in      workloads.Input
	emit    func(key []byte, window, value int64)

	filtered int64
	counted  int64 // inputs that contribute to something
	visible  int64 // contributions
	copies   int64 // rows, or for Delta contributions, that were copies
	rowSeen  map[uint64]struct{}
	waiting  int64 // pending entries in all cells
}

func newValues(l *Ledger) *values {
	v := &values{l: l, kind: l.cfg.Accounting.Kind, cells: map[string]*cell{}, rowSeen: map[uint64]struct{}{}}
	v.emit = v.contribute
	v.restart()
	return v
}

// restart begins the evaluation anew; what the output showed is kept.
func (v *values) restart() {
	if v.l.cfg.Accounting.Oracle != nil {
		v.oracle = v.l.cfg.Accounting.Oracle()
	}
	v.next, v.filtered, v.counted, v.dirty = 0, 0, 0, false
	v.epochs = len(v.l.plan.Epochs())
	for _, c := range v.cells {
		c.inputs, c.value, c.hash = 0, 0, 0
	}
}

// begun evaluates what was evaluated so far again, without what lies before where
// the job begins: its values do not hold that, and each of them would show the wrong
// inputs from then on. What was shown by now stays as it was counted.
func (v *values) begun() {
	n := v.next
	v.restart()
	for _, c := range v.cells {
		c.pending, c.head = nil, 0
	}
	v.waiting = 0
	if v.oracle == nil {
		return
	}
	for ; v.next < n; v.next++ {
		in, ok := v.l.cursor.Record(v.next)
		if !ok {
			break
		}
		v.evaluate(in, false)
	}
	for _, c := range v.cells {
		shown := 0
		for shown < len(c.pending) && c.pending[shown].upTo <= c.shown {
			shown++
		}
		c.head = shown
		v.waiting -= int64(shown)
	}
}

// at returns the cell of a key and window; it allocates for new ones only.
func (v *values) at(key []byte, window int64) *cell {
	v.cellKey(key, window)
	c := v.cells[string(v.scratch)]
	if c == nil {
		c = &cell{hashed: true}
		v.cells[string(v.scratch)] = c
	}
	return c
}

// cellKey leaves the map key of a key and window in scratch.
func (v *values) cellKey(key []byte, window int64) {
	v.scratch = append(v.scratch[:0], key...)
	if v.kind == workloads.Windows {
		v.scratch = binary.BigEndian.AppendUint64(v.scratch, uint64(window))
	}
}

// name describes a cell by its map key.
func (v *values) name(k string) string {
	if v.kind == workloads.Windows {
		n := len(k) - 8
		return fmt.Sprintf("key %q window %d", k[:n], int64(binary.BigEndian.Uint64([]byte(k[n:]))))
	}
	return fmt.Sprintf("key %q", k)
}

// advance evaluates every input that is due by the monotonic time at. Rows
// without ids are only of interest to the ledger that keeps latencies, so
// others wait for finish.
func (v *values) advance(at int64) {
	if !v.l.cfg.Latency || v.oracle == nil {
		return
	}
	if es := v.l.plan.Epochs(); len(es) > v.epochs {
		v.dirty = v.dirty || es[v.epochs].From < v.next
		v.epochs = len(es)
	}
	for v.l.cursor.Due(v.next) <= at {
		in, ok := v.l.cursor.Record(v.next)
		if !ok { // the load may be stopped while this goes on
			return
		}
		v.evaluate(in, false)
		v.next++
	}
}

func (v *values) evaluate(in workloads.Input, late bool) {
	if v.l.plan.Bad(in.Index) != "" || in.Sequence < v.l.begin(in.Partition) {
		return // nothing can come of it
	}
	v.in = in
	v.payload, _ = v.l.cfg.Generator.Append(v.payload[:0], v.in)
	v.emitted = false
	v.oracle.Add(v.in, v.payload, late, v.emit)
	switch {
	case v.emitted:
		v.counted++
	case !late:
		v.filtered++
	}
}

// contribute is what the oracle calls back.
func (v *values) contribute(key []byte, window, value int64) {
	v.emitted = true
	c := v.at(key, window)
	c.inputs++
	c.value += value
	c.hash += workloads.HashID(v.in.Partition, v.in.Sequence)
	if v.quiet {
		return
	}
	c.pending = append(c.pending, pending{c.value, v.in.Scheduled})
	v.waiting++
}

// observe takes one row of the results.
func (v *values) observe(at int64, o *Observation) {
	c := v.at(o.Key, o.Window)
	c.rows++
	c.hashed = c.hashed && o.HasHash
	before := c.shown
	switch v.kind {
	case workloads.Delta:
		if o.HasHash && !v.firstRow(c, o) {
			v.copies += v.units(o.Value)
			return
		}
		c.got += o.Value
		c.gotHash += o.IDHash
		c.shown = max(c.shown, c.got)
	case workloads.Running:
		if o.Value > 0 && o.Value <= v.l.plan.Count(at)*maxPerInput+slack && !c.seen.add(o.Value) {
			v.copies++
		}
		c.got, c.gotHash = o.Value, o.IDHash
		c.shown = max(c.shown, o.Value)
	default:
		if c.rows > 1 {
			v.copies++
		}
		c.got, c.gotHash = o.Value, o.IDHash
		c.shown = max(c.shown, o.Value)
	}
	if c.shown > before || c.rows == 1 {
		v.l.sawNew(at)
		v.show(c, at)
	}
}

// maxPerInput bounds how many contributions of one input the values of a key
// may stem from before the ledger stops keeping a map of values seen.
const maxPerInput = 64

// units is what a surplus of value counts as.
func (v *values) units(value int64) int64 { return max(1, value) }

// firstRow reports whether an increment was not seen before. The sum of id
// hashes is as good as the list of ids: two different lists of one key have
// the same sum once in 2⁶⁴.
func (v *values) firstRow(c *cell, o *Observation) bool {
	h := o.IDHash
	for _, b := range o.Key {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	h ^= uint64(o.Value) * 0x9e3779b97f4a7c15
	if _, ok := v.rowSeen[h]; ok {
		return false
	}
	v.rowSeen[h] = struct{}{}
	return true
}

// show counts the contributions that a cell's output covers now.
func (v *values) show(c *cell, at int64) {
	n := c.head
	for n < len(c.pending) && c.pending[n].upTo <= c.shown {
		due := c.pending[n].due
		v.l.lat.record(kindEvent, due, due, at)
		n++
	}
	v.visible += int64(n - c.head)
	v.waiting -= int64(n - c.head)
	c.head = n
	switch {
	case c.head == len(c.pending):
		c.pending, c.head = c.pending[:0], 0
		if v.kind == workloads.Windows {
			c.pending = nil // the window is done
		}
	case c.head > len(c.pending)/2:
		c.pending = c.pending[:copy(c.pending, c.pending[c.head:])]
		c.head = 0
	}
}

// finish evaluates what is left, and all of it again where the run turned out
// to differ from what was assumed on the way: late records, inputs that were
// never sent, an epoch heard of too late.
func (v *values) finish(s sent) {
	if v.oracle == nil {
		return
	}
	again := v.dirty || v.l.ids.lateInputs > 0
	for p := range v.l.plan.All() {
		again = again || v.l.plan.Sequences(int32(p), v.next) > s.of(int32(p))
	}
	if again {
		v.restart()
	}
	v.quiet = true
	s.inputs(v.l.plan, v.next, func(c *plan.Cursor, in workloads.Input) {
		v.evaluate(in, v.l.ids.isLate(in.Partition, in.Sequence))
	})
}

func (v *values) bytes() int64 {
	n := v.waiting*16 + int64(len(v.rowSeen))*16
	for k, c := range v.cells {
		n += int64(len(k)) + 160 + c.seen.bytes()
	}
	return n
}
