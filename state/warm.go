package state

// WarmKeys is how many keys Warm takes at most.
const WarmKeys = 32

// Warm brings the entries of keys that will be asked for next into the
// processor's cache. Their loads do not wait for each other, as they do when
// each key's turn comes, so with more keys than the cache holds a record costs
// half. It changes nothing; what it returns only keeps the loads from being
// optimized away.
func (t *Table[K, V]) Warm(keys []K) (n uint32) {
	if t.slow {
		return 0
	}
	// In two rounds: within each, no load needs what another brings.
	var slots [WarmKeys]uint32
	m := 0
	for _, k := range keys[:min(len(keys), WarmKeys)] {
		if slot, ok := t.index.guess(k); ok {
			slots[m] = slot
			m++
		}
	}
	for _, slot := range slots[:m] {
		n += t.at(slot).epoch
	}
	return n
}
