// Package pattern finds sequences of records in a keyed stream of event time: a
// payment that is tried three times within a minute and then goes through, an
// order that no delivery follows. It is a process function like any user's own;
// what it keeps is keyed state and timers, so it is in the snapshot.
//
//	p := pattern.Begin("try", small).Times(3).FollowedBy("big", big).Within(time.Minute)
//	alarms := pattern.Match(byCard, "fraud", p, pattern.Functions[Payment, Alarm]{Match: alarm})
//
// # Semantics
//
// They are those of Flink's CEP library, of which this is a small part. Records
// of a key wait until the watermark has reached them and are then looked at in
// the order of their event times, those of one time in the order in which they
// came. Each record that fits the first step begins a sequence of its own, so
// sequences may overlap; FollowedBy takes the first record that fits and passes
// over others. A sequence's records all lie within less than Within of its first.
package pattern

import (
	"slices"
	"time"

	"streamduel/pipeline"
)

// kind says how a step follows the one before it.
type kind uint8

const (
	begin kind = iota
	next
	followedBy
	notNext
	notFollowedBy
)

func (k kind) negative() bool { return k == notNext || k == notFollowedBy }

type step[T any] struct {
	name  string
	kind  kind
	where func(v T, so *Sequence[T]) bool
	open  func(r *pipeline.RuntimeContext) func(v T, so *Sequence[T]) bool // makes where in a subtask, if set
	again bool                                                             // a further one of Times
}

// Pattern is a sequence of steps. Its methods return changed copies.
type Pattern[T any] struct {
	steps    []step[T]
	within   time.Duration
	skipPast bool
	errs     []string
}

// Begin starts a pattern with a record for which where is true.
func Begin[T any](name string, where func(T) bool) *Pattern[T] {
	return (&Pattern[T]{}).add(name, begin, plain(where))
}

func plain[T any](where func(T) bool) func(T, *Sequence[T]) bool {
	if where == nil {
		return nil
	}
	return func(v T, _ *Sequence[T]) bool { return where(v) }
}

func (p *Pattern[T]) clone() *Pattern[T] {
	c := *p
	c.steps, c.errs = slices.Clone(p.steps), slices.Clone(p.errs)
	return &c
}

func (p *Pattern[T]) add(name string, k kind, where func(T, *Sequence[T]) bool) *Pattern[T] {
	c := p.clone()
	for _, s := range c.steps {
		if s.name == name {
			c.errs = append(c.errs, "two steps are called "+name)
			break
		}
	}
	if name == "" || where == nil {
		c.errs = append(c.errs, "a step needs a name and a condition")
	}
	c.steps = append(c.steps, step[T]{name: name, kind: k, where: where})
	return c
}

// Next continues with the very next record of the key, which must fit.
func (p *Pattern[T]) Next(name string, where func(T) bool) *Pattern[T] {
	return p.add(name, next, plain(where))
}

// FollowedBy continues with the first record that fits; others may lie between.
func (p *Pattern[T]) FollowedBy(name string, where func(T) bool) *Pattern[T] {
	return p.add(name, followedBy, plain(where))
}

// NotNext ends a sequence if the very next record fits. As the last step it is
// complete with the very next record that does not fit; where none comes, it is
// not.
func (p *Pattern[T]) NotNext(name string, where func(T) bool) *Pattern[T] {
	return p.add(name, notNext, plain(where))
}

// NotFollowedBy ends a sequence if a record fits before the next step does. As
// the last step it needs Within, whose end completes the sequence.
func (p *Pattern[T]) NotFollowedBy(name string, where func(T) bool) *Pattern[T] {
	return p.add(name, notFollowedBy, plain(where))
}

// Given replaces the condition of the last step by one that also sees the
// records that the sequence has so far: Flink's iterative condition.
func (p *Pattern[T]) Given(where func(v T, so *Sequence[T]) bool) *Pattern[T] {
	c := p.clone()
	name := c.steps[len(c.steps)-1].name
	for i := range c.steps {
		if c.steps[i].name == name {
			c.steps[i].where, c.steps[i].open = where, nil
		}
	}
	if where == nil {
		c.errs = append(c.errs, "a step needs a name and a condition")
	}
	return c
}

// RichGiven is Given with a condition that is made once per subtask, so that it
// can keep memory and metrics of its own.
func (p *Pattern[T]) RichGiven(open func(r *pipeline.RuntimeContext) func(v T, so *Sequence[T]) bool) *Pattern[T] {
	c := p.clone()
	name := c.steps[len(c.steps)-1].name
	for i := range c.steps {
		if c.steps[i].name == name {
			c.steps[i].open = open
		}
	}
	return c
}

// opened returns the pattern with the conditions of a subtask. Steps of one name
// are one condition.
func (p *Pattern[T]) opened(r *pipeline.RuntimeContext) *Pattern[T] {
	c := p.clone()
	for i := range c.steps {
		switch s := &c.steps[i]; {
		case s.open == nil:
		case s.again:
			s.where = c.steps[i-1].where
		default:
			s.where = s.open(r)
		}
	}
	return c
}

// Times asks for n records that fit the last step; others may lie between them.
func (p *Pattern[T]) Times(n int) *Pattern[T] { return p.times(n, followedBy) }

// TimesConsecutive asks for n records that fit the last step, one right behind
// the other.
func (p *Pattern[T]) TimesConsecutive(n int) *Pattern[T] { return p.times(n, next) }

func (p *Pattern[T]) times(n int, k kind) *Pattern[T] {
	c := p.clone()
	last := c.steps[len(c.steps)-1]
	switch {
	case n < 1:
		c.errs = append(c.errs, "a step is to be taken fewer than one time")
	case last.kind.negative() || last.again:
		c.errs = append(c.errs, "the step "+last.name+" cannot be repeated")
	}
	for range n - 1 {
		c.steps = append(c.steps, step[T]{name: last.name, kind: k, where: last.where, open: last.open, again: true})
	}
	return c
}

// Within bounds a sequence: its records, and what must not follow, lie less than
// d after its first.
func (p *Pattern[T]) Within(d time.Duration) *Pattern[T] {
	c := p.clone()
	c.within = d
	if d < time.Millisecond {
		c.errs = append(c.errs, "within "+d.String()+": at least 1 ms is allowed")
	}
	return c
}

// SkipPastLast gives up, when a sequence is complete, all others that have
// begun, so that no record is in two matches. Without it all are found.
func (p *Pattern[T]) SkipPastLast() *Pattern[T] {
	c := p.clone()
	c.skipPast = true
	return c
}

func (p *Pattern[T]) check() []string {
	errs := slices.Clone(p.errs)
	if last := p.steps[len(p.steps)-1]; last.kind == notFollowedBy && p.within == 0 {
		errs = append(errs, "the last step "+last.name+" must not follow and needs Within")
	}
	return errs
}

// Sequence is a match, or what there is of one.
type Sequence[T any] struct {
	steps []step[T]
	run   *run[T]
}

// Of returns the records of a step, in their order. They must not be changed.
func (s *Sequence[T]) Of(name string) (vs []T) {
	for _, e := range s.run.events {
		if s.steps[e.step].name == name {
			vs = append(vs, e.value)
		}
	}
	return vs
}

// All returns all records in their order.
func (s *Sequence[T]) All() []T {
	vs := make([]T, len(s.run.events))
	for i, e := range s.run.events {
		vs[i] = e.value
	}
	return vs
}

// Start returns the event time of the first record.
func (s *Sequence[T]) Start() int64 { return s.run.events[0].ts }
