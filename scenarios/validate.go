package scenarios

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// nameRule: names become folder names and parts of figure paths.
const nameRule = "letters, digits and dashes, beginning with a letter, at most 40 characters"

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,39}$`)

func safeName(s string) bool { return namePattern.MatchString(s) }

// validate checks what types alone cannot say. dir is the scenario's folder.
func (d *decoder) validate(s *Scenario, dir string) {
	d.validateHead(s)
	d.validateLoad(&s.Load, dir)
	d.validateRecordSize(s)
	d.validateEngines(s)
	d.validatePhases(s)
	d.validateBacklog(s)
	d.validateStart(s)
	d.validateBad(s)
	d.finishGates(s)
}

func (d *decoder) require(path, want string) bool {
	if d.given(path) {
		return true
	}
	d.complain(path, "missing: "+want)
	return false
}

func (d *decoder) validateHead(s *Scenario) {
	if d.require("schema", `the first line of a scenario is "schema: `+SchemaV1+`"`) && s.Schema != SchemaV1 {
		d.complain("schema", oneOf(s.Schema, []string{SchemaV1}))
	}
	if d.require("name", nameRule) && !safeName(s.Name) {
		d.complain("name", nameRule)
	}
	if d.require("question", "the question that the scenario answers, in one sentence") && strings.TrimSpace(s.Question) == "" {
		d.complain("question", "the question that the scenario answers, in one sentence")
	}
	if d.require("workload", "{ name: … }, one of "+strings.Join(d.vocab.WorkloadNames(), ", ")) {
		d.require("workload.name", oneOf("", d.vocab.WorkloadNames()))
	}
	d.between("topics.partitions", s.Topics.Partitions, 1, 1024)
	d.between("topics.output", s.Topics.Output, 1, 1024)
	d.between("parallelism", s.Parallelism, 1, 64)
	if len(d.vocab.StateBackends) > 0 && !slices.Contains(d.vocab.StateBackends, string(s.State.Backend)) {
		d.complain("state.backend", oneOf(string(s.State.Backend), d.vocab.StateBackends))
	}
	d.validateTransactions(s)
	switch {
	case !d.given("state.memory"):
	case s.State.Backend == memoryBackend:
		d.complain("state.memory", "only for a backend on disk: with memory the state takes what it needs")
	case s.State.Memory < minStateMemory || s.State.Memory > maxStateMemory:
		d.complain("state.memory", fmt.Sprintf("%v to %v", minStateMemory, maxStateMemory))
	}
}

// State in memory has no bound; a backend's caches and buffers need some room to be more than a detour.
const (
	memoryBackend        = "memory"
	minStateMemory Bytes = 16 << 20
	maxStateMemory Bytes = 1 << 40
)

func (d *decoder) between(path string, v, low, high int) {
	if d.given(path) && (v < low || v > high) {
		d.complain(path, fmt.Sprintf("%d to %d", low, high))
	}
}

func (d *decoder) positive(path string, v Duration) {
	if d.given(path) && v <= 0 {
		d.complain(path, "a duration above 0s, such as 5s")
	}
}

// shapeFields says which fields a shape needs; every other shape refuses them.
var shapeFields = map[Shape][]string{
	ShapeStep:  {"steps"},
	ShapeRamp:  {"to", "over"},
	ShapeBurst: {"peak", "every", "for"},
	ShapeSine:  {"amplitude", "period"},
	ShapeTrace: {"file"},
}

func (d *decoder) validateLoad(l *Load, dir string) {
	if !d.require("load", "{ rate: 5000/s }") {
		return
	}
	if l.Shape != ShapeTrace && !(l.Speed > 0) {
		d.require("load.rate", "a rate such as 5000/s")
	}
	for shape, fields := range shapeFields {
		for _, f := range fields {
			p := "load." + f
			if shape == l.Shape {
				d.require(p, fmt.Sprintf("shape %s needs %s", shape, strings.Join(fields, ", ")))
			} else if d.given(p) {
				d.complain(p, fmt.Sprintf("only for shape: %s, not %s", shape, l.Shape))
			}
		}
	}
	d.positive("load.over", l.Over)
	d.positive("load.every", l.Every)
	d.positive("load.for", l.For)
	d.positive("load.period", l.Period)
	if l.Shape == ShapeBurst && l.For >= l.Every && l.Every > 0 {
		d.complain("load.for", "shorter than load.every")
	}
	if l.Shape == ShapeSine && l.Amplitude > l.Rate {
		d.complain("load.amplitude", "at most load.rate, or the rate would be negative")
	}
	if l.Shape == ShapeStep {
		if d.given("load.steps") && len(l.Steps) == 0 {
			d.complain("load.steps", "at least one { at: 5s, rate: 10k/s }")
		}
		for i, st := range l.Steps {
			p := fmt.Sprintf("load.steps[%d]", i)
			d.require(p+".rate", "a rate such as 10k/s")
			if d.require(p+".at", "the moment of the step, such as 5s") && i > 0 && st.At <= l.Steps[i-1].At {
				d.complain(p+".at", "later than the step before it")
			}
		}
	}
	if l.Shape == ShapeTrace && l.File != "" {
		l.File = resolve(dir, l.File)
		if _, err := ReadTrace(l.File); err != nil {
			d.complain("load.file", err.Error())
		}
	}
	d.validateSpread(l)
	if d.given("load.speed") && (l.Speed <= 0 || l.Speed > 1e6) {
		d.complain("load.speed", "a factor above 0, such as 10 for ten times as fast as the records' own times")
	}
}

func (d *decoder) validateSpread(l *Load) {
	for i, w := range l.Weights {
		if w < 0 || w > 1000 {
			d.complain(fmt.Sprintf("load.weights[%d]", i), "0 to 1000: how many records of a turn go to the partition")
		}
	}
	if len(l.Weights) > 0 && slices.Max(l.Weights) == 0 {
		d.complain("load.weights", "one above 0 at least, or nothing would be offered")
	}
	if v := l.EventTime.Speed; d.given("load.eventTime.speed") && !(v > 0 && v <= 1e6) {
		d.complain("load.eventTime.speed", "a factor above 0, such as 60 for a minute of event time in each second of the load")
	}
}

// validateBacklog checks what only a whole scenario can tell.
func (d *decoder) validateBacklog(s *Scenario) {
	for _, list := range []struct {
		path string
		n    int
	}{{"load.weights", len(s.Load.Weights)}, {"load.eventTime.lag", len(s.Load.EventTime.Lag)}} {
		if d.given(list.path) && list.n != s.Topics.Partitions {
			d.complain(list.path, fmt.Sprintf("one for each of the %d partitions of the input topic", s.Topics.Partitions))
		}
	}
	for i := range s.Phases {
		p, path := &s.Phases[i], fmt.Sprintf("phases[%d]", i)
		switch {
		case !p.Backlog:
		case i > 0:
			d.complain(path+".backlog", "the first phase only: the job is started when it is over")
		case len(s.Phases) == 1:
			d.complain(path+".backlog", "a phase behind it in which the job runs, such as { name: catch-up, until: drained, atMost: 60s }")
		case p.Until != "" || p.Fault() != "":
			d.complain(path+".backlog", "a duration and nothing else: there is no job yet to wait for or to disturb")
		}
	}
}

// validateBad checks a load's bad records against what the workload can make.
func (d *decoder) validateBad(s *Scenario) {
	if !d.given("load.bad") {
		return
	}
	d.require("load.bad.share", "how many of the records are bad, such as 2%")
	w, ok := d.vocab.Workloads[s.Workload.Name]
	if !ok {
		return // complained about
	}
	if len(w.Bad) == 0 {
		why := w.NoBad
		if why == "" {
			why = "its generator makes no bad records (a workload says in Bad which kinds it makes)"
		}
		d.complain("load.bad", fmt.Sprintf("not with workload %s: %s", s.Workload.Name, why))
		return
	}
	if d.given("load.bad.kinds") && len(s.Load.Bad.Kinds) == 0 {
		d.complain("load.bad.kinds", "at least one of "+strings.Join(w.Bad, ", "))
	}
	for i, k := range s.Load.Bad.Kinds {
		p := fmt.Sprintf("load.bad.kinds[%d]", i)
		switch {
		case !slices.Contains(w.Bad, k):
			d.complain(p, fmt.Sprintf("a kind of bad records that workload %s makes: %s", s.Workload.Name, oneOf(k, w.Bad)))
		case slices.Contains(s.Load.Bad.Kinds[:i], k):
			d.complain(p, "given twice")
		}
	}
}

// resolve names a file relative to the scenario's folder.
func resolve(dir, name string) string {
	if filepath.IsAbs(name) || dir == "" {
		return name
	}
	return filepath.Join(dir, name)
}

func (d *decoder) validateEngines(s *Scenario) {
	if d.require("engines", "one or more of "+strings.Join(d.vocab.EngineNames(), ", ")) && len(s.Engines) == 0 {
		d.complain("engines", "at least one of "+strings.Join(d.vocab.EngineNames(), ", "))
	}
	if d.require("guarantees", "a list such as [at-least-once, exactly-once]") && len(s.Guarantees) == 0 {
		d.complain("guarantees", "at least one of at-most-once, at-least-once, exactly-once")
	}
	for i, g := range s.Guarantees {
		p := fmt.Sprintf("guarantees[%d]", i)
		if g != "" && slices.Contains(s.Guarantees[:i], g) {
			d.complain(p, "given twice")
		}
		for _, e := range s.Engines {
			if g != "" && !slices.Contains(e.Guarantees, g) {
				d.complain(p, fmt.Sprintf("engine %s offers %s", e.Name, joinAny(e.Guarantees)))
			}
		}
	}
}

func joinAny[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

func (d *decoder) validatePhases(s *Scenario) {
	if !d.require("phases", "a list such as [{ name: steady, duration: 15s }]") {
		return
	}
	if len(s.Phases) == 0 {
		d.complain("phases", "at least one phase such as { name: steady, duration: 15s }")
	}
	names := map[string]bool{}
	partitions := s.Topics.Partitions
	for i := range s.Phases {
		p, path := &s.Phases[i], fmt.Sprintf("phases[%d]", i)
		if d.require(path+".name", "every phase has a name: its figures are called by it") {
			switch {
			case !safeName(p.Name):
				d.complain(path+".name", nameRule)
			case names[p.Name]:
				d.complain(path+".name", "given twice: figures are called by the phase's name")
			}
			names[p.Name] = true
		}
		d.validatePhaseLength(p, path)
		d.validateFailure(p, path)
		d.validateFault(s, p, path, &partitions)
	}
}

func (d *decoder) validatePhaseLength(p *Phase, path string) {
	d.positive(path+".duration", p.Duration)
	d.positive(path+".atMost", p.AtMost)
	ends := p.Crash != nil || p.Kill != nil || p.Savepoint
	switch {
	case p.Until != "" && !d.given(path+".atMost"):
		d.complain(path+".until", "a phase that waits needs a bound: add atMost, such as atMost: 60s")
	case !d.given(path+".until") && d.given(path+".atMost") && !ends:
		d.complain(path+".atMost", "only with until, crash, kill or savepoint: a phase without them lasts for its duration")
	case !d.given(path+".until") && !ends && !d.given(path+".duration"):
		d.complain(path+".duration", "missing: how long the phase lasts, such as 15s (or until: caughtUp | drained with atMost)")
	}
	if p.AtMost > 0 && p.Duration > p.AtMost {
		d.complain(path+".atMost", fmt.Sprintf("at least the phase's duration, %s", p.Duration))
	}
}

func (d *decoder) validateFault(s *Scenario, p *Phase, path string, partitions *int) {
	var faults []string
	for _, f := range []string{"throttle", "grow", "crash", "kill", "pause", "rescale", "savepoint"} {
		if d.given(path + "." + f) {
			faults = append(faults, f)
		}
	}
	if len(faults) > 1 {
		d.complain(path+"."+faults[1], "one fault a phase, and this one has "+strings.Join(faults, " and ")+": figures could not tell them apart")
	}
	switch {
	case p.Throttle != nil:
		if d.require(path+".throttle.sink", "the sink's limit, such as 2000/s or 40%") {
			d.validateThrottle(s, p, path+".throttle")
		}
	case p.Grow != nil:
		d.validateGrow(s, p.Grow, path+".grow", partitions)
	case p.Crash != nil:
		d.validateCrash(s, p.Crash, path+".crash")
		d.refuseStanding(s, path+".crash.again", "the coordinator that takes over runs already, and which one that will be nobody knows, so none can be armed before it leads")
		d.refuseStanding(s, path+".crash.down", "one that stands by takes over as soon as the lease is over")
	case p.Kill != nil:
		k := p.Kill
		d.between(path+".kill.executor", k.Executor, 1, 64)
		d.between(path+".kill.taskManager", k.TaskManager, 1, 64)
		chosen := 0
		for _, c := range []bool{k.Worker, k.Executor > 0, k.TaskManager > 0, k.Coordinator != ""} {
			if c {
				chosen++
			}
		}
		if chosen != 1 {
			d.complain(path+".kill", "one of worker: true, executor: N, taskManager: N, coordinator: leader | standby")
		}
		if d.given(path+".kill.down") && !k.Worker {
			d.complain(path+".kill.down", "only with worker: true: what takes the place of another process the engine starts when it can")
		}
		if k.Coordinator != "" && k.Coordinator != Leader && k.Coordinator != Standby {
			d.complain(path+".kill.coordinator", "leader or standby")
		}
		if k.Coordinator != "" {
			d.validateStanding(s, path+".kill.coordinator")
		}
		d.validateMember(s, path+".kill.executor", "executor", k.Executor)
		d.validateMember(s, path+".kill.taskManager", "taskManager", k.TaskManager)
	case p.Rescale != nil:
		d.validateRescale(s, p.Rescale, path+".rescale")
	case p.Savepoint:
		d.validateSavepoints(s, path+".savepoint")
	case p.Pause != nil:
		d.validatePause(p, path+".pause")
		if p.Pause.Coordinator > 0 {
			d.validateStanding(s, path+".pause.coordinator")
		}
		d.refuseStanding(s, path+".pause.worker", "the worker only passes on what its coordinators say, and another worker would be one more that waits for their lease: pause: { coordinator: 3s } stops the one that leads, and a standby takes its place")
	}
}

// validateThrottle checks what a limit is a share of: a stretch of the same run in
// which the job did nothing but run, and that is over.
func (d *decoder) validateThrottle(s *Scenario, p *Phase, path string) {
	if !d.given(path + ".of") {
		return
	}
	if p.Throttle.Sink.Percent == 0 {
		d.complain(path+".of", "only with a share: a rate such as "+p.Throttle.Sink.String()+" is of nothing; write sink: 40%")
		return
	}
	var earlier []string
	for i := range s.Phases {
		e := &s.Phases[i]
		if e == p {
			break
		}
		switch {
		case e.Name != p.Throttle.Of:
			earlier = append(earlier, e.Name)
		case e.Backlog, e.Fault() != "" && e.Fault() != "throttle", e.Duration == 0:
			d.complain(path+".of", "a phase with a duration in which the job runs undisturbed, or throttled: its rate is what the share is of")
			return
		default:
			return
		}
	}
	d.complain(path+".of", "an earlier phase: "+oneOf(p.Throttle.Of, earlier))
}

// validateMember checks that every engine has the process that is to be killed,
// where its configuration says what it has.
func (d *decoder) validateMember(s *Scenario, path, member string, number int) {
	if number < 1 {
		return
	}
	for _, e := range s.Engines {
		m, ok := e.Config.(Membered)
		if !ok {
			continue
		}
		switch kind, n := m.Members(); {
		case kind != member:
			d.complain(path, fmt.Sprintf("no fault of engine %s, which has %ss: kill.%s, in a scenario of its own", e.Name, kind, kind))
		case n == 1:
			d.complain(path, fmt.Sprintf("engine %s has one %s, in its worker's process: set engines.%s.%ss to 2 or more, or kill the worker", e.Name, member, e.Name, member))
		case number > n:
			d.complain(path, fmt.Sprintf("1 to %d, which is what engines.%s.%ss says", n, e.Name, member))
		}
	}
}

func (d *decoder) validateGrow(s *Scenario, g *Grow, path string, partitions *int) {
	switch {
	case g.Topic != "":
		if !safeName(g.Topic) {
			d.complain(path+".topic", nameRule)
		}
		if s.Topics.Subscribe != SubscribePattern {
			d.complain(path+".topic", "needs topics.subscribe: pattern, or the source would never look for it")
		}
		d.between(path+".partitions", g.Partitions, 1, 1024)
	case !d.given(path + ".partitions"):
		d.complain(path, "partitions: N, or topic: name")
	case g.Partitions <= *partitions || g.Partitions > 1024:
		d.complain(path+".partitions", fmt.Sprintf("%d to 1024: more than the %d that the topic has by then", *partitions+1, *partitions))
	default:
		*partitions = g.Partitions
	}
}
