package pipelinetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"streamduel/connectors"
)

// Clone copies a record with all its bytes.
func Clone(r *connectors.Record) connectors.Record {
	c := *r
	c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), nil
	for _, h := range r.Headers {
		c.Headers = append(c.Headers, connectors.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	return c
}

// Split is a partition of a test source.
func Split(partition int32) connectors.Split {
	return connectors.Split{ID: connectors.SplitID(fmt.Sprintf("in/%d", partition)), Partition: partition}
}

// Batches cuts each split's records into batches of at most size and merges the
// splits in a random order that keeps each split's own.
func Batches(rng *rand.Rand, size int, splits ...[]connectors.Record) []*connectors.Batch {
	next := make([]int, len(splits))
	var out []*connectors.Batch
	for {
		var open []int
		for s, rs := range splits {
			if next[s] < len(rs) {
				open = append(open, s)
			}
		}
		if len(open) == 0 {
			return out
		}
		s := open[rng.IntN(len(open))]
		n := min(1+rng.IntN(size), len(splits[s])-next[s])
		rs := splits[s][next[s] : next[s]+n]
		next[s] += n
		out = append(out, &connectors.Batch{Split: Split(int32(s)), Records: rs, Next: connectors.Position(next[s])})
	}
}
