package schedule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const second = time.Second

// scene drives a scheduler and writes down what it decides, one line a call:
// "1/0/2.0@a PROCESS_LOCAL" is job 1, stage 0, task 2, first attempt, executor a.
type scene struct {
	t   testing.TB
	s   *Scheduler
	now time.Duration
}

func newScene(t testing.TB, edit func(*Config)) *scene {
	cfg := Defaults()
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &scene{t: t, s: s}
}

func (c *scene) executor(id, host string, cores int) {
	c.t.Helper()
	rack := ""
	if i := strings.IndexByte(host, '/'); i >= 0 {
		rack, host = host[:i], host[i+1:]
	}
	if err := c.s.Add(Executor{id, host, rack, cores}, c.now); err != nil {
		c.t.Fatal(err)
	}
}

func (c *scene) submit(j Job) {
	c.t.Helper()
	if err := c.s.Submit(j, c.now); err != nil {
		c.t.Fatal(err)
	}
}

func (c *scene) decide() string {
	d := c.s.Decide(c.now)
	var out []string
	for _, l := range d.Launch {
		w := fmt.Sprintf("%d/%d/%d.%d@%s %s", l.Job, l.Stage, l.Task, l.N, l.Executor, l.Locality)
		if l.Speculative {
			w += " again"
		}
		out = append(out, w)
	}
	for _, a := range d.Kill {
		out = append(out, fmt.Sprintf("kill %d/%d/%d.%d", a.Job, a.Stage, a.Task, a.N))
	}
	for _, e := range d.Ended {
		out = append(out, fmt.Sprintf("end %d %v", e.Job, e.Err))
	}
	return strings.Join(out, ", ")
}

func (c *scene) want(what string, lines ...string) {
	c.t.Helper()
	if got, want := c.decide(), strings.Join(lines, ", "); got != want {
		c.t.Fatalf("%s: %s\nwant %s", what, got, want)
	}
}

func attempt(text string) (a Attempt) {
	if _, err := fmt.Sscanf(text, "%d/%d/%d.%d", &a.Job, &a.Stage, &a.Task, &a.N); err != nil {
		panic(err)
	}
	return a
}

func (c *scene) ok(attempts ...string) {
	for _, a := range attempts {
		c.s.Succeeded(attempt(a), c.now)
	}
}

func (c *scene) failed(a string, err error) { c.s.Failed(attempt(a), err, c.now) }

// tasks makes n tasks without preferences.
func tasks(n int) []Task { return make([]Task, n) }

func on(executors ...string) (ts []Task) {
	for _, e := range executors {
		ts = append(ts, Task{Executors: []string{e}})
	}
	return ts
}

func one(id int64, pool string, ts ...Task) Job {
	return Job{ID: id, Pool: pool, Stages: []Stage{{Tasks: ts}}}
}

var errBroken = errors.New("broken")

func TestStagesWaitForTheirParents(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h", 2)
	c.submit(Job{ID: 7, Stages: []Stage{{Tasks: tasks(3)}, {Tasks: tasks(1)}, {Parents: []int{0, 1}, Tasks: tasks(2)}}})
	c.want("two cores", "7/0/0.0@a NO_PREF", "7/0/1.0@a NO_PREF")
	c.want("none is free", "")
	c.ok("7/0/1.0")
	c.want("the rest of stage 0", "7/0/2.0@a NO_PREF")
	c.ok("7/0/0.0", "7/0/2.0")
	c.want("stage 1 is the other parent", "7/1/0.0@a NO_PREF")
	c.ok("7/1/0.0")
	c.want("now stage 2", "7/2/0.0@a NO_PREF", "7/2/1.0@a NO_PREF")
	c.ok("7/2/0.0", "7/2/1.0")
	c.want("the end", "end 7 <nil>")
}

func TestFIFOIsByJobThenStage(t *testing.T) {
	c := newScene(t, func(cfg *Config) { cfg.Pools = map[string]Pool{"big": {MinShare: 9}} }) // pools count under FAIR only
	c.executor("a", "h", 3)
	c.submit(one(2, "big", tasks(2)...))
	c.submit(Job{ID: 1, Stages: []Stage{{Tasks: tasks(1)}, {Tasks: tasks(1)}}})
	c.want("job 1 first", "1/0/0.0@a NO_PREF", "1/1/0.0@a NO_PREF", "2/0/0.0@a NO_PREF")
}

