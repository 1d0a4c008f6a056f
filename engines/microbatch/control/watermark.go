package control

import "math"

// NoTime is the watermark before there is one.
const NoTime int64 = math.MinInt64

// SplitTime is how far a split has come in event time, and whether it is idle.
type SplitTime struct {
	Watermark int64
	Idle      bool
}

// MaxOverSplits is structured streaming's watermark of one operator: the largest
// over all its partitions (EventTimeStats in Spark). ok is false before there is
// one. Whether a split is idle does not matter.
func MaxOverSplits(splits []SplitTime) (wm int64, ok bool) {
	wm = NoTime
	for _, s := range splits {
		wm = max(wm, s.Watermark)
	}
	return wm, wm != NoTime
}

// MinOverSplits is Flink's: the least over the active splits. ok is false while
// an active split has given nothing, or none is active.
func MinOverSplits(splits []SplitTime) (wm int64, ok bool) {
	wm = NoTime
	for _, s := range splits {
		if s.Idle {
			continue
		}
		if !ok || s.Watermark < wm {
			wm, ok = s.Watermark, true
		}
	}
	return wm, ok && wm != NoTime
}

// AcrossSources combines the watermarks of a job's sources; NoTime stands for one
// that has none. The least is the default; the largest is spark.sql.streaming.
// multipleWatermarkPolicy = max.
func AcrossSources(sources []int64, largest bool) int64 {
	wm, any := NoTime, false
	for _, s := range sources {
		if !any || largest && s > wm || !largest && s < wm {
			wm, any = s, true
		}
	}
	return wm
}
