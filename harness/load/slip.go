package load

import (
	"math"
	"sort"
	"time"
)

// Slips are told in buckets: the first ends at SlipFloor, which no latency is held
// against, and each further one is a quarter longer.
const (
	SlipFloor   = 5 * time.Millisecond
	slipGrowth  = 1.25
	slipBuckets = 54 // beyond slipTop
	// slotLength is how finely the schedule is divided.
	slotLength = int64(100 * time.Millisecond)
)

// Late are the records of one stretch of the schedule, a tenth of a second, that
// were handed over more than [SlipFloor] after they were due. A record that is late
// makes its own latency longer, so it is by its schedule that it is found again.
type Late struct {
	At int64 `json:"at"` // monotonic nanoseconds at which the stretch begins
	// Records is how many there are in each bucket: bucket k, from 0, holds slips
	// above SlipFloor·1.25^k up to SlipFloor·1.25^(k+1).
	Records []int64 `json:"records"`
}

// slipBounds are the upper ends of the buckets, that of what is not late first.
var slipBounds = func() (all [slipBuckets]int64) {
	for k := range all {
		all[k] = int64(float64(SlipFloor) * math.Pow(slipGrowth, float64(k)))
	}
	return all
}()

// slots count late records by the stretch in which they were due.
type slots struct {
	start int64
	late  []*[slipBuckets]int64
}

// add counts a record; it allocates once for a stretch that had none.
func (s *slots) add(due, slip int64) {
	if slip <= int64(SlipFloor) || due < s.start {
		return
	}
	i := int((due - s.start) / slotLength)
	for i >= len(s.late) {
		s.late = append(s.late, nil)
	}
	if s.late[i] == nil {
		s.late[i] = new([slipBuckets]int64)
	}
	k := sort.Search(slipBuckets-1, func(k int) bool { return slip <= slipBounds[k] }) - 1
	s.late[i][k]++
}

// told lists the stretches that have late records.
func (s *slots) told() (all []Late) {
	for i, n := range s.late {
		if n == nil {
			continue
		}
		last := slipBuckets
		for last > 0 && n[last-1] == 0 {
			last--
		}
		all = append(all, Late{At: s.start + int64(i)*slotLength, Records: n[:last]})
	}
	return all
}

// SlipOf returns the slip within which a share of the records that were due in
// [from, to) was handed over, rounded up to a bucket's end; records is how many were
// due then.
func SlipOf(late []Late, from, to, records int64, share float64) time.Duration {
	var over [slipBuckets]int64
	for _, l := range late {
		if l.At+slotLength/2 < from || l.At+slotLength/2 >= to {
			continue
		}
		for k, n := range l.Records {
			over[k] += n
		}
	}
	allowed := int64((1 - share) * float64(records))
	var n int64
	for k := slipBuckets - 1; k >= 0; k-- {
		if n += over[k]; n > allowed {
			return time.Duration(slipBounds[min(k+1, slipBuckets-1)])
		}
	}
	return SlipFloor
}
