// Package debloat says how large a receiver's next buffers should be, so that what
// waits before it is as much as it takes in within a target time and not more: Flink's
// buffer debloating (FLIP-183; BufferDebloater, BufferSizeEMA and ThroughputCalculator
// of flink-runtime). Numbers in, numbers out: the clock, the buffers and those who
// fill them are the caller's.
//
// The number of buffers stays what it is, because credits and channels need it. What
// follows the receiver's speed is how many bytes fill one. Buffers that are filled
// already keep their size, so a sudden slowdown is felt in full once.
package debloat

import (
	"math"
	"time"
)

// Config is what a Debloater is made with.
type Config struct {
	// Target is how long the receiver should take for all that waits.
	Target time.Duration
	// MinSize and MaxSize bound the size in bytes; MaxSize is where it begins.
	MinSize, MaxSize int
	// ThresholdPercent is how far a new size must be from the one in force to be
	// announced. The least and the largest always are.
	ThresholdPercent int
	// Samples are how many sizes the average looks back on.
	Samples int
}

// Debloater works out one receiver's buffer size.
type Debloater struct {
	cfg      Config
	alpha    float64
	average  float64
	size     int
	estimate time.Duration
}

// New returns a debloater whose size is the largest.
func New(c Config) *Debloater {
	return &Debloater{cfg: c, alpha: 2 / float64(c.Samples+1), average: float64(c.MaxSize), size: c.MaxSize}
}

// Recalculate takes in the receiver's speed in bytes a second and how many buffers
// wait before it. It returns the size in force, and whether that is new, so that it
// has to be announced.
func (d *Debloater) Recalculate(throughput int64, buffers int) (size int, changed bool) {
	buffers = max(buffers, 1)
	wanted := throughput * d.cfg.Target.Milliseconds() / 1000
	next := d.next(wanted, buffers)
	d.estimate = time.Duration(int64(next)*int64(buffers)*1000/max(throughput, 1)) * time.Millisecond
	if d.negligible(next) {
		return d.size, false
	}
	d.size = next
	return next, true
}

// next moves the average towards the share that each of the buffers has of what is
// wanted in all. It grows by at most as much as it would shrink: what is far above
// the largest size must not bring that about at once.
func (d *Debloater) next(wanted int64, buffers int) int {
	share := min(float64(wanted)/float64(buffers), 2*d.average)
	d.average += d.alpha * (share - d.average)
	d.average = min(max(d.average, float64(d.cfg.MinSize)), float64(d.cfg.MaxSize))
	return int(math.Round(d.average))
}

// negligible reports whether a size is too near the one in force to tell anybody.
func (d *Debloater) negligible(next int) bool {
	switch {
	case next == d.size:
		return true
	case next <= d.cfg.MinSize, next >= d.cfg.MaxSize:
		return false
	}
	return max(next-d.size, d.size-next) < int(float64(d.size)*float64(d.cfg.ThresholdPercent)/100)
}

// Size returns the size in force.
func (d *Debloater) Size() int { return d.size }

// Estimate returns how long the receiver will take for buffers of the newest size,
// as many as waited when it was worked out.
func (d *Debloater) Estimate() time.Duration { return d.estimate }

// Throughput measures a receiver's speed over the time in which it had something to
// take in.
type Throughput struct{ perSecond int64 }

// Measure returns the speed, in bytes a second, of so many bytes in so long a time
// without waiting for input, and what it was before where that was less than a
// millisecond.
func (t *Throughput) Measure(bytes int64, active time.Duration) int64 {
	if ms := active.Milliseconds(); ms > 0 {
		t.perSecond = int64(float64(bytes) / float64(ms) * 1000)
	}
	return t.perSecond
}
