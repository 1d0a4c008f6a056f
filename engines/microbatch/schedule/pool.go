package schedule

import (
	"cmp"
	"slices"
	"strings"
)

// share is what the FAIR order looks at.
type share struct {
	name             string
	running          int
	weight, minShare int
}

// fairer orders two pools: negative when a goes first.
func fairer(a, b share) int {
	aNeedy, bNeedy := a.running < a.minShare, b.running < b.minShare
	var c int
	switch {
	case aNeedy && !bNeedy:
		return -1
	case !aNeedy && bNeedy:
		return 1
	case aNeedy: // running/max(minShare, 1), compared without division
		c = cmp.Compare(a.running*max(b.minShare, 1), b.running*max(a.minShare, 1))
	default:
		c = cmp.Compare(a.running*max(b.weight, 1), b.running*max(a.weight, 1))
	}
	if c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

func inOrder(a, b *taskSet) int {
	if c := cmp.Compare(a.job.ID, b.job.ID); c != 0 {
		return c
	}
	return cmp.Compare(a.index, b.index)
}

// fairSets orders the task sets of a FAIR pool: each is a schedulable of weight
// one without a minimum.
func fairSets(a, b *taskSet) int {
	if c := cmp.Compare(a.running, b.running); c != 0 {
		return c
	}
	return inOrder(a, b)
}

// order sorts the task sets with pending tasks as the pools want it. The order
// holds for one round of offers, as in Spark.
func (s *Scheduler) order() []*taskSet {
	s.sorted = s.sorted[:0]
	for _, t := range s.sets {
		if t.wants() {
			s.sorted = append(s.sorted, t)
		}
	}
	if len(s.sorted) < 2 {
		return s.sorted
	}
	if s.cfg.Mode != FAIR {
		slices.SortFunc(s.sorted, inOrder)
		return s.sorted
	}
	shares := map[string]*share{}
	for _, t := range s.sets { // also those that only run count
		x := shares[t.job.Pool]
		if x == nil {
			p := s.cfg.Pools[t.job.Pool]
			x = &share{name: t.job.Pool, weight: p.Weight, minShare: p.MinShare}
			shares[t.job.Pool] = x
		}
		x.running += t.running
	}
	slices.SortFunc(s.sorted, func(a, b *taskSet) int {
		if a.job.Pool != b.job.Pool {
			return fairer(*shares[a.job.Pool], *shares[b.job.Pool])
		}
		if s.cfg.Pools[a.job.Pool].Mode == FAIR {
			return fairSets(a, b)
		}
		return inOrder(a, b)
	})
	return s.sorted
}
