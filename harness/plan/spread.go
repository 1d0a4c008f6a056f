package plan

import (
	"fmt"
	"math"
	"time"
)

// Spread says how a load's records lie in its partitions and in event time. The
// zero value deals them out evenly, with their due time on the wall clock as
// their event time.
type Spread struct {
	// Weights are how many records of a turn each partition gets, by its global
	// number; partitions behind the end of the list get one. One with 0 gets
	// nothing but its closing record.
	Weights []int `json:"weights,omitempty"`
	// Lag is how far each partition's event times lie behind, by its global
	// number; partitions behind the end of the list do not.
	Lag []time.Duration `json:"lagNanos,omitempty"`
	// EventSpeed is how fast event time passes, as a multiple of the schedule's; 0
	// is 1.
	EventSpeed float64 `json:"eventSpeed,omitempty"`
}

// Limits of a spread.
const (
	maxWeight     = 1000
	maxEventSpeed = 1e6
)

func (s Spread) validate() error {
	for i, w := range s.Weights {
		if w < 0 || w > maxWeight {
			return fmt.Errorf("plan: partition %d has weight %d: allowed are 0 to %d", i, w, maxWeight)
		}
	}
	for i, d := range s.Lag {
		if d < 0 {
			return fmt.Errorf("plan: partition %d lags by %s: 0 or more is allowed", i, d)
		}
	}
	if s.EventSpeed < 0 || s.EventSpeed > maxEventSpeed || math.IsNaN(s.EventSpeed) {
		return fmt.Errorf("plan: event time at %g times the schedule's speed: above 0, at most %g is allowed", s.EventSpeed, float64(maxEventSpeed))
	}
	return nil
}

func (s Spread) weight(partition int32) int64 {
	if int(partition) < len(s.Weights) {
		return int64(s.Weights[partition])
	}
	return 1
}

// eventTime is the event time, in Unix milliseconds, of what is due at a
// monotonic time. The lag of a partition comes off that.
func (s Spread) eventTime(l *layout, due int64) int64 {
	if s.EventSpeed != 0 && s.EventSpeed != 1 && due != Never {
		due = l.start + int64(float64(due-l.start)*s.EventSpeed)
	}
	return (due + l.wall) / 1e6
}

func (s Spread) lag(partition int32) int64 {
	if int(partition) < len(s.Lag) {
		return s.Lag[partition].Milliseconds()
	}
	return 0
}

// turn is the order in which one turn deals records to an epoch's partitions,
// each by its weight and as evenly spread over the turn as can be. A partition
// is called by its place in the epoch.
type turn struct {
	place  []int32   // of each record of a turn
	rank   []int64   // which of its partition's records in the turn it is
	at     [][]int64 // for each place, where in the turn its records stand
	length int64
}

// newTurn deals one turn; nil stands for one record for each.
func newTurn(weights []int64) *turn {
	even := true
	t := &turn{at: make([][]int64, len(weights))}
	for _, w := range weights {
		t.length += w
		even = even && w == 1
	}
	if even {
		return nil
	}
	// Smooth weighted round robin: who is owed most comes next.
	owed := make([]int64, len(weights))
	for i := range t.length {
		next := 0
		for p, w := range weights {
			if owed[p] += w; owed[p] > owed[next] {
				next = p
			}
		}
		owed[next] -= t.length
		t.place = append(t.place, int32(next))
		t.rank = append(t.rank, int64(len(t.at[next])))
		t.at[next] = append(t.at[next], i)
	}
	return t
}

// find returns the place of an epoch's k-th record and how many records of its
// partition come before it in the epoch.
func (t *turn) find(k, partitions int64) (place, before int64) {
	if t == nil {
		return k % partitions, k / partitions
	}
	i, n := k%t.length, k/t.length
	place = int64(t.place[i])
	return place, n*int64(len(t.at[place])) + t.rank[i]
}

// index is the inverse of find; ok is false where it does not fit into an int64.
func (t *turn) index(place, before, partitions int64) (k int64, ok bool) {
	if t == nil {
		if before > (math.MaxInt64-place)/partitions {
			return 0, false
		}
		return before*partitions + place, true
	}
	w := int64(len(t.at[place]))
	if w == 0 {
		return 0, false // the partition has no records
	}
	if before/w > math.MaxInt64/t.length-1 {
		return 0, false
	}
	return before/w*t.length + t.at[place][before%w], true
}

// count returns how many of an epoch's first k records lie at a place.
func (t *turn) count(place, k, partitions int64) int64 {
	if t == nil {
		if d := k - place; d > 0 {
			return (d + partitions - 1) / partitions
		}
		return 0
	}
	n := k / t.length * int64(len(t.at[place]))
	for _, at := range t.at[place] {
		if at < k%t.length {
			n++
		}
	}
	return n
}
