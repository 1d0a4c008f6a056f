package dataflow

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"streamduel/clock"
	"streamduel/engines"
)

// samplePeriod is how often the wait reasons of all subtasks are looked at.
const samplePeriod = 50 * time.Millisecond

// samples is how many looks make a share, as Flink had it before 1.13.
const samples = 100

// pressure is how a subtask has used its time, in the two ways in which Flink has
// told it: the share of the last hundred looks, 50 ms apart, at which it waited
// for a buffer; and the milliseconds of the last whole second. Only the watch
// writes it.
type pressure struct {
	waited  [samples]bool
	looks   int
	blocked int // of the looks remembered

	second        int64 // monotonic nanoseconds at which it began
	before        [2]int64
	blockedMillis float64
	idleMillis    float64
	hard          int64 // blocked in the middle of a record: now, when the second began, and in it
	hardBefore    int64
	hardMillis    float64
	seconds       int

	steps int64 // of the task at the last look
	still int64 // monotonic nanoseconds since which it has not come further
	told  bool
}

// look takes one sample.
func (p *pressure) look(reason waitReason, blocked, idle, now int64) {
	at := p.looks % samples
	if p.waited[at] {
		p.blocked--
	}
	p.waited[at] = reason.blocked()
	if p.waited[at] {
		p.blocked++
	}
	p.looks++
	if p.second == 0 {
		p.second, p.before, p.hardBefore = now, [2]int64{blocked, idle}, p.hard
	}
	if span := now - p.second; span >= int64(time.Second) {
		perSecond := 1000 / float64(span)
		p.blockedMillis = float64(blocked-p.before[0]) * perSecond
		p.idleMillis = float64(idle-p.before[1]) * perSecond
		p.hardMillis = float64(p.hard-p.hardBefore) * perSecond
		p.second, p.before, p.hardBefore = now, [2]int64{blocked, idle}, p.hard
		p.seconds++
	}
}

// view returns what has been found, nil before the first second is over.
func (p *pressure) view() *engines.BackPressure {
	if p.seconds == 0 {
		return nil
	}
	sampled := float64(p.blocked) / float64(min(p.looks, samples))
	v := &engines.BackPressure{
		SampledShare: sampled, SampledLevel: engines.BackPressureLevel(sampled),
		BlockedMillis: min(p.blockedMillis, 1000), IdleMillis: min(p.idleMillis, 1000),
		HardMillis: min(p.hardMillis, 1000),
	}
	v.BusyMillis = max(1000-v.BlockedMillis-v.IdleMillis, 0)
	v.Level = engines.BackPressureLevel(v.BlockedMillis / 1000)
	return v
}

// watch samples all subtasks, and names the function that one of them has been
// in for too long.
func (r *run) watch() {
	r.each(samplePeriod, func() {
		now := clock.Mono()
		for _, s := range r.seats {
			t := s.task()
			if t == nil || t.away != nil {
				continue // its own process watches it
			}
			blocked, idle := t.waits.totals(now)
			reason := waitReason(t.waits.reason.Load())
			r.gauges.mu.Lock()
			s.pressure.hard = t.waits.hardly(now)
			s.pressure.look(reason, blocked, idle, now)
			r.gauges.mu.Unlock()
			p, steps := &s.pressure, t.steps.Load()
			if reason != running || steps != p.steps || p.still == 0 {
				p.steps, p.still, p.told = steps, now, false
				continue
			}
			if after := time.Duration(now - p.still); after >= time.Duration(r.cfg.Watchdog) && !p.told {
				p.told = true
				where, stack := t.where()
				r.rt.Log.Warn("a subtask does not come back", "task", t.name, "in", where, "after", after, "stack", stack)
				r.emit(engines.Stuck{Task: t.name, Function: where, Seconds: after.Seconds()})
			}
		}
	})
}

// where returns the function that the subtask's goroutine is in, as seen from
// outside the runtime and the standard library's waiting, and its stack.
func (t *task) where() (function, stack string) {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	return frameOf(string(buf), t.goroutine.Load())
}

// frameOf finds a goroutine's first frame worth naming in a dump of all.
func frameOf(dump string, goroutine int64) (function, stack string) {
	_, stack, ok := strings.Cut("\n\n"+dump, fmt.Sprintf("\n\ngoroutine %d ", goroutine))
	if !ok {
		return "a goroutine that has ended", ""
	}
	stack, _, _ = strings.Cut(stack, "\n\n")
	lines := strings.Split(stack, "\n")
	for i := 1; i+1 < len(lines); i += 2 {
		name := lines[i]
		if inside(name) {
			continue
		}
		if k := strings.LastIndexByte(name, '('); k > 0 {
			name = name[:k]
		}
		file, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		return name + " at " + file[strings.LastIndexByte(file, '/')+1:], stack
	}
	return "the runtime", stack
}

// inside reports whether a frame is of the runtime or of what waits for it.
func inside(frame string) bool {
	for _, p := range []string{"runtime.", "sync.", "internal/", "time.", "syscall.", "os.", "net.", "reflect.", "context.", "bufio.", "io."} {
		if strings.HasPrefix(frame, p) {
			return true
		}
	}
	return false
}

// goroutineID returns the number that stack dumps call this goroutine by.
func goroutineID() int64 {
	var buf [64]byte
	head := string(buf[:runtime.Stack(buf[:], false)])
	n, _ := strconv.ParseInt(strings.Fields(head)[1], 10, 64)
	return n
}

// wait waits for the region's goroutines, which were told to end; a function
// that never comes back is named.
func (g *region) wait() error {
	ended := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(ended)
	}()
	after := time.Duration(g.run.cfg.CancelTimeout)
	if g.run.members != nil {
		after += grace // their own processes name the function first
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
	}
	for _, s := range g.seats {
		if t := s.task(); t.alive.Load() {
			where, _ := t.where()
			return fmt.Errorf("%s did not end within %v: it is in %s", t.name, after, where)
		}
	}
	return fmt.Errorf("the tasks of %s did not end within %v", g.seats[0].name, after)
}
