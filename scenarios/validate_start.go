package scenarios

import (
	"fmt"
	"strconv"
)

// validateStart checks where a job begins to read: only where something was written
// before it was started is there a choice.
func (d *decoder) validateStart(s *Scenario) {
	if s.Load.GoesOn && !s.Backlog() {
		d.complain("load.goesOn", "only with backlog: true on the first phase: any other load goes on anyway")
	}
	if !d.given("start") {
		return
	}
	if !s.Backlog() {
		d.complain("start", "needs backlog: true on the first phase: without it nothing has been written when the job is started, and all positions are the same")
	}
	if s.Load.Bad.Share > 0 {
		d.complain("start", "not with load.bad: which bad records the job should have met would not be known")
	}
	switch from := s.Start.From; {
	case from == StartTimestamp:
		d.require("start.after", "the time from the beginning of the load, such as 2s")
	case d.given("start.after"):
		d.complain("start.after", "only with from: timestamp")
	case from == StartCommitted && len(s.Start.Positions) == 0:
		d.complain("start.from", "committed needs positions, such as { 0: 1000 }: they are committed before the job is started")
	}
	for name, at := range s.Start.Positions {
		p := join("start.positions", name)
		n, err := strconv.Atoi(name)
		switch {
		case err != nil || n < 0 || n >= s.Topics.Partitions || strconv.Itoa(n) != name:
			d.complain(p, fmt.Sprintf("a partition of the input topic: 0 to %d", s.Topics.Partitions-1))
		case at < 0:
			d.complain(p, "a position of 0 or more")
		}
	}
}
