package pipeline

// Partitionings are said of the stream in front of an operator, as in
// s.Rebalance(), and hold for the edge to whatever comes next. KeyBy replaces
// them. Set an operator's own parallelism before its output is repartitioned:
// what comes after belongs to the next operator.

// Rebalance spreads records round robin over all subtasks of the next operator.
func (s *Stream[T]) Rebalance() *Stream[T] { return s.spread(Rebalance, nil) }

// Rescale spreads records round robin over a few of the next operator's
// subtasks: each subtask has its own share of them, or shares one with others.
func (s *Stream[T]) Rescale() *Stream[T] { return s.spread(Rescale, nil) }

// Shuffle sends each record to a subtask of the next operator chosen at random.
func (s *Stream[T]) Shuffle() *Stream[T] { return s.spread(Shuffle, nil) }

// Broadcast sends every record to all subtasks of the next operator.
func (s *Stream[T]) Broadcast() *Stream[T] { return s.spread(Broadcast, nil) }

// Global sends every record to subtask 0 of the next operator.
func (s *Stream[T]) Global() *Stream[T] { return s.spread(Global, nil) }

// PartitionCustom sends each record to the subtask of the next operator that
// partition returns, of 0 to n−1; another number fails the job.
func (s *Stream[T]) PartitionCustom(partition func(v T, n int) int) *Stream[T] {
	if partition == nil {
		s.g.fail("operator %q: PartitionCustom has no function", s.name())
	}
	return s.spread(Custom, keyer[T](func(_, channels int) (func(T) int, error) {
		return func(v T) int { return partition(v, channels) }, nil
	}))
}

func (s *Stream[T]) spread(p Partitioning, pick any) *Stream[T] {
	t := *s
	t.from = make([]output, len(s.from))
	for i, o := range s.from {
		o.spread, o.pick = p, pick
		t.from[i] = o
	}
	return &t
}
