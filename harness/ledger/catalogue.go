package ledger

import (
	"fmt"
	"math"
	"strings"

	"streamduel/connectors"
	"streamduel/runs"
)

// Model is an execution model, as far as a crash depends on it.
type Model string

// The two models.
const (
	MicroBatch Model = "microbatch"
	Dataflow   Model = "dataflow"
)

// Crash is what is known of a kill: what the worker wrote before it killed
// itself (engines.FailpointReached), and how the job was set up. It holds for
// workloads with one output an input.
type Crash struct {
	Model     Model
	Point     string // as in the crash catalogue; empty for a kill anywhere else
	Guarantee connectors.Guarantee
	// Records is n, the records of the batch.
	Records int64
	// Acked is k, or e, or e': outputs acknowledged whose input lies at or after
	// the positions that the restart goes on from.
	Acked int64
	// Missing is how many inputs before those positions had no output
	// acknowledged: n − k where the positions are the batch's end, r elsewhere.
	Missing int64
	// InFlight is how many requests' records were unanswered at the kill: zero at
	// a failpoint, which waits for them.
	InFlight int64
	// Uncommitted is how many records lie in prepared transactions that the restart
	// has to commit, and Lost that it went on without those: X1 and X2, of a job
	// that is told to.
	Uncommitted int64
	Lost        bool
	// Broken is the negative control: micro-batch commits its offsets apart from
	// the output, dataflow commits output before its checkpoint is durable.
	Broken bool
}

// Range is a closed interval of counts.
type Range struct{ Lo, Hi int64 }

// Contains reports whether n lies in the range.
func (r Range) Contains(n int64) bool { return r.Lo <= n && n <= r.Hi }

func (r Range) String() string {
	switch {
	case r.Lo == r.Hi:
		return fmt.Sprint(r.Lo)
	case r.Hi == math.MaxInt64:
		return fmt.Sprintf("%d or more", r.Lo)
	}
	return fmt.Sprintf("%d … %d", r.Lo, r.Hi)
}

// Expectation is what a crash must show, as a read_committed reader sees the
// output after recovery and drain.
type Expectation struct {
	Duplicates, Losses, StateOvercount, StateLosses Range
	// Entry is the catalogue's, such as "n/0".
	Entry string
}

// amount is one side of an entry of the catalogue.
type amount int

const (
	none            amount = iota
	allOfBatch             // n
	acked                  // k, e, e'
	notAcked               // n − k
	upToRead               // at most r: records read and not acknowledged
	uncommitted            // of transactions that are prepared and not committed
	upToUncommitted        // the same, some of which were committed by others meanwhile
)

func (a amount) of(c Crash) Range {
	switch a {
	case allOfBatch:
		return Range{c.Records, c.Records}
	case acked:
		return Range{c.Acked, c.Acked + c.InFlight}
	case notAcked:
		return Range{max(0, c.Missing-c.InFlight), c.Missing}
	case upToRead:
		return Range{0, c.Missing}
	case uncommitted:
		return Range{c.Uncommitted, c.Uncommitted}
	case upToUncommitted:
		return Range{0, c.Uncommitted}
	}
	return Range{}
}

// entry is one cell of the catalogue: excess copies / lost inputs.
type entry struct {
	copies, losses amount
	text           string
}

var (
	nothing   = entry{none, none, "0/0"}
	loseAll   = entry{none, allOfBatch, "0/n"}
	loseRest  = entry{none, notAcked, "0/(n−k)"}
	copyAcked = entry{acked, none, "k/0"}
	copyAll   = entry{allOfBatch, none, "n/0"}
	loseRead  = entry{none, upToRead, "0/≤r"}
	copyFrom  = entry{acked, none, "e/0"}
	copyAfter = entry{acked, none, "e'/0"}
	loseOpen  = entry{none, uncommitted, "0/uncommitted epochs"}
	loseRests = entry{none, upToUncommitted, "0/≤uncommitted epochs"}
)

// row is one crash point; a nil entry is a combination that does not exist.
type row struct {
	model         Model
	points        string // separated by spaces
	amo, alo, eos *entry
}

// catalogue is docs/crash-points.md as data: what each delivery mode must show
// at each point. Points that need a special set-up (a torn file, two
// generations, a transaction that timed out) and whose figure is not a function
// of the counts at the kill are expected where they are run.
var catalogue = []row{
	{MicroBatch, "M0 M0t", &nothing, &nothing, &nothing},
	{MicroBatch, "M1", &loseAll, &nothing, &nothing},
	{MicroBatch, "M2", &loseRest, &copyAcked, &nothing},
	{MicroBatch, "M2r", nil, &copyAcked, &nothing},
	{MicroBatch, "M3", &nothing, &copyAll, &nothing},
	{MicroBatch, "M4", &nothing, &nothing, &nothing},
	{MicroBatch, "T1 T2 T3 X3", nil, nil, &nothing},
	{MicroBatch, "E1 E2 E3", nil, &copyFrom, nil},

	{Dataflow, "D0 D1 D2 D3 D4", &loseRead, &copyFrom, &nothing},
	{Dataflow, "D5 D6 D7 D8", &loseRead, &copyAfter, &nothing},
	{Dataflow, "D9", nil, nil, &nothing},
	{Dataflow, "R1", &loseRead, &copyAfter, &nothing},
	{Dataflow, "R2", nil, nil, &nothing},
}

