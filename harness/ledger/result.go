package ledger

import (
	"fmt"
	"sort"

	"streamduel/harness/plan"
	"streamduel/runs"
	"streamduel/workloads"
)

// sent is how many records each partition holds, closing records left out. The
// sequences below it were sent, the others were not.
type sent []int64

func (s sent) of(partition int32) int64 {
	if partition < 0 || int(partition) >= len(s) {
		return 0
	}
	return s[partition]
}

func (s sent) total() (n int64) {
	for _, c := range s {
		n += c
	}
	return n
}

// inputs calls f for every input that was sent, from an index on, in schedule
// order.
func (s sent) inputs(p *plan.Plan, from int64, f func(*plan.Cursor, workloads.Input)) {
	var end int64
	for g, n := range s {
		if i, ok := p.Index(int32(g), n-1); ok {
			end = max(end, i+1)
		}
	}
	end = min(end, p.Limit())
	c := p.Cursor()
	for i := from; i < end; i++ {
		if in := c.Input(i); in.Sequence < s.of(in.Partition) {
			f(c, in)
		}
	}
}

// Result is a ledger's judgement.
type Result struct {
	// Sent is the number of inputs, closing records left out. Expected is what
	// the other counts are out of: Sent where rows have ids, else the
	// contributions that the oracle made of them.
	Sent, Expected int64
	// Visible inputs (or contributions) had their effect seen.
	Visible        int64
	Duplicates     int64
	Losses         int64
	Late           int64
	Unexpected     int64
	Reordered      int64
	StateOvercount int64
	StateLosses    int64

	// Rows are all outputs seen, closing rows left out; Malformed those of them
	// that could not be parsed.
	Rows, Malformed int64
	// Filtered inputs contribute to nothing by the oracle, Counted ones do: where
	// rows have no ids, the inputs of the contributions that Expected counts. What
	// was late is neither.
	Filtered, Counted int64
	// BeforeStart are inputs that lie before where the job began to read.
	BeforeStart int64
	// Bad inputs could not be used, by the plan, and are in none of the other
	// counts; BadKinds are how many of each kind, nil where the load makes none.
	// Dead are their dead letters, which HasDead asks for.
	Bad      int64
	BadKinds map[string]int64
	Dead     DeadLetters
	HasDead  bool
	// Both is the number of inputs seen in the results and in the late topic;
	// each is one of the duplicates.
	Both int64
	// Masked is the number of keys (or windows) in which copies and losses
	// cancelled, wholly or in part.
	Masked int64
	// Unproven is the number of keys (or windows) whose copies or losses were
	// too many to be found one by one: their difference is exact, but more of
	// both could hide behind it.
	Unproven int64
	// Inexact is the number of keys whose surplus or deficit counts as one
	// because their values do not count inputs.
	Inexact int64

	// HasIDs: rows name their inputs, so that Duplicates, Losses and Reordered
	// are by input. HasState: StateOvercount and StateLosses were judged.
	// HasOracle: an oracle was evaluated.
	// HasLosses: how many inputs had to have an output is known, and so Losses.
	HasIDs, HasState, HasOracle, HasLosses bool

	Partitions []PartitionResult
	// Anomalies are the first runs.AnomalyIDs inputs of each kind.
	Anomalies map[string][]runs.RecordID
	Clipped   Clipped
	// Samples is how many event-time latencies were recorded, SamplesDue how many
	// there must be: one for each input (or contribution) that a row showed.
	Samples, SamplesDue int64
}

// PartitionResult is the share of one input partition, where rows have ids.
type PartitionResult struct {
	Partition                   int32
	Sent, Visible, Late, Losses int64
	FirstResult                 int64 // monotonic nanoseconds; 0 if none
}

// Finish judges the cell. perPartition holds how many records were sent to
// each input partition, by global number and without closing records. It may
// be called again with better counts only while no row was observed between.
func (l *Ledger) Finish(perPartition []int64) *Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := sent(perPartition)
	l.settle()
	r := &Result{
		Sent: s.total(), Rows: l.rows, Malformed: l.malformed,
		Unexpected: l.unexpected, Late: l.ids.lateInputs, Both: l.ids.both,
		Clipped: l.lat.clipped, Samples: l.lat.samples[kindEvent],
		Anomalies: map[string][]runs.RecordID{},
	}
	if l.cfg.Latency {
		r.SamplesDue = l.ids.visible - l.ids.bothLate
		if l.values != nil {
			r.SamplesDue += l.values.visible
		}
	}
	for kind, ids := range l.anomalies {
		r.Anomalies[kind] = append([]runs.RecordID(nil), ids...)
	}
	bad := l.badSent(s)
	if l.values == nil {
		l.finishIDs(r, s, bad)
	} else {
		l.finishValues(r, s)
	}
	l.finishBad(r, s, bad)
	return r
}

