package ledger

import (
	"slices"

	"streamduel/harness/plan"
	"streamduel/workloads"
)

// A value tells copies minus losses of a key; the hash of ids tells which. With
// few of them the inputs can be found: a set A of copies and a set B of losses
// among the key's inputs with |A| − |B| the surplus and ΣA − ΣB the difference
// of the hashes. The smallest such sets are taken. Sets of up to three inputs
// are looked for; two wrong answers of a search over n inputs meet by chance
// once in 2⁶⁴/n³.

// Bounds of the search: pairs of inputs are tried, so its cost is the square.
const (
	explainInputs = 3000
	explainKeys   = 50
)

// contribution is one input's part in a key.
type contribution struct {
	partition int32
	sequence  int64
	hash      uint64
}

// suspect is a cell that does not agree with the oracle.
type suspect struct {
	surplus int64
	hash    uint64 // what it has − what it should have
	parts   []contribution
}

// explain collects the contributions of the suspects, in one more pass of the
// oracle over the input.
func (v *values) explain(s sent, suspects map[string]*suspect) {
	if len(suspects) == 0 {
		return
	}
	oracle := v.l.cfg.Accounting.Oracle()
	var in workloads.Input
	emit := func(key []byte, window, _ int64) {
		v.cellKey(key, window)
		if x := suspects[string(v.scratch)]; x != nil && len(x.parts) <= explainInputs {
			x.parts = append(x.parts, contribution{in.Partition, in.Sequence, workloads.HashID(in.Partition, in.Sequence)})
		}
	}
	s.inputs(v.l.plan, 0, func(_ *plan.Cursor, next workloads.Input) {
		if v.l.plan.Bad(next.Index) != "" {
			return
		}
		in = next
		v.payload, _ = v.l.cfg.Generator.Append(v.payload[:0], in)
		oracle.Add(in, v.payload, v.l.ids.isLate(in.Partition, in.Sequence), emit)
	})
}

// solve finds the copies and losses; ok is false when no set of up to three
// inputs explains the cell.
func (x *suspect) solve() (copies, losses []contribution, ok bool) {
	if len(x.parts) > explainInputs {
		return nil, nil, false
	}
	at := make(map[uint64]int, len(x.parts))
	for i, c := range x.parts {
		at[c.hash] = i
	}
	// With more losses than copies, look for the opposite and swap.
	d, h := x.surplus, x.hash
	if d < 0 {
		d, h = -d, -h
	}
	a, b := search(x.parts, at, d, h)
	if a == nil && b == nil {
		return nil, nil, false
	}
	if x.surplus < 0 {
		a, b = b, a
	}
	return x.pick(a), x.pick(b), true
}

func (x *suspect) pick(indices []int) (cs []contribution) {
	slices.Sort(indices)
	for _, i := range indices {
		cs = append(cs, x.parts[i])
	}
	return cs
}

// search finds the smallest a and b with |a| − |b| = d ≥ 0 and Σa − Σb = h.
func search(parts []contribution, at map[uint64]int, d int64, h uint64) (a, b []int) {
	switch d {
	case 0: // one copy, one loss
		for i, c := range parts {
			if j, ok := at[c.hash-h]; ok && parts[j].hash != c.hash {
				return []int{i}, []int{j}
			}
		}
	case 1: // one copy, or two and a loss
		if i, ok := at[h]; ok {
			return []int{i}, nil
		}
		for i, c := range parts {
			for j := i; j < len(parts); j++ {
				k, ok := at[c.hash+parts[j].hash-h]
				if ok && parts[k].hash != c.hash && parts[k].hash != parts[j].hash {
					return []int{i, j}, []int{k}
				}
			}
		}
	case 2:
		for i, c := range parts {
			if j, ok := at[h-c.hash]; ok {
				return []int{i, j}, nil
			}
		}
	case 3:
		for i, c := range parts {
			for j := i; j < len(parts); j++ {
				if k, ok := at[h-c.hash-parts[j].hash]; ok {
					return []int{i, j, k}, nil
				}
			}
		}
	}
	return nil, nil
}
