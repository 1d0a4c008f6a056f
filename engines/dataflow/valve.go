package dataflow

import (
	"math"

	"streamduel/pipeline"
)

// valve combines the watermarks of a subtask's input channels: the minimum over
// the channels that are active and have caught up. An idle channel is left out,
// and one that becomes active again counts only once it has reached what was
// already put out, because the output never goes back. When all are idle the
// largest watermark is put out and the subtask is idle too. (Flink 2.0,
// StatusWatermarkValve.)
//
// Under task-max the largest over the channels is put out instead, but the end
// of all time only when all channels have come to it.
type valve struct {
	channels []valveChannel
	maximum  bool
	out      int64
	idle     bool
}

type valveChannel struct {
	watermark int64
	idle      bool
	aligned   bool
}

func newValve(channels int, maximum bool) *valve {
	v := &valve{channels: make([]valveChannel, channels), maximum: maximum, out: pipeline.NoTime}
	for i := range v.channels {
		v.channels[i] = valveChannel{watermark: pipeline.NoTime, aligned: true}
	}
	return v
}

// watermark takes a channel's watermark and reports whether the output moved.
func (v *valve) watermark(ch int, wm int64) (moved bool) {
	c := &v.channels[ch]
	if c.idle || wm <= c.watermark {
		return false
	}
	c.watermark = wm
	if !c.aligned && wm >= v.out {
		c.aligned = true
	}
	return v.lift()
}

// setIdle takes a channel's status and reports whether the output moved and
// whether the subtask's own status changed.
func (v *valve) setIdle(ch int, idle bool) (moved, changed bool) {
	c := &v.channels[ch]
	if c.idle == idle {
		return false, false
	}
	c.idle = idle
	if !idle {
		c.aligned = c.watermark >= v.out
		changed = v.idle
		v.idle = false
		return false, changed
	}
	c.aligned = false
	for i := range v.channels {
		if !v.channels[i].idle {
			return v.lift(), false
		}
	}
	for i := range v.channels {
		if w := v.channels[i].watermark; w > v.out {
			v.out, moved = w, true
		}
	}
	changed = !v.idle
	v.idle = true
	return moved, changed
}

func (v *valve) lift() (moved bool) {
	if v.maximum {
		return v.liftMaximum()
	}
	low, any := int64(math.MaxInt64), false
	for i := range v.channels {
		if c := &v.channels[i]; c.aligned {
			low, any = min(low, c.watermark), true
		}
	}
	if !any || low <= v.out {
		return false
	}
	v.out = low
	return true
}

func (v *valve) liftMaximum() (moved bool) {
	high, ended := pipeline.NoTime, 0
	for i := range v.channels {
		if w := v.channels[i].watermark; w == math.MaxInt64 {
			ended++
		} else {
			high = max(high, w)
		}
	}
	if ended == len(v.channels) {
		high = math.MaxInt64
	}
	if high <= v.out {
		return false
	}
	v.out = high
	return true
}