// note is Ledger.note for the lists that belong to one result.
func (r *Result) note(kind string, id runs.RecordID) bool {
	a := r.Anomalies[kind]
	if len(a) < runs.AnomalyIDs {
		r.Anomalies[kind] = append(a, id)
	}
	return len(r.Anomalies[kind]) < runs.AnomalyIDs
}

func (a *ids) isLate(partition int32, sequence int64) bool {
	return int(partition) < len(a.parts) && a.parts[partition] != nil && a.parts[partition].late.has(sequence)
}

// finishIDs judges rows that name their inputs.
func (l *Ledger) finishIDs(r *Result, s sent, bad *badInputs) {
	a := &l.ids
	r.HasIDs = true
	r.Reordered = a.reordered
	r.Duplicates = a.duplicates
	var o *oracleView
	if l.cfg.Accounting.Oracle != nil {
		o = l.evaluate(s)
		r.HasOracle, r.Filtered = true, o.filtered
	}
	r.HasLosses = o != nil || l.cfg.Accounting.Kind != workloads.Matches
	r.Late = 0
	for g := int32(0); int(g) < max(len(s), len(a.parts)); g++ {
		p, none := a.of(g), o.noneOf(g)
		n := s.of(g)
		begin := min(l.begin(g), n)
		r.BeforeStart += begin
		pr := PartitionResult{Partition: g, Sent: n, FirstResult: p.first,
			Visible: p.seen.countRange(begin, n), Late: p.late.countRange(begin, n)}
		r.Unexpected += p.seen.countRange(0, begin)
		p.seen.each(0, begin, func(seq int64) bool {
			return r.note(Unexpected, runs.RecordID{Partition: g, Sequence: seq, Detail: fmt.Sprintf("the job was to begin at position %d", begin)})
		})
		if r.HasLosses {
			pr.Losses = missing(begin, n, func(seq int64) bool {
				return r.note(Losses, runs.RecordID{Partition: g, Sequence: seq})
			}, &p.seen, &p.late, none, bad.of(g))
		}
		for _, x := range []struct {
			set *bitmap
			why string
		}{{none, "the oracle filters this input out"}, {bad.of(g), "this input is bad: nothing can be made of it"}} {
			p.seen.each(0, n, func(seq int64) bool {
				if x.set.has(seq) {
					r.Unexpected++
					pr.Visible--
					r.note(Unexpected, runs.RecordID{Partition: g, Sequence: seq, Detail: x.why})
				}
				return x.set.count > 0
			})
		}
		r.Visible += pr.Visible
		r.Losses += pr.Losses
		r.Late += pr.Late
		r.Partitions = append(r.Partitions, pr)
		l.neverSent(r, g, p, n)
		p.twice.each(0, n, func(seq int64) bool {
			return r.note(Duplicates, runs.RecordID{Partition: g, Sequence: seq, Copies: 2 + int64(a.extra[id{g, seq}])})
		})
	}
	r.Expected = r.Sent - r.Filtered - r.BeforeStart
	if bad != nil {
		r.Expected -= bad.total
	}
	if !r.HasLosses {
		r.Expected = r.Visible
	}
	if a.running {
		r.HasState = true
		if o != nil {
			l.judgeKeys(r, s, o, bad)
		}
		l.finishState(r, s, o)
	}
}

// of returns what was seen of a partition, which may be nothing.
func (a *ids) of(g int32) *part {
	if g >= 0 && int(g) < len(a.parts) && a.parts[g] != nil {
		return a.parts[g]
	}
	return &part{}
}

// neverSent judges rows of ids behind a partition's end: they are unexpected,
// their copies are no duplicates.
func (l *Ledger) neverSent(r *Result, g int32, p *part, n int64) {
	var rows int64
	for _, b := range []*bitmap{&p.seen, &p.late} {
		rows += b.countRange(n, b.limit())
		b.each(n, b.limit(), func(seq int64) bool {
			return r.note(Unexpected, runs.RecordID{Partition: g, Sequence: seq,
				Detail: fmt.Sprintf("only %d records were sent to this partition", n)})
		})
	}
	copies := p.twice.countRange(n, p.twice.limit())
	for id, more := range l.ids.extra {
		if id.partition == g && id.sequence >= n {
			copies += int64(more)
		}
	}
	// An id in both topics is in both sets and among the copies.
	var both int64
	p.seen.each(n, p.seen.limit(), func(seq int64) bool {
		if p.late.has(seq) {
			both++
		}
		return p.late.count > 0
	})
	r.Unexpected += rows + copies - both
	r.Duplicates -= copies
	r.Both -= both
}

// oracleView is what the oracle says of a workload whose rows have ids.
type oracleView struct {
	keys     map[string]*expected
	none     []*bitmap // by partition: inputs that give no output
	filtered int64
}

