package schedule

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Scheduler holds jobs, executors and their free cores. It is used by one
// goroutine. Times are durations since any fixed moment and never go back.
type Scheduler struct {
	cfg       Config
	executors map[string]*executor
	offered   []*executor // in the order of their coming
	hosts     map[string]int
	racks     map[string]string // of hosts
	free      int
	jobs      map[int64]*job
	sets      []*taskSet // begun and not complete, or with attempts that run
	sorted    []*taskSet
	out       Decisions
}

type executor struct {
	Executor
	free int
}

type job struct {
	Job
	sets     []*taskSet // nil where a stage has not begun
	children [][]int
	left     int // stages
	running  int // attempts
	failed   error
}

// New returns a scheduler without executors.
func New(cfg Config) (*Scheduler, error) {
	var errs []error
	if cfg.Mode != FIFO && cfg.Mode != FAIR {
		errs = append(errs, fmt.Errorf("scheduler: mode %q: one of fifo, fair", cfg.Mode))
	}
	if cfg.MaxFailures < 1 {
		errs = append(errs, fmt.Errorf("scheduler: %d failures a task: at least 1", cfg.MaxFailures))
	}
	for name, p := range cfg.Pools {
		if p.Weight < 0 || p.MinShare < 0 || (p.Mode != "" && p.Mode != FIFO && p.Mode != FAIR) {
			errs = append(errs, fmt.Errorf("scheduler: pool %q: weight and minimum share 0 or more, mode one of fifo, fair", name))
		}
	}
	return &Scheduler{cfg: cfg, executors: map[string]*executor{}, hosts: map[string]int{}, racks: map[string]string{}, jobs: map[int64]*job{}}, errors.Join(errs...)
}

// Add takes in an executor.
func (s *Scheduler) Add(x Executor, now time.Duration) error {
	if s.executors[x.ID] != nil || x.Cores < 1 {
		return fmt.Errorf("scheduler: executor %q with %d cores: a new name and at least one core", x.ID, x.Cores)
	}
	e := &executor{x, x.Cores}
	s.executors[x.ID] = e
	s.offered = append(s.offered, e)
	s.hosts[x.Host]++
	s.racks[x.Host] = x.Rack
	s.free += x.Cores
	for _, t := range s.sets {
		for i := range t.tasks { // their preferences may have come alive
			if t.tasks[i].pending {
				s.enqueue(t, i)
			}
		}
		s.levelsOf(t, now)
	}
	return nil
}

// Lost takes an executor away, with what ran and what lay on it.
func (s *Scheduler) Lost(id string, now time.Duration) {
	e := s.executors[id]
	if e == nil {
		return
	}
	delete(s.executors, id)
	s.offered = slices.DeleteFunc(s.offered, func(x *executor) bool { return x == e })
	s.free -= e.free
	e.free = 0
	if s.hosts[e.Host]--; s.hosts[e.Host] == 0 {
		delete(s.hosts, e.Host)
	}
	for _, j := range s.jobsInOrder() {
		for _, t := range j.sets {
			if t != nil {
				s.lose(t, e, now)
			}
		}
		s.settle(j, now)
	}
}

func (s *Scheduler) jobsInOrder() []*job {
	ids := make([]int64, 0, len(s.jobs))
	for id := range s.jobs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	jobs := make([]*job, len(ids))
	for i, id := range ids {
		jobs[i] = s.jobs[id]
	}
	return jobs
}

// lose handles one task set of an executor's end.
func (s *Scheduler) lose(t *taskSet, e *executor, now time.Duration) {
	needed := slices.ContainsFunc(t.job.children[t.index], func(c int) bool {
		x := t.job.sets[c]
		return x == nil || x.left > 0
	})
	for i := range t.tasks {
		x := &t.tasks[i]
		for k := len(x.live) - 1; k >= 0; k-- {
			l := x.live[k]
			if l.executor != e {
				continue
			}
			s.gone(t, x, k)
			if t.spec.Whole && !l.unwanted {
				s.fail(t.job, &Failure{Attempt{t.job.ID, t.index, i, l.n}, int(x.failures) + 1, fmt.Errorf("executor %s %w", e.ID, ErrLost)})
			}
		}
		if x.done && x.where == e.ID && needed {
			if t.spec.Sink {
				// What it wrote is out; computing it again would write it again.
				s.fail(t.job, &Failure{Attempt{t.job.ID, t.index, i, int(x.attempts) - 1}, int(x.failures) + 1, fmt.Errorf("executor %s %w, with an output that a later stage needs", e.ID, ErrLost)})
				continue
			}
			if x.done = false; t.left == 0 {
				t.job.left++
				if !slices.Contains(s.sets, t) {
					s.sets = append(s.sets, t)
				}
			}
			t.left++
		}
		if !x.done && len(x.live) == 0 && !x.pending {
			s.enqueue(t, i)
		}
	}
	s.levelsOf(t, now)
}