// TestFairer is Spark's FairSchedulingAlgorithm as a table.
func TestFairer(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b share
		want int
	}{
		{"below its minimum goes first", share{"b", 1, 1, 2}, share{"a", 0, 9, 0}, -1},
		{"both below: the emptier by minimum", share{"a", 2, 1, 4}, share{"b", 1, 1, 3}, 1},
		{"both below and as full: by name", share{"b", 1, 1, 2}, share{"a", 2, 5, 4}, 1},
		{"both satisfied: running over weight", share{"a", 4, 2, 0}, share{"b", 3, 1, 0}, -1},
		{"minimum met counts as satisfied", share{"a", 2, 1, 2}, share{"b", 1, 1, 0}, 1},
		{"equal: by name", share{"x", 1, 1, 0}, share{"y", 1, 1, 0}, -1},
		{"weight 0 is 1", share{"x", 1, 0, 0}, share{"a", 1, 1, 0}, 1},
	} {
		if got := fairer(c.a, c.b); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if got := fairer(c.b, c.a); got != -c.want {
			t.Errorf("%s, the other way: %d", c.name, got)
		}
	}
}

// TestFairShares lets three pools compete for cores that come free one by one.
func TestFairShares(t *testing.T) {
	c := newScene(t, func(cfg *Config) {
		cfg.Mode = FAIR
		cfg.Pools = map[string]Pool{"min": {MinShare: 2}, "heavy": {Weight: 3}, "light": {Weight: 1}}
	})
	for i, p := range []string{"light", "heavy", "min"} {
		c.submit(one(int64(i+1), p, tasks(40)...))
	}
	running := map[string]int{}
	pool := map[byte]string{'1': "light", '2': "heavy", '3': "min"}
	for i := range 12 {
		c.executor(fmt.Sprint("x", i), "h", 1)
		running[pool[c.decide()[0]]]++
		if i == 1 && running["min"] != 2 {
			t.Errorf("the first two cores went to %v", running)
		}
	}
	if running["min"] != 2 || running["heavy"] != 7 || running["light"] != 3 {
		// min's share is met and its weight is 1: light and heavy catch up with it.
		t.Errorf("twelve cores went to %v", running)
	}
}

func TestFairWithinAPool(t *testing.T) {
	c := newScene(t, func(cfg *Config) {
		cfg.Mode = FAIR
		cfg.Pools = map[string]Pool{"p": {Mode: FAIR}}
	})
	c.submit(one(1, "p", tasks(4)...))
	c.submit(one(2, "p", tasks(4)...))
	var got []string
	for i := range 4 {
		c.executor(fmt.Sprint("x", i), "h", 1)
		got = append(got, c.decide()[:1])
	}
	if want := []string{"1", "2", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("cores went to jobs %v, want %v", got, want)
	}
}

// TestDelayScheduling: a task set holds out for its executor, then its host, then
// its rack, 3 s each.
func TestDelayScheduling(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "r1/h1", 1)
	c.executor("b", "r1/h1", 1)
	c.executor("c", "r1/h2", 1)
	c.executor("d", "r2/h3", 1)
	c.submit(one(1, "", on("a", "a", "a", "a", "a")...))
	c.want("only a is allowed", "1/0/0.0@a PROCESS_LOCAL")
	if at, ok := c.s.Wake(); !ok || at != 3*second {
		t.Errorf("wake at %v %v", at, ok)
	}
	c.now = 3*second - 1
	c.want("still", "")
	c.now = 3 * second
	c.want("its host", "1/0/1.0@b NODE_LOCAL")
	c.now = 6 * second
	c.want("its rack", "1/0/2.0@c RACK_LOCAL")
	c.now = 9 * second
	c.want("anything", "1/0/3.0@d ANY")
	if _, ok := c.s.Wake(); ok {
		t.Error("nothing waits for time when no core is free")
	}
}

func TestLevelWithoutTasksIsPassedAtOnce(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h1", 1)
	c.executor("b", "h2", 3)
	c.submit(one(1, "", Task{Hosts: []string{"h1"}}, Task{Hosts: []string{"gone"}}, Task{Executors: []string{"gone"}}))
	c.want("what prefers nothing that is alive does not wait", "1/0/0.0@a NODE_LOCAL", "1/0/1.0@b NO_PREF", "1/0/2.0@b NO_PREF")
}

