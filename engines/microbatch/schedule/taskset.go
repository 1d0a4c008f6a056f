package schedule

import (
	"slices"
	"time"
)

// list holds tasks that may be pending, from its head on.
type list struct {
	entries []entry
	head    int
}

// entry is a task as it was when it became pending for the turn-th time. An
// older entry is void, so that the order does not depend on what was cleaned.
type entry struct{ task, turn int32 }

func (l *list) add(e entry) { l.entries = append(l.entries, e) }

// next returns the first pending task, without taking it.
func (l *list) next(t *taskSet) (int, bool) {
	if l == nil {
		return 0, false
	}
	for ; l.head < len(l.entries); l.head++ {
		e := l.entries[l.head]
		if x := &t.tasks[e.task]; x.pending && x.turn == e.turn {
			return int(e.task), true
		}
	}
	return 0, false
}

// taskState is what is known of one task.
type taskState struct {
	pending  bool
	done     bool
	attempts int32 // begun
	failures int32
	turn     int32 // how often it has been put into the lists
	live     []live
	where    string // executor that has its output
}

// live is an attempt that runs.
type live struct {
	n        int
	executor *executor
	begun    time.Duration
	unwanted bool
}

// taskSet is a stage of a job that has begun, with its delay scheduling.
type taskSet struct {
	job   *job
	index int
	spec  *Stage
	tasks []taskState

	byExecutor, byHost, byRack map[string]*list
	noPref, all                list
	pendings, running, left    int

	levels []Locality
	level  int
	reset  time.Duration // when the wait of the level began

	times     []time.Duration // of tasks that succeeded, for speculation
	slow      []int           // tasks to be run a second time
	suspended bool            // a parent's output is lost
}

func (s *Scheduler) newTaskSet(j *job, index int, now time.Duration) *taskSet {
	spec := &j.Stages[index]
	t := &taskSet{job: j, index: index, spec: spec, tasks: make([]taskState, len(spec.Tasks)), left: len(spec.Tasks), reset: now,
		byExecutor: map[string]*list{}, byHost: map[string]*list{}, byRack: map[string]*list{}}
	for i := range spec.Tasks {
		s.enqueue(t, i)
	}
	s.levelsOf(t, now)
	return t
}

func (t *taskSet) wants() bool {
	return !t.suspended && t.job.failed == nil && (t.pendings > 0 || len(t.slow) > 0)
}

func push(m map[string]*list, key string, e entry) {
	if key == "" {
		return
	}
	l := m[key]
	if l == nil {
		l = &list{}
		m[key] = l
	}
	// A task that prefers two executors of one host is in its list once.
	if n := len(l.entries); n == 0 || l.entries[n-1] != e {
		l.add(e)
	}
}

// enqueue makes a task pending.
func (s *Scheduler) enqueue(t *taskSet, i int) {
	x, spec := &t.tasks[i], &t.spec.Tasks[i]
	if !x.pending {
		x.pending = true
		t.pendings++
	}
	x.turn++
	me := entry{int32(i), x.turn}
	any := false
	host := func(h string) {
		push(t.byHost, h, me)
		push(t.byRack, s.racks[h], me)
	}
	for _, id := range spec.Executors {
		if e := s.executors[id]; e != nil {
			any = true
			push(t.byExecutor, id, me)
			host(e.Host)
		}
	}
	for _, h := range spec.Hosts {
		if s.hosts[h] > 0 {
			any = true
			host(h)
		}
	}
	if !any {
		t.noPref.add(me)
	}
	t.all.add(me)
}

// levelsOf finds the levels that the set has tasks for. Executors that come or
// go change it; the set stays at the level that it had, or the next further one.
func (s *Scheduler) levelsOf(t *taskSet, now time.Duration) {
	at := Process
	if t.level < len(t.levels) {
		at = t.levels[t.level]
	}
	t.levels = t.levels[:0]
	if t.more(Process) {
		t.levels = append(t.levels, Process)
	}
	if t.more(Node) {
		t.levels = append(t.levels, Node)
	}
	if _, ok := t.noPref.next(t); ok {
		t.levels = append(t.levels, NoPref)
	}
	if t.more(Rack) {
		t.levels = append(t.levels, Rack)
	}
	t.levels = append(t.levels, Any)
	t.level = max(slices.IndexFunc(t.levels, func(l Locality) bool { return l >= at }), 0)
	t.reset = now
}

// more reports whether the level has a pending task.
func (t *taskSet) more(l Locality) bool {
	var m map[string]*list
	switch l {
	case Process:
		m = t.byExecutor
	case Node:
		m = t.byHost
	case Rack:
		m = t.byRack
	case NoPref:
		_, ok := t.noPref.next(t)
		return ok
	default:
		return t.pendings > 0
	}
	for _, x := range m {
		if _, ok := x.next(t); ok {
			return true
		}
	}
	return false
}

func (w Waits) of(l Locality) time.Duration {
	switch l {
	case Process:
		return w.Process
	case Node:
		return w.Node
	case Rack:
		return w.Rack
	}
	return 0
}

// allowed returns the furthest level that may be used now.
func (t *taskSet) allowed(w Waits, now time.Duration) Locality {
	for t.level < len(t.levels)-1 {
		wait := w.of(t.levels[t.level])
		if !t.more(t.levels[t.level]) {
			t.reset = now
		} else if now-t.reset < wait {
			break
		} else {
			t.reset += wait
		}
		t.level++
	}
	return t.levels[t.level]
}

// take finds a pending task for an executor, no further than a level. Tasks
// without a preference are as good as local, and never wait.
func (t *taskSet) take(e *executor, furthest Locality) (i int, at Locality, ok bool) {
	if i, ok = t.byExecutor[e.ID].next(t); ok {
		return i, Process, true
	}
	if furthest >= Node {
		if i, ok = t.byHost[e.Host].next(t); ok {
			return i, Node, true
		}
	}
	if i, ok = t.noPref.next(t); ok {
		return i, NoPref, true
	}
	if furthest >= Rack {
		if i, ok = t.byRack[e.Rack].next(t); ok {
			return i, Rack, true
		}
	}
	if furthest >= Any {
		if i, ok = t.all.next(t); ok {
			return i, Any, true
		}
	}
	return 0, 0, false
}

// takeSlow finds a task that is to be run a second time, on a host that it does
// not run on.
func (t *taskSet) takeSlow(e *executor) (int, bool) {
	for k, i := range t.slow {
		x := &t.tasks[i]
		if x.done || len(x.live) != 1 {
			t.slow = slices.Delete(t.slow, k, k+1)
			return t.takeSlow(e)
		}
		if x.live[0].executor.Host != e.Host {
			t.slow = slices.Delete(t.slow, k, k+1)
			return i, true
		}
	}
	return 0, false
}

// speculate looks for slow tasks.
func (t *taskSet) speculate(c Speculation, now time.Duration) {
	n := len(t.tasks)
	if t.spec.Sink || t.left == 0 || n < 2 || len(t.times) < max(int(c.Quantile*float64(n)), 1) {
		return
	}
	sorted := slices.Sorted(slices.Values(t.times))
	threshold := max(time.Duration(c.Multiplier*float64(sorted[len(sorted)/2])), c.MinRuntime)
	for i := range t.tasks {
		x := &t.tasks[i]
		if !x.done && len(x.live) == 1 && now-x.live[0].begun > threshold && !slices.Contains(t.slow, i) {
			t.slow = append(t.slow, i)
		}
	}
}
