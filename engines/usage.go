package engines

import (
	"math"
	"runtime/metrics"
)

// OwnUsage reads what this process has used so far from the runtime's own
// account, without stopping the world.
func OwnUsage() ProcessUsage {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	u := ProcessUsage{AllocBytes: s[0].Value.Uint64()}
	if s[1].Value.Kind() == metrics.KindFloat64Histogram {
		h := s[1].Value.Float64Histogram()
		for i := len(h.Counts) - 1; i >= 0; i-- {
			if h.Counts[i] > 0 {
				// The bucket's upper bound, or its lower one where it is open.
				if u.GCPauseMillisMax = h.Buckets[i+1] * 1e3; math.IsInf(u.GCPauseMillisMax, 1) {
					u.GCPauseMillisMax = h.Buckets[i] * 1e3
				}
				break
			}
		}
	}
	return u
}
