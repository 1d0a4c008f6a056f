package control

import "time"

// Hold keeps a batch back until enough records wait, as structured streaming's
// minOffsetsPerTrigger does: at most for MaxDelay since it last let one
// through. The first one is never held.
type Hold struct {
	MinRecords int64         // 0 holds nothing
	MaxDelay   time.Duration // 0 does not hold either
	last       int64
	fired      bool
}

// Back reports whether the batch at time now, nanoseconds since any moment, is
// to wait although available records do.
func (h *Hold) Back(now, available int64) bool {
	if h.MinRecords <= 0 {
		return false
	}
	if !h.fired || available >= h.MinRecords || now-h.last >= int64(h.MaxDelay) {
		h.last, h.fired = now, true
		return false
	}
	return true
}