// broken is what the negative control must show: the crash between the two
// commits that should have been one repeats what the first of them made visible.
var broken = map[Model]map[string]*entry{
	MicroBatch: {"M3": &copyAll, "T2": &copyAll},
	Dataflow:   {"D3": &copyFrom, "D4": &copyFrom},
}

// lost is what a job shows under exactly-once that goes on without the prepared
// output it cannot commit any more: at D5 nobody has committed any of it, at D6
// others may have after the first.
var lost = map[Model]map[string]*entry{
	Dataflow: {"D5": &loseOpen, "D6": &loseRests},
}

// elsewhere is a kill at no named point: what is acknowledged and in flight
// bounds the copies, what is read bounds the losses.
var elsewhere = row{amo: &loseRead, alo: &copyFrom, eos: &nothing}

// Expect works out what a crash must show. It is an error to ask for a
// combination that the catalogue does not have.
func Expect(c Crash) (Expectation, error) {
	r, ok := elsewhere, c.Point == ""
	for _, known := range catalogue {
		if ok {
			break
		}
		if known.model != c.Model {
			continue
		}
		for _, p := range strings.Fields(known.points) {
			if p == c.Point {
				r, ok = known, true
			}
		}
	}
	if !ok {
		return Expectation{}, fmt.Errorf("crash point %q: the catalogue has none of that name for %s; it has %s", c.Point, c.Model, strings.Join(Points(c.Model), " "))
	}
	var e *entry
	switch c.Guarantee {
	case connectors.AtMostOnce:
		e = r.amo
	case connectors.AtLeastOnce:
		e = r.alo
	case connectors.ExactlyOnce:
		e = r.eos
		if c.Broken {
			if b := broken[c.Model][c.Point]; b != nil {
				e = b
			}
		}
		if c.Lost {
			if l := lost[c.Model][c.Point]; l != nil {
				e = l
			}
		}
	}
	if e == nil {
		return Expectation{}, fmt.Errorf("crash point %s: the catalogue has no entry for %s", c.Point, c.Guarantee)
	}
	x := Expectation{Duplicates: e.copies.of(c), Losses: e.losses.of(c), Entry: e.text}
	switch {
	case c.Guarantee == connectors.AtMostOnce:
		// Positions may be ahead of the snapshot: what lies between is lost to
		// state. How much is not known from the sinks.
		x.StateLosses.Hi = math.MaxInt64
	case c.Guarantee == connectors.AtLeastOnce && c.Model == Dataflow:
		// Counted barriers let inputs behind them into the snapshot.
		x.StateOvercount.Hi = math.MaxInt64
	}
	return x, nil
}

// And is what two crashes in a row must show together: what the second repeats or
// loses comes to what the first did.
func (x Expectation) And(y Expectation) Expectation {
	sum := func(a, b Range) Range {
		r := Range{a.Lo + b.Lo, a.Hi + b.Hi}
		if a.Hi == math.MaxInt64 || b.Hi == math.MaxInt64 {
			r.Hi = math.MaxInt64
		}
		return r
	}
	return Expectation{
		Duplicates: sum(x.Duplicates, y.Duplicates), Losses: sum(x.Losses, y.Losses),
		StateOvercount: sum(x.StateOvercount, y.StateOvercount), StateLosses: sum(x.StateLosses, y.StateLosses),
		Entry: x.Entry + " and " + y.Entry,
	}
}

// Points lists the catalogue's points for a model.
func Points(m Model) (points []string) {
	for _, r := range catalogue {
		if r.model == m {
			points = append(points, strings.Fields(r.points)...)
		}
	}
	return points
}

// Flawless is what a cell without a crash must show.
func Flawless() Expectation { return Expectation{Entry: "0/0"} }

// Deviations compares a judgement with the expectation and says in plain
// sentences what differs; none means that the crash showed what it must.
func (x Expectation) Deviations(r *Result) (all []string) {
	check := func(what string, got int64, want Range) {
		if !want.Contains(got) {
			all = append(all, fmt.Sprintf("%d %s, expected %s (%s)", got, what, want, x.Entry))
		}
	}
	check(Duplicates, r.Duplicates, x.Duplicates)
	check(Losses, r.Losses, x.Losses)
	if r.HasState {
		check(StateOvercount, r.StateOvercount, x.StateOvercount)
	}
	if r.HasState && r.HasIDs {
		check(StateLosses, r.StateLosses, x.StateLosses)
	}
	check(Unexpected, r.Unexpected, Range{})
	return all
}

// Expected is the expectation as summary.json has it.
func (x Expectation) Expected() *runs.Expected {
	bounds := func(r Range) (lo, hi *int64) {
		lo = &r.Lo
		if r.Hi != r.Lo {
			hi = &r.Hi
		}
		return lo, hi
	}
	e := &runs.Expected{}
	e.Duplicates, e.DuplicatesAtMost = bounds(x.Duplicates)
	e.Losses, e.LossesAtMost = bounds(x.Losses)
	return e
}
