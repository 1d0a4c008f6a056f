package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"streamduel/connectors"
	"streamduel/workloads"
)

// generator makes payments. The same input always gives the same bytes, so that
// the observer can make them again and needs nothing but their numbers.
type generator struct {
	p    *Params
	seed uint64
	rng  rand.PCG
}

func newGenerator(p *Params, seed uint64) *generator { return &generator{p: p, seed: seed} }

// Append takes the cards in turn: two payments of a card never have the same
// millisecond, in which their order would be nobody's, as long as the load is
// below a thousand records a second and card.
func (g *generator) Append(dst []byte, in workloads.Input) (value, key []byte) {
	g.rng.Seed(g.seed, uint64(in.Index))
	kind, cents := "charge", int64(1000+g.rng.Uint64()%9000)
	switch n := g.rng.Uint64() % 100; {
	case n < 10:
		cents = 1 + cents%smallest
	case n < 12:
		cents += largest
	case n < 17:
		kind, cents = "confirm", 0
	}
	return appendPayment(dst, in.Index%int64(g.p.Cards), kind, cents, in.EventTime), nil
}

func (g *generator) Closing(dst []byte, in workloads.Input) (value, key []byte) {
	return appendPayment(dst, 0, "closing", 0, g.p.horizon().ClosingTime(in.EventTime)), nil
}

func appendPayment(dst []byte, card int64, kind string, cents, at int64) []byte {
	return fmt.Appendf(dst, `{"card":"card-%06d","kind":"%s","cents":%d,"at":%d}`, card, kind, cents, at)
}

// accounting says how an output names its input, and which inputs must have one.
func accounting(p *Params) workloads.Accounting {
	a := workloads.Accounting{Kind: workloads.Matches, Parse: parse}
	if p.Oracle {
		a.Oracle = func() workloads.Oracle {
			return &oracle{within: p.Within.Milliseconds(), probes: map[string][]int64{}}
		}
	}
	return a
}

func parse(r *connectors.Record, late bool, row *workloads.Row) error {
	var a alarm
	if err := json.Unmarshal(r.Value, &a); err != nil {
		return err
	}
	*row = workloads.Row{HasID: !a.Closing, Partition: a.Partition, Sequence: a.Sequence, Closing: a.Closing}
	if !late {
		row.Key = r.Key
	}
	return nil
}

// oracle finds the strikes in a plain loop over the payments, which come in the
// order of their times. It shares nothing with the pattern: for each card it
// keeps the probes that nobody has confirmed.
type oracle struct {
	within int64
	probes map[string][]int64
}

func (o *oracle) Add(_ workloads.Input, payload []byte, late bool, emit func(key []byte, window, value int64)) {
	var p struct {
		Card, Kind string
		Cents, At  int64
	}
	if late || json.Unmarshal(payload, &p) != nil {
		return
	}
	switch {
	case p.Kind == "confirm":
		delete(o.probes, p.Card)
	case p.Cents <= smallest:
		o.probes[p.Card] = append(o.probes[p.Card], p.At)
	case p.Cents >= largest:
		for _, at := range o.probes[p.Card] {
			if p.At-at < o.within {
				emit([]byte(p.Card), 0, 1)
				delete(o.probes, p.Card)
				return
			}
		}
	}
}
