package ledger

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"

	"streamduel/connectors"
	"streamduel/harness/plan"
	"streamduel/pipeline"
	"streamduel/runs"
	"streamduel/workloads"
)

// Names of the anomalies of dead letters.
const (
	DeadDuplicates = "deadLetterDuplicates"
	DeadLosses     = "deadLetterLosses"
	DeadUnexpected = "deadLetterUnexpected"
)

// deadLetters accounts for the topic of bad input: which inputs a job has
// refused. A dead letter names its input by split and position.
type deadLetters struct {
	parts      []*bitmap
	rows       int64
	visible    int64 // inputs with at least one dead letter
	copies     int64
	unexpected int64
	copied     []runs.RecordID
	odd        []runs.RecordID
}

func (d *deadLetters) of(g int32) *bitmap {
	if int(g) < len(d.parts) && d.parts[g] != nil {
		return d.parts[g]
	}
	return &bitmap{}
}

var errDead = errors.New("a dead letter has the headers " + pipeline.DeadSplit + ` ("topic/3") and ` + pipeline.DeadPosition)

// ParseDead reads the input that a dead letter names by its headers.
func (l *Ledger) ParseDead(r *connectors.Record, row *workloads.Row) error {
	row.Partition, row.Sequence = -1, -1
	for _, h := range r.Headers {
		switch h.Key {
		case pipeline.DeadSplit:
			topic, number, ok := strings.Cut(string(h.Value), "/")
			n, err := strconv.ParseInt(number, 10, 32)
			if g, known := l.plan.Global(plan.Partition{Topic: topic, Number: int32(n)}); ok && err == nil && known {
				row.Partition = g
			}
		case pipeline.DeadPosition:
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil {
				row.Sequence = n
			}
		}
	}
	if row.Partition < 0 || row.Sequence < 0 {
		return errDead
	}
	return nil
}

func noted(list []runs.RecordID, id runs.RecordID) []runs.RecordID {
	if len(list) < runs.AnomalyIDs {
		list = append(list, id)
	}
	return list
}

// observe takes one dead letter.
func (d *deadLetters) observe(l *Ledger, at int64, o *Observation) {
	d.rows++
	id := runs.RecordID{Partition: o.Partition, Sequence: o.Sequence}
	i, known := int64(0), false
	if o.Partition >= 0 && o.Partition < maxPartitions && o.Sequence >= 0 {
		i, known = l.plan.Index(o.Partition, o.Sequence)
		// Of an epoch that was not heard of yet it is judged at the end.
		known = known || l.plan.Limit() == math.MaxInt64 && o.Sequence <= l.plan.Count(at)+slack
	}
	if !known || l.plan.Closing(i) {
		d.unexpected++
		id.Detail = fmt.Sprintf("no such input was sent (dead letter %d)", o.Offset)
		d.odd = noted(d.odd, id)
		return
	}
	for int(o.Partition) >= len(d.parts) {
		d.parts = append(d.parts, nil)
	}
	if d.parts[o.Partition] == nil {
		d.parts[o.Partition] = &bitmap{}
	}
	if !d.parts[o.Partition].add(o.Sequence) {
		d.copies++
		d.copied = noted(d.copied, id)
		return
	}
	d.visible++
}

// badInputs are the inputs that the plan made bad.
type badInputs struct {
	parts []*bitmap
	kinds map[string]int64
	total int64
}

// of returns the bad inputs of a partition; it may be asked of nil.
func (b *badInputs) of(g int32) *bitmap {
	if b != nil && int(g) < len(b.parts) && b.parts[g] != nil {
		return b.parts[g]
	}
	return &bitmap{}
}

// badSent lists the bad inputs that were sent; nil where the load makes none.
func (l *Ledger) badSent(s sent) *badInputs {
	if !l.plan.Shape().Bad.Any() {
		return nil
	}
	b := &badInputs{parts: make([]*bitmap, len(s)), kinds: map[string]int64{}}
	s.inputs(l.plan, 0, func(_ *plan.Cursor, in workloads.Input) {
		kind := l.plan.Bad(in.Index)
		if kind == "" {
			return
		}
		if b.parts[in.Partition] == nil {
			b.parts[in.Partition] = &bitmap{}
		}
		b.parts[in.Partition].add(in.Sequence)
		b.kinds[string(kind)]++
		b.total++
	})
	return b
}

// finishBad judges bad input: none of it may be seen as a result or as late, and
// where it is kept each of it must be a dead letter, once.
func (l *Ledger) finishBad(r *Result, s sent, bad *badInputs) {
	d := &l.dead
	if bad == nil {
		r.Dead.Rows = d.rows
		r.Dead.Unexpected = d.rows // nothing was to be refused
		return
	}
	r.Bad, r.BadKinds = bad.total, maps.Clone(bad.kinds)
	r.HasDead = l.cfg.DeadLetters
	r.Dead = DeadLetters{Rows: d.rows, Duplicates: d.copies, Unexpected: d.unexpected}
	put := func(kind string, ids []runs.RecordID) {
		for _, id := range ids {
			r.note(kind, id)
		}
	}
	put(DeadDuplicates, d.copied)
	put(DeadUnexpected, d.odd)
	for g := int32(0); int(g) < max(len(s), len(d.parts), len(l.ids.parts)); g++ {
		seen, is, p := d.of(g), bad.of(g), l.ids.of(g)
		is.each(0, s.of(g), func(seq int64) bool {
			id := runs.RecordID{Partition: g, Sequence: seq}
			if seen.has(seq) {
				r.Dead.Visible++
			} else if r.HasDead {
				r.Dead.Losses++
				r.note(DeadLosses, id)
			}
			if p.late.has(seq) {
				r.Late--
				r.Unexpected++
				id.Detail = "bad input was sent on as late"
				r.note(Unexpected, id)
			}
			return true
		})
		seen.each(0, seen.limit(), func(seq int64) bool {
			if !is.has(seq) {
				r.Dead.Unexpected++
				r.note(DeadUnexpected, runs.RecordID{Partition: g, Sequence: seq, Detail: "a good record was refused"})
			}
			return true
		})
	}
}

// DeadLetters is what became visible in the topic of bad input.
type DeadLetters struct {
	Rows       int64 // records in the topic
	Visible    int64 // bad inputs with a dead letter
	Duplicates int64 // copies beyond the first
	Losses     int64 // bad inputs without one
	Unexpected int64 // dead letters that no bad input explains
}

// BadInput returns what the ledger knows of bad input; nil where the load makes none.
func (r *Result) BadInput() *runs.BadInput {
	if r.BadKinds == nil {
		return nil
	}
	n := func(v int64) *int64 { return &v }
	b := &runs.BadInput{Sent: n(r.Bad), Kinds: r.BadKinds}
	if r.HasDead {
		b.DeadLetters, b.Duplicates, b.Losses, b.Unexpected = n(r.Dead.Visible), n(r.Dead.Duplicates), n(r.Dead.Losses), n(r.Dead.Unexpected)
	}
	return b
}
