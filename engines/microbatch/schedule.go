package microbatch

import (
	"context"

	"streamduel/connectors"
)

// assign hands each task its ranges of a batch. A split always goes to the same
// task, whose reader has its next records already.
func (g *generation) assign(b *batch) {
	for _, s := range g.stages {
		for _, t := range s.tasks {
			for _, src := range t.sources {
				src.assign = src.assign[:0]
				ranges := b.entry.Sources[src.source.node.UID]
				for _, x := range src.source.known() {
					rg, ok := ranges[x.ID]
					if !ok || rg.From >= rg.Until || x.index%len(s.tasks) != t.Subtask {
						continue
					}
					src.assign = append(src.assign, connectors.Assignment{Split: x.Split, From: rg.From, Until: rg.Until})
				}
			}
		}
	}
}

// known returns the splits so far; the slice is not changed any more.
func (s *source) known() []*split {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.splits[:len(s.splits):len(s.splits)]
}

// execute runs the stages' task sets, a stage when its parents are complete. The
// first error cancels the generation.
func (r *run) execute(g *generation, b *batch) error {
	type result struct {
		stage *stage
		err   error
	}
	waiting := make([]int, len(g.stages)) // parents to come
	left := make(map[*stage]int, len(g.stages))
	var ready []*task
	for i, s := range g.stages {
		waiting[i], left[s] = len(s.parents), len(s.tasks)
		if waiting[i] == 0 {
			ready = append(ready, s.tasks...)
		}
	}
	results := make(chan result)
	running := 0
	var failure error
	for (len(ready) > 0 && failure == nil) || running > 0 {
		var hand chan<- func()
		var f func()
		if len(ready) > 0 && failure == nil {
			t := ready[0]
			hand = r.pool.work
			f = func() {
				t.stage.meter.add(1)
				err := guard(func() error { return t.process(g.ctx, b) })
				t.stage.meter.add(-1)
				results <- result{t.stage, err}
			}
		}
		select {
		case hand <- f:
			ready = ready[1:]
			running++
		case done := <-results:
			running--
			if done.err != nil {
				if failure == nil {
					failure = done.err
					g.cancel()
				}
				continue
			}
			if left[done.stage]--; left[done.stage] == 0 {
				for _, c := range done.stage.children {
					if waiting[c]--; waiting[c] == 0 {
						ready = append(ready, g.stages[c].tasks...)
					}
				}
			}
		}
	}
	if failure == nil {
		return context.Cause(g.ctx)
	}
	return failure
}