func TestTheWaitBeginsAnewAfterALocalLaunch(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h1", 1)
	c.submit(one(1, "", on("a", "a", "a")...))
	c.want("first", "1/0/0.0@a PROCESS_LOCAL")
	c.executor("b", "h2", 1)
	c.now = 2 * second
	c.ok("1/0/0.0")
	c.want("second; b is turned down", "1/0/1.0@a PROCESS_LOCAL")
	c.now = 6*second - 1 // since b was turned down both waits, executor and host, go on
	c.want("b waits", "")
	c.now = 6 * second
	c.want("b after 6 s", "1/0/2.0@b ANY")
}

func TestPreferredExecutorOfTwoHosts(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h1", 2)
	c.executor("b", "h2", 2)
	c.submit(one(1, "", on("a", "b", "b", "a")...))
	c.want("each to its own, one a round", "1/0/0.0@a PROCESS_LOCAL", "1/0/1.0@b PROCESS_LOCAL", "1/0/3.0@a PROCESS_LOCAL", "1/0/2.0@b PROCESS_LOCAL")
}

func TestRetries(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h", 2)
	c.submit(one(1, "", tasks(2)...))
	c.want("begin", "1/0/0.0@a NO_PREF", "1/0/1.0@a NO_PREF")
	for n := range 3 {
		c.failed(fmt.Sprintf("1/0/0.%d", n), errBroken)
		c.want("again", fmt.Sprintf("1/0/0.%d@a NO_PREF", n+1))
	}
	c.failed("1/0/0.3", errBroken)
	c.want("the job fails, the other is killed", "kill 1/0/1.0")
	c.failed("1/0/1.0", errBroken)
	c.want("and has ended when it has", "end 1 task 0 in stage 0 failed 4 times, lastly: broken")
}

func TestWholeStagesAndPermanentFailures(t *testing.T) {
	for name, stage := range map[string]Stage{"whole": {Tasks: tasks(1), Whole: true, Sink: true}, "permanent": {Tasks: tasks(1)}} {
		c := newScene(t, nil)
		c.executor("a", "h", 1)
		c.submit(Job{ID: 1, Stages: []Stage{stage}})
		c.want("begin", "1/0/0.0@a NO_PREF")
		err := errBroken
		if name == "permanent" {
			err = Permanent{err}
		}
		c.failed("1/0/0.0", err)
		c.want(name, "end 1 task 0 in stage 0 failed: broken")
	}
}

func TestCancel(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h", 1)
	c.submit(one(1, "", tasks(2)...))
	c.submit(one(2, "", tasks(1)...))
	c.want("begin", "1/0/0.0@a NO_PREF")
	c.s.Cancel(1, c.now)
	c.s.Cancel(2, c.now)
	c.want("the one that has not begun ends at once", "kill 1/0/0.0", "end 2 the job was cancelled")
	c.ok("1/0/0.0")
	c.want("its result came too late", "end 1 the job was cancelled")
}

// TestLostExecutor: running tasks and shuffle output are computed again, and the
// stage that reads it waits.
func TestLostExecutor(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h1", 1)
	c.executor("b", "h2", 1)
	c.submit(Job{ID: 1, Stages: []Stage{{Tasks: on("a", "b")}, {Parents: []int{0}, Tasks: on("a", "b", "b")}}})
	c.want("maps", "1/0/0.0@a PROCESS_LOCAL", "1/0/1.0@b PROCESS_LOCAL")
	c.ok("1/0/0.0", "1/0/1.0")
	c.want("reduces", "1/1/0.0@a PROCESS_LOCAL", "1/1/1.0@b PROCESS_LOCAL")
	c.s.Lost("a", c.now)
	c.want("b is busy", "")
	c.failed("1/1/1.0", fmt.Errorf("stage 0, task 0: %w", ErrFetch))
	c.want("map 0 again, where there is a core; no reduce before", "1/0/0.1@b NO_PREF")
	c.ok("1/1/0.0") // from the grave: not on the books
	c.ok("1/0/0.1")
	c.want("then the reduces of its own", "1/1/2.0@b PROCESS_LOCAL")
	c.ok("1/1/2.0")
	c.want("the one that could not read", "1/1/1.1@b PROCESS_LOCAL")
	c.ok("1/1/1.1")
	c.want("the one that ran on a", "1/1/0.1@b NO_PREF")
	c.ok("1/1/0.1")
	c.want("the end", "end 1 <nil>")
}

