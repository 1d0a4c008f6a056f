package pipeline

// Connected are two streams that one operator reads, each through a port of its
// own. Both are partitioned by keys of one type, so that records of a key meet
// in one subtask and share its state.
type Connected[K comparable, A, B any] struct {
	first  *Keyed[K, A]
	second *Keyed[K, B]
}

// Connect joins two keyed streams. Where the key's type needs a codec, setting
// it on one of them is enough.
func Connect[K comparable, A, B any](first *Keyed[K, A], second *Keyed[K, B]) *Connected[K, A, B] {
	a, b := *first, *second
	if a.codec == nil {
		a.codec = b.codec
	}
	if b.codec == nil {
		b.codec = a.codec
	}
	if a.codec != nil && a.codec.ID() != b.codec.ID() {
		a.s.g.fail("operators %q and %q: their streams are connected by keys of different encodings, %s and %s", a.s.name(), b.s.name(), a.codec.ID(), b.codec.ID())
	}
	return &Connected[K, A, B]{&a, &b}
}

// Stream returns the stream that was keyed.
func (k *Keyed[K, T]) Stream() *Stream[T] { return k.s }

// CoFunction is a process function over two connected streams. It is made once
// per subtask; what its closures hold is shared by both sides.
type CoFunction[K comparable, A, B, R any] struct {
	First  func(v A, c *KeyedCtx[K], emit func(R))
	Second func(v B, c *KeyedCtx[K], emit func(R))
	// EventTimer and ProcessingTimer are as in Function.
	EventTimer      func(ts int64, c *KeyedCtx[K], emit func(R))
	ProcessingTimer func(ts int64, c *KeyedCtx[K], emit func(R))
}

// CoProcess runs a function over two keyed streams with shared keyed state.
// There is no order between the two inputs. make is called once per subtask.
func CoProcess[K comparable, A, B, R any](c *Connected[K, A, B], name string, make func(*Setup[K]) CoFunction[K, A, B, R]) *Stream[R] {
	n := c.first.s.g.add(&Node{Name: name, Kind: KindKeyed, Role: Role{Does: Joins}})
	join(c.first.s, n, 0, Hash, hashKey(c.first))
	join(c.second.s, n, 1, Hash, hashKey(c.second))
	n.build = func(b *builder, n *Node) any {
		next := outputOf[R](b, n, "")
		s := &Setup[K]{b: b, node: n, keys: c.first.codec}
		f := make(s)
		x, emit := keyed(s, next, f.EventTimer, f.ProcessingTimer)
		return ports{
			Receiver[A](func(v A, _ *Ctx) {
				x.key = c.first.key(v)
				f.First(v, x, emit)
			}),
			Receiver[B](func(v B, _ *Ctx) {
				x.key = c.second.key(v)
				f.Second(v, x, emit)
			}),
		}
	}
	return streamOf[R](n)
}

// CoFlatMap turns the values of two streams that need not be keyed into values
// of one type. It keeps no state.
func CoFlatMap[A, B, R any](first *Stream[A], second *Stream[B], name string, ofFirst func(v A, emit func(R)), ofSecond func(v B, emit func(R))) *Stream[R] {
	n := first.g.add(&Node{Name: name, Kind: KindTransform})
	join(first, n, 0, Forward, nil)
	join(second, n, 1, Forward, nil)
	n.build = func(b *builder, n *Node) any {
		next, c := outputOf[R](b, n, ""), &b.task.ctx
		emit := func(v R) { next(v, c) }
		return ports{
			Receiver[A](func(v A, _ *Ctx) { ofFirst(v, emit) }),
			Receiver[B](func(v B, _ *Ctx) { ofSecond(v, emit) }),
		}
	}
	return streamOf[R](n)
}

// CoMap turns each value of two streams into one of one type.
func CoMap[A, B, R any](first *Stream[A], second *Stream[B], name string, ofFirst func(A) R, ofSecond func(B) R) *Stream[R] {
	return CoFlatMap(first, second, name,
		func(v A, emit func(R)) { emit(ofFirst(v)) },
		func(v B, emit func(R)) { emit(ofSecond(v)) })
}