// Submit takes in a job and begins the stages without parents.
func (s *Scheduler) Submit(spec Job, now time.Duration) error {
	if s.jobs[spec.ID] != nil {
		return fmt.Errorf("scheduler: job %d is there already", spec.ID)
	}
	j := &job{Job: spec, sets: make([]*taskSet, len(spec.Stages)), children: make([][]int, len(spec.Stages)), left: len(spec.Stages)}
	for i, st := range spec.Stages {
		if len(st.Tasks) == 0 {
			return fmt.Errorf("scheduler: stage %d of job %d has no tasks", i, spec.ID)
		}
		for _, p := range st.Parents {
			if p < 0 || p >= i {
				return fmt.Errorf("scheduler: stage %d of job %d: parent %d does not come before it", i, spec.ID, p)
			}
			j.children[p] = append(j.children[p], i)
		}
	}
	s.jobs[spec.ID] = j
	s.settle(j, now)
	return nil
}

// Cancel ends a job; its attempts are killed.
func (s *Scheduler) Cancel(id int64, now time.Duration) {
	if j := s.jobs[id]; j != nil {
		s.fail(j, ErrCancelled)
		s.settle(j, now)
	}
}

// fail makes a job fail: nothing of it is begun any more, what runs is killed.
func (s *Scheduler) fail(j *job, err error) {
	if j.failed != nil {
		return
	}
	j.failed = err
	for _, t := range j.sets {
		if t != nil {
			for i := range t.tasks {
				s.kill(t, i)
			}
		}
	}
}

func (s *Scheduler) kill(t *taskSet, i int) {
	for k := range t.tasks[i].live {
		if l := &t.tasks[i].live[k]; !l.unwanted {
			l.unwanted = true
			s.out.Kill = append(s.out.Kill, Attempt{t.job.ID, t.index, i, l.n})
		}
	}
}

// gone takes a running attempt off the books.
func (s *Scheduler) gone(t *taskSet, x *taskState, k int) {
	e := x.live[k].executor
	x.live = slices.Delete(x.live, k, k+1)
	t.running--
	t.job.running--
	if s.executors[e.ID] == e {
		e.free++
		s.free++
	}
}

// settle begins the stages of a job that have become ready and reports its end.
func (s *Scheduler) settle(j *job, now time.Duration) {
	if j.failed == nil {
		for i := range j.Stages {
			ready := !slices.ContainsFunc(j.Stages[i].Parents, func(p int) bool { return j.sets[p] == nil || j.sets[p].left > 0 })
			switch t := j.sets[i]; {
			case t != nil:
				t.suspended = !ready
			case ready:
				j.sets[i] = s.newTaskSet(j, i, now)
				s.sets = append(s.sets, j.sets[i])
			}
		}
	}
	if j.running == 0 && (j.failed != nil || j.left == 0) {
		delete(s.jobs, j.ID)
		s.sets = slices.DeleteFunc(s.sets, func(t *taskSet) bool { return t.job == j })
		s.out.Ended = append(s.out.Ended, End{j.ID, j.failed})
	}
}

// find returns a running attempt; ok is false for one that is not on the books,
// because its executor was lost.
func (s *Scheduler) find(a Attempt) (t *taskSet, k int, ok bool) {
	j := s.jobs[a.Job]
	if j == nil || a.Stage >= len(j.sets) || j.sets[a.Stage] == nil || a.Task >= len(j.sets[a.Stage].tasks) {
		return nil, 0, false
	}
	t = j.sets[a.Stage]
	k = slices.IndexFunc(t.tasks[a.Task].live, func(l live) bool { return l.n == a.N })
	return t, k, k >= 0
}

