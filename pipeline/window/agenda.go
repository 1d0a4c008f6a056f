package window

// agenda is what is due when, by key: a heap of four children a node, on values
// of its own type so that nothing is boxed. An entry may be stale; the state
// says when a key is really due. Many equal times, as aligned windows have them,
// come out without being sifted.
type agenda[K any] struct{ heap []entry[K] }

type entry[K any] struct {
	at  int64
	key K
}

func (a *agenda[K]) push(at int64, key K) {
	h := append(a.heap, entry[K]{at, key})
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 4
		if h[p].at <= at {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = entry[K]{at, key}
	a.heap = h
}

func (a *agenda[K]) pop() entry[K] {
	h := a.heap
	top, n := h[0], len(h)-1
	x := h[n]
	h[n] = entry[K]{} // a key may hold memory
	h = h[:n]
	a.heap = h
	if n == 0 {
		return top
	}
	i := 0
	for {
		c := 4*i + 1
		if c >= n {
			break
		}
		least := c
		for j := c + 1; j < min(c+4, n); j++ {
			if h[j].at < h[least].at {
				least = j
			}
		}
		if h[least].at >= x.at {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = x
	return top
}
