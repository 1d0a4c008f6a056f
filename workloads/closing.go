package workloads

import (
	"time"

	"streamduel/pipeline"
)

// Horizon is what a job with event time must say of itself for its end to be
// seen. Its closing records bring the watermark past everything that the load
// can still cause, and show in the output when it has come so far.
type Horizon struct {
	// After is how long after a record's event time its last effect can come: a
	// window's size and allowed lateness, a pattern's Within.
	After time.Duration
	// Delay is the watermark's.
	Delay time.Duration
}

// ClosingTime is the event time of a closing record, in Unix milliseconds, for
// a load whose records have event times of at most last. The spare After
// between it and when it shows lets partitions close at different times.
func (h Horizon) ClosingTime(last int64) int64 {
	return last + 2*h.After.Milliseconds() + h.Delay.Milliseconds() + 1
}

// Shows is the watermark at which a closing record of that event time comes out.
func (h Horizon) Shows(closing int64) int64 {
	return closing - h.Delay.Milliseconds() - 1 - h.After.Milliseconds()
}

// Closings takes a job's closing records, which need event time, and emits the
// partition of each once the watermark has passed all that the load can cause.
// Write them to the job's output in a form that Accounting.Parse reads as a
// Closing row.
func Closings[T any](closing *pipeline.Stream[T], name string, h Horizon, partition func(T) int32) *pipeline.Stream[int32] {
	partitions := pipeline.Map(closing, name+" partitions", partition)
	return pipeline.Process(pipeline.KeyBy(partitions, func(p int32) int32 { return p }), name,
		func(s *pipeline.Setup[int32]) pipeline.Function[int32, int32, int32] {
			return pipeline.Function[int32, int32, int32]{
				Element: func(p int32, c *pipeline.KeyedCtx[int32], emit func(int32)) {
					if at := h.Shows(c.Timestamp); at > c.Watermark() {
						c.EventTimer(at)
						return
					}
					// Another partition's took the watermark here, under a policy that
					// takes the largest. It does not move again, so no timer would fire.
					emit(p)
				},
				EventTimer: func(_ int64, c *pipeline.KeyedCtx[int32], emit func(int32)) { emit(c.Key()) },
			}
		})
}
