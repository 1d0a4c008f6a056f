// Package lease lets one of several processes lead a job, and another take over
// when it does not say for a while that it still does. What they share is a
// folder, nothing else: no clock, no connection.
//
// A term is a file, lease-<epoch>, which is created exclusively: of those who want
// it one gets it. Its holder writes it anew with a higher beat several times in a
// lease's length. Whoever has seen the same beat for a whole length, by its own
// clock, may begin the next term.
//
// # Why two never lead for long
//
// The holder gives up when its last renewal was begun a length ago; the others saw
// that renewal later than it was begun, so they wait for longer. What a clock
// cannot help against, a process that is stopped between its look at the clock and
// what it does then, the attempt of the job does (state.Attempt): every commit
// looks at it first.
//
// A holder that wakes up writes the file of its own, older epoch, which nobody
// reads any more.
package lease

import (
	"fmt"
	"time"

	"streamduel/state"
)

// Term is what a term's file says.
type Term struct {
	Epoch  int64  `json:"epoch"` // from 1; 0 says that nobody has led yet
	Holder string `json:"holder"`
	Beat   int64  `json:"beat"` // counted up by each renewal
}

// beats is how many renewals there are in a length: some may fail.
const beats = 4

// contender decides what one of those who may lead does next. It is a pure
// function of what it is told; now is any clock that goes on at the right speed.
type contender struct {
	self   string
	length time.Duration

	seen  Term
	since time.Duration // when seen was first seen

	held    int64 // the epoch that it holds, 0 for none
	renewed time.Duration
	told    time.Duration // renewed, of the renewal under way
}

// action is what a contender is to do. At most one of its fields beside wait is
// set; wait is how long until it looks again.
type action struct {
	claim *Term
	renew *Term
	lost  error
	wait  time.Duration
}

// look takes the newest term's file as it is now; err says that it could not be
// read, which is neither a renewal nor its lack.
func (c *contender) look(now time.Duration, newest Term, err error) action {
	step := c.length / beats
	if c.held != 0 {
		switch {
		case err == nil && newest.Epoch > c.held:
			return action{lost: fmt.Errorf("%s led in term %d and %w by %s, which leads in term %d", c.self, c.held, state.ErrSuperseded, newest.Holder, newest.Epoch)}
		case now-c.renewed >= c.length:
			return action{lost: fmt.Errorf("%s led in term %d and could not say so for %s: if another leads now, it %w", c.self, c.held, now-c.renewed, state.ErrSuperseded)}
		case err != nil:
			return action{wait: step}
		}
		c.told = now
		return action{renew: &Term{Epoch: c.held, Holder: c.self, Beat: newest.Beat + 1}, wait: step}
	}
	switch {
	case err != nil:
		// What cannot be read may have been renewed meanwhile.
		c.since = now
		return action{wait: step}
	case newest.Epoch == 0:
	case newest != c.seen:
		c.seen, c.since = newest, now
		return action{wait: step}
	case now-c.since < c.length:
		return action{wait: min(step, c.length-(now-c.since))}
	}
	c.told = now
	return action{claim: &Term{Epoch: newest.Epoch + 1, Holder: c.self}}
}

// claimed takes whether the claim has succeeded.
func (c *contender) claimed(t Term, ok bool) {
	if ok {
		c.held, c.renewed = t.Epoch, c.told
	}
}

// wrote takes that the renewal has been written.
func (c *contender) wrote() { c.renewed = c.told }
