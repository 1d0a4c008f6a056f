package plan

import (
	"fmt"
	"math"
	"slices"

	"streamduel/workloads"
)

// Bad says which of a load's records are bad input. The zero value makes none.
// A record's index alone decides, so that whoever has the plan knows each of
// them, whatever partitions come and go.
type Bad struct {
	// Share of the records, 0 to 1.
	Share float64 `json:"share,omitempty"`
	// Kinds of which each has about an equal part.
	Kinds []workloads.BadKind `json:"kinds,omitempty"`
	Seed  uint64              `json:"seed,omitempty"`
}

// Any reports whether there are bad records at all.
func (b Bad) Any() bool { return b.Share > 0 && len(b.Kinds) > 0 }

func (b Bad) validate() error {
	if !(b.Share >= 0 && b.Share <= 1) {
		return fmt.Errorf("plan: a share of %g bad records: 0 to 1 is allowed", b.Share)
	}
	if b.Share > 0 && len(b.Kinds) == 0 {
		return fmt.Errorf("plan: bad records of no kind: allowed are %v", workloads.BadKinds())
	}
	for _, k := range b.Kinds {
		if !slices.Contains(workloads.BadKinds(), k) {
			return fmt.Errorf("plan: bad records of kind %q: allowed are %v", k, workloads.BadKinds())
		}
	}
	return nil
}

// kind is what is wrong with record i, "" for nothing.
func (b Bad) kind(i int64) workloads.BadKind {
	if !b.Any() {
		return ""
	}
	h := mix(b.Seed ^ mix(uint64(i)))
	if b.Share < 1 && float64(h>>11) >= math.Ldexp(b.Share, 53) {
		return ""
	}
	return b.Kinds[mix(h)%uint64(len(b.Kinds))]
}

// mix is splitmix64's finalizer.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Bad tells what is wrong with record i, "" for nothing. Closing records are
// never bad.
func (p *Plan) Bad(i int64) workloads.BadKind {
	if !p.shape.Bad.Any() || i >= p.now.Load().limit {
		return ""
	}
	return p.shape.Bad.kind(i)
}

// BadWithin counts the bad records with an index in [from, to).
func (p *Plan) BadWithin(from, to int64) (n int64) {
	if !p.shape.Bad.Any() {
		return 0
	}
	to = min(to, p.now.Load().limit)
	for i := from; i < to; i++ {
		if p.shape.Bad.kind(i) != "" {
			n++
		}
	}
	return n
}