func TestLostExecutorUnderATransaction(t *testing.T) {
	c := newScene(t, nil)
	c.executor("a", "h1", 1)
	c.submit(Job{ID: 1, Stages: []Stage{{Tasks: tasks(1), Sink: true, Whole: true}}})
	c.want("begin", "1/0/0.0@a NO_PREF")
	c.s.Lost("a", c.now)
	c.want("the whole job", "end 1 task 0 in stage 0 failed: executor a is lost")
}

func TestAFetchFailureDoesNotCount(t *testing.T) {
	c := newScene(t, func(cfg *Config) { cfg.MaxFailures = 1 })
	c.executor("a", "h1", 1)
	c.submit(one(1, "", tasks(1)...))
	c.decide()
	c.failed("1/0/0.0", ErrFetch)
	c.want("again", "1/0/0.1@a NO_PREF")
}

func speculating(cfg *Config) { cfg.Speculation.Enabled, cfg.Speculation.Quantile = true, 0.5 }

func TestSpeculation(t *testing.T) {
	c := newScene(t, speculating)
	c.executor("a", "h1", 2)
	c.executor("b", "h2", 1)
	c.submit(one(1, "", tasks(3)...))
	c.want("begin", "1/0/0.0@a NO_PREF", "1/0/1.0@b NO_PREF", "1/0/2.0@a NO_PREF")
	c.now = second
	c.ok("1/0/0.0", "1/0/2.0") // median 1 s, so slow is above 3 s
	c.want("not slow yet, and a is free", "")
	c.now = 3*second + 1
	c.want("a second one elsewhere", "1/0/1.1@a ANY again")
	c.ok("1/0/1.1")
	c.want("the first is not wanted any more", "kill 1/0/1.0")
	c.failed("1/0/1.0", errBroken)
	c.want("and its failure is nobody's", "end 1 <nil>")
}

func TestSpeculationIsRefused(t *testing.T) {
	for name, run := range map[string]func(*scene) Stage{
		"for a sink":           func(c *scene) Stage { c.executor("b", "h2", 1); return Stage{Tasks: tasks(2), Sink: true} },
		"on the host it is on": func(c *scene) Stage { return Stage{Tasks: tasks(2)} },
	} {
		c := newScene(t, speculating)
		c.executor("a", "h1", 2)
		stage := run(c)
		c.submit(Job{ID: 1, Stages: []Stage{stage}})
		c.decide()
		c.ok("1/0/0.0")
		c.now = time.Hour
		c.want(name, "")
	}
}