// expected is what the oracle says of one key.
type expected struct {
	lost, seen int64
	hash       uint64 // of the inputs seen
}

// noneOf returns the inputs of a partition that give no output.
func (o *oracleView) noneOf(g int32) *bitmap {
	if o != nil && int(g) < len(o.none) && o.none[g] != nil {
		return o.none[g]
	}
	return &bitmap{}
}

// evaluate runs the oracle over the input.
func (l *Ledger) evaluate(s sent) *oracleView {
	o := &oracleView{keys: map[string]*expected{}, none: make([]*bitmap, len(s))}
	oracle := l.cfg.Accounting.Oracle()
	var in workloads.Input
	var payload []byte
	var emitted, late bool
	emit := func(key []byte, _, _ int64) {
		emitted = true
		e := o.keys[string(key)]
		if e == nil {
			e = &expected{}
			o.keys[string(key)] = e
		}
		switch {
		case late:
		case l.ids.of(in.Partition).seen.has(in.Sequence):
			e.seen++
			e.hash += workloads.HashID(in.Partition, in.Sequence)
		default:
			e.lost++
		}
	}
	s.inputs(l.plan, 0, func(_ *plan.Cursor, next workloads.Input) {
		if l.plan.Bad(next.Index) != "" || next.Sequence < l.begin(next.Partition) {
			return // nothing can come of it
		}
		in, emitted = next, false
		late = l.ids.isLate(in.Partition, in.Sequence)
		payload, _ = l.cfg.Generator.Append(payload[:0], in)
		oracle.Add(in, payload, late, emit)
		if emitted || late {
			return
		}
		o.filtered++
		if o.none[in.Partition] == nil {
			o.none[in.Partition] = &bitmap{}
		}
		o.none[in.Partition].add(in.Sequence)
	})
	return o
}

// judgeKeys looks for rows that came under another key than their input's.
func (l *Ledger) judgeKeys(r *Result, s sent, o *oracleView, bad *badInputs) {
	var wrong int64
	for _, name := range l.ids.names() {
		k, e := l.ids.keys[name], o.keys[name]
		if e == nil {
			e = &expected{}
		}
		n := max(0, k.first-e.seen)
		if k.first == e.seen && k.hash != e.hash {
			n = 1
		}
		if n > 0 {
			wrong += n
			r.note(Unexpected, runs.RecordID{Partition: -1, Sequence: -1,
				Detail: fmt.Sprintf("key %q: %d rows answer inputs that are not its own", name, n)})
		}
	}
	// Rows of inputs that were never sent, that are bad or that the oracle filters
	// out, came under some key too and are counted already.
	for g := range l.ids.parts {
		p, n := l.ids.of(int32(g)), s.of(int32(g))
		wrong -= p.seen.countRange(n, p.seen.limit())
		for _, set := range []*bitmap{o.noneOf(int32(g)), bad.of(int32(g))} {
			set.each(0, set.limit(), func(seq int64) bool {
				if p.seen.has(seq) {
					wrong--
				}
				return true
			})
		}
	}
	r.Unexpected += max(0, wrong)
}

// names lists the keys in an order that does not depend on the map.
func (a *ids) names() []string {
	names := make([]string, 0, len(a.keys))
	for name := range a.keys {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// finishState judges the lineages. o is nil when there is no oracle.
func (l *Ledger) finishState(r *Result, s sent, o *oracleView) {
	a := &l.ids
	var in bitmap // numbers of the inputs that stand in a lineage
	var holes int64
	for _, name := range a.names() {
		var here int64
		for _, n := range a.keys[name].lineage {
			if n == unknown {
				here++
			} else if !in.add(int64(n)) {
				r.StateOvercount++
				g, seq := a.numbered(n)
				r.note(StateOvercount, runs.RecordID{Partition: g, Sequence: seq, Detail: fmt.Sprintf("key %q", name)})
			}
		}
		holes += here
		if o == nil {
			continue
		}
		// Which input of the key is lost is known, so a hole too many shows.
		var lost int64
		if e := o.keys[name]; e != nil {
			lost = e.lost
		}
		if here > lost {
			r.StateOvercount += here - lost
			r.note(StateOvercount, runs.RecordID{Partition: -1, Sequence: -1,
				Detail: fmt.Sprintf("key %q: counted %d inputs that no row shows, %d were lost", name, here, lost)})
		}
	}
	if o == nil && holes > r.Losses {
		r.StateOvercount += holes - r.Losses
	}
	for g, p := range a.parts {
		if p == nil {
			continue
		}
		p.seen.each(0, s.of(int32(g)), func(seq int64) bool {
			if n, ok := p.numberOf(seq); !ok || !in.has(int64(n)) {
				r.StateLosses++
				r.note(StateLosses, runs.RecordID{Partition: int32(g), Sequence: seq})
			}
			return true
		})
	}
}