// Succeeded tells that an attempt has ended well. wanted is false when its output
// is not to be used: another attempt was faster, or the job has failed.
func (s *Scheduler) Succeeded(a Attempt, now time.Duration) (wanted bool) {
	t, k, ok := s.find(a)
	if !ok {
		return false
	}
	x := &t.tasks[a.Task]
	l := x.live[k]
	s.gone(t, x, k)
	if wanted = !x.done && t.job.failed == nil; wanted {
		x.done, x.where = true, l.executor.ID
		if x.pending {
			x.pending = false
			t.pendings--
		}
		if s.cfg.Speculation.Enabled {
			t.times = append(t.times, now-l.begun)
		}
		s.kill(t, a.Task)
		if t.left--; t.left == 0 {
			t.job.left--
			s.sets = slices.DeleteFunc(s.sets, func(x *taskSet) bool { return x == t && x.running == 0 })
			s.settle(t.job, now)
			return true
		}
	}
	if t.job.running == 0 && (t.job.failed != nil || t.job.left == 0) {
		s.settle(t.job, now)
	}
	return wanted
}

// Failed tells that an attempt has ended badly. A cause that wraps Permanent
// fails the job at once.
func (s *Scheduler) Failed(a Attempt, cause error, now time.Duration) {
	t, k, ok := s.find(a)
	if !ok {
		return
	}
	x := &t.tasks[a.Task]
	unwanted := x.live[k].unwanted
	s.gone(t, x, k)
	if !unwanted && !x.done && t.job.failed == nil {
		_, permanent := errors.AsType[Permanent](cause)
		fetch := errors.Is(cause, ErrFetch)
		if !fetch {
			x.failures++
		}
		switch {
		case permanent || (t.spec.Whole && !fetch) || int(x.failures) >= s.cfg.MaxFailures:
			s.fail(t.job, &Failure{a, int(x.failures), cause})
		case len(x.live) == 0:
			s.enqueue(t, a.Task)
			s.levelsOf(t, now)
		}
	}
	s.settle(t.job, now)
}

// Decide gives free cores to pending tasks and returns what is to be done since
// the last time.
func (s *Scheduler) Decide(now time.Duration) Decisions {
	s.out.Launch = s.out.Launch[:0]
	if s.free > 0 {
		if s.cfg.Speculation.Enabled {
			for _, t := range s.sets {
				t.speculate(s.cfg.Speculation, now)
			}
		}
		for _, t := range s.order() {
			s.offer(t, now)
			if s.free == 0 {
				break
			}
		}
	}
	out := s.out
	s.out = Decisions{Launch: s.out.Launch}
	return out
}

// offer gives a task set what it may have of the free cores, round by round.
func (s *Scheduler) offer(t *taskSet, now time.Duration) {
	launched, rejected := false, false
	nearest := Any
	for k := 0; k < len(t.levels) && s.free > 0 && t.wants(); k++ {
		level := t.levels[k]
		for again := true; again && s.free > 0; {
			again = false
			for _, e := range s.offered {
				if e.free == 0 {
					continue
				}
				furthest := min(t.allowed(s.cfg.Waits, now), level)
				i, at, ok := t.take(e, furthest)
				if !ok {
					rejected = rejected || (t.pendings > 0 && level == Any)
					continue
				}
				s.launch(t, i, e, at, false, now)
				if at == NoPref {
					at = Process // as good as
				}
				nearest = min(nearest, at)
				again, launched = true, true
			}
		}
	}
	for _, e := range s.offered {
		for e.free > 0 && len(t.slow) > 0 {
			i, ok := t.takeSlow(e)
			if !ok {
				break
			}
			s.launch(t, i, e, Any, true, now)
		}
	}
	// Where nothing was turned down for the sake of locality the wait begins anew,
	// at the nearest level that was of use.
	if launched && !rejected {
		t.reset = now
		t.level = slices.IndexFunc(t.levels, func(l Locality) bool { return l >= nearest })
	}
}

func (s *Scheduler) launch(t *taskSet, i int, e *executor, at Locality, speculative bool, now time.Duration) {
	x := &t.tasks[i]
	if x.pending {
		x.pending = false
		t.pendings--
	}
	x.live = append(x.live, live{n: int(x.attempts), executor: e, begun: now})
	s.out.Launch = append(s.out.Launch, Launch{Attempt{t.job.ID, t.index, i, int(x.attempts)}, e.ID, at, speculative})
	x.attempts++
	t.running++
	t.job.running++
	e.free--
	s.free--
}

// Wake returns when Decide has to be called again although nothing happens:
// when the next task set may use a further level.
func (s *Scheduler) Wake() (at time.Duration, ok bool) {
	if s.free == 0 {
		return 0, false
	}
	for _, t := range s.sets {
		if !t.wants() || t.level >= len(t.levels)-1 {
			continue
		}
		if w := t.reset + s.cfg.Waits.of(t.levels[t.level]); !ok || w < at {
			at, ok = w, true
		}
	}
	return at, ok
}