func TestRefusals(t *testing.T) {
	for text, cfg := range map[string]Config{
		`mode ""`:         {MaxFailures: 1},
		"0 failures":      {Mode: FIFO},
		`pool "p"`:        {Mode: FIFO, MaxFailures: 1, Pools: map[string]Pool{"p": {Weight: -1}}},
		"one of fifo, fa": {Mode: FIFO, MaxFailures: 1, Pools: map[string]Pool{"p": {Mode: "x"}}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	s := newScene(t, nil).s
	for text, err := range map[string]error{
		"at least one core": s.Add(Executor{ID: "a"}, 0),
		"has no tasks":      s.Submit(Job{Stages: []Stage{{}}}, 0),
		"come before":       s.Submit(Job{Stages: []Stage{{Parents: []int{0}, Tasks: tasks(1)}}}, 0),
	} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAnyOrderOfEvents runs random jobs over executors that come, fail tasks and
// vanish: no core is used twice, no task completes twice without cause, every
// job ends, and the same events give the same decisions.
func TestAnyOrderOfEvents(t *testing.T) {
	run := func(seed uint64) string {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := newScene(t, func(cfg *Config) {
			cfg.Mode = []Mode{FIFO, FAIR}[seed%2]
			cfg.Pools = map[string]Pool{"p": {MinShare: 2}, "q": {Weight: 2, Mode: FAIR}}
			cfg.Speculation.Enabled = seed%3 == 0
		})
		cores, busy := map[string]int{}, map[string]int{}
		var log strings.Builder
		running := map[Attempt]string{}
		jobs, ended := 0, 0
		add := func() {
			id := fmt.Sprint("x", len(cores))
			cores[id] = 1 + rng.IntN(3)
			c.executor(id, fmt.Sprintf("r%d/h%d", rng.IntN(2), rng.IntN(3)), cores[id])
		}
		add()
		for step := 0; jobs < 20 || ended < jobs; step++ {
			if step > 20_000 {
				t.Fatalf("seed %d: %d of %d jobs have ended", seed, ended, jobs)
			}
			c.now += time.Duration(rng.IntN(1500)) * time.Millisecond
			switch k := rng.IntN(20); {
			case k == 0 && jobs < 20:
				j := Job{ID: int64(jobs), Pool: []string{"p", "q", ""}[rng.IntN(3)]}
				for i := range 1 + rng.IntN(3) {
					st := Stage{Tasks: tasks(1 + rng.IntN(6)), Sink: i == 2, Whole: i == 2 && rng.IntN(2) == 0}
					if i > 0 {
						st.Parents = []int{rng.IntN(i)}
					}
					for k := range st.Tasks {
						st.Tasks[k].Executors = []string{fmt.Sprint("x", rng.IntN(4))}
					}
					j.Stages = append(j.Stages, st)
				}
				c.submit(j)
				jobs++
			case k == 1 && len(cores) < 12:
				add()
			case k == 2 && len(cores) > 4:
				id := fmt.Sprint("x", rng.IntN(len(cores)-2)) // the last ones stay
				if cores[id] > 0 {
					c.s.Lost(id, c.now)
					cores[id] = 0
					for a, e := range running {
						if e == id {
							delete(running, a)
						}
					}
				}
			default:
				for _, a := range slices.SortedFunc(func(yield func(Attempt) bool) {
					for a := range running {
						if !yield(a) {
							return
						}
					}
				}, func(a, b Attempt) int { return strings.Compare(a.String(), b.String()) }) {
					if rng.IntN(3) > 0 {
						continue
					}
					busy[running[a]]--
					delete(running, a)
					if rng.IntN(8) == 0 {
						c.s.Failed(a, errBroken, c.now)
					} else {
						c.s.Succeeded(a, c.now)
					}
				}
			}
			d := c.s.Decide(c.now)
			for _, l := range d.Launch {
				if busy[l.Executor]++; busy[l.Executor] > cores[l.Executor] {
					t.Fatalf("seed %d: executor %s of %d cores runs %d tasks", seed, l.Executor, cores[l.Executor], busy[l.Executor])
				}
				running[l.Attempt] = l.Executor
			}
			for _, e := range d.Ended {
				ended++
				for a := range running {
					if a.Job == e.Job {
						t.Fatalf("seed %d: job %d has ended and %v runs", seed, e.Job, a)
					}
				}
			}
			fmt.Fprintln(&log, step, d)
		}
		return log.String()
	}
	for seed := range uint64(40) {
		if first, second := run(seed), run(seed); first != second {
			t.Fatalf("seed %d: two runs of the same events decided differently", seed)
		}
	}
}

// BenchmarkOverhead is the cost of a task in the scheduler alone: 1,000
// partitions in ten stages, 10,000 tasks a job.
func BenchmarkOverhead(b *testing.B) {
	for _, executors := range []int{1, 16} {
		b.Run(fmt.Sprint("executors=", executors), func(b *testing.B) {
			c := newScene(b, nil)
			for i := range executors {
				c.executor(fmt.Sprint("x", i), fmt.Sprint("h", i), 4)
			}
			job := Job{}
			for s := range 10 {
				st := Stage{Tasks: tasks(1000)}
				for k := range st.Tasks {
					st.Tasks[k].Executors = []string{fmt.Sprint("x", k%executors)}
				}
				if s > 0 {
					st.Parents = []int{s - 1}
				}
				job.Stages = append(job.Stages, st)
			}
			b.ReportAllocs()
			n := 0
			var running []Attempt
			for b.Loop() {
				job.ID++
				c.submit(job)
				for done := false; !done; {
					d := c.s.Decide(c.now)
					for _, l := range d.Launch {
						running = append(running, l.Attempt)
					}
					done = len(d.Ended) > 0
					if len(running) > 0 {
						c.s.Succeeded(running[0], c.now)
						running = running[1:]
						n++
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/task")
		})
	}
}
