package exchange

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestPoolIsBounded(t *testing.T) {
	told := 0
	p := NewPool(2, func() { told++ })
	a, b := p.TryGet(), p.TryGet()
	if a == nil || b == nil || p.InUse() != 2 || p.Bound() != 2 {
		t.Fatalf("%v %v, %d in use of %d", a, b, p.InUse(), p.Bound())
	}
	b.Release()
	if told != 0 {
		t.Error("told of a free buffer that nobody had missed")
	}
	b = p.TryGet()
	for range 2 {
		if p.TryGet() != nil {
			t.Error("a third buffer of two")
		}
	}
	c := p.Overdraft()
	if c == nil || p.InUse() != 3 {
		t.Fatalf("overdraft gave %v, %d in use", c, p.InUse())
	}
	c.Release()
	if told != 0 || p.TryGet() != nil {
		t.Error("a buffer beyond the bound came back: none is free yet")
	}
	a.Data, a.Off, a.Records, a.Flags = append(a.Data, "frames"...), 3, 2, Origins
	a.Release()
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
	if a = p.TryGet(); len(a.Data) != 0 || a.Off != 0 || a.Records != 0 || a.Flags != 0 || cap(a.Data) < Size {
		t.Errorf("a used buffer came back as %d bytes, off %d, %d records, flags %d", len(a.Data), a.Off, a.Records, a.Flags)
	}
	a.Release()
	b.Release()
	if p.InUse() != 0 || told != 1 {
		t.Errorf("%d in use, told %d times", p.InUse(), told)
	}
	(&Buffer{}).Release() // one of no pool
}

// A pool that was overdrawn shrinks back to its bound.
func TestPoolLetsOverdrawnBuffersGo(t *testing.T) {
	p := NewPool(2, nil)
	var bs []*Buffer
	for range 10 {
		bs = append(bs, p.Overdraft())
	}
	for _, b := range bs {
		b.Release()
	}
	if p.made != 2 || len(p.free) != 2 || p.InUse() != 0 {
		t.Errorf("%d made, %d free, %d in use", p.made, len(p.free), p.InUse())
	}
}

// Two goroutines on one pool: the bound holds at every moment, and whoever
// waits for a buffer is woken.
func TestPoolBetweenTwoGoroutines(t *testing.T) {
	const buffers, rounds = 3, 20_000
	free := make(chan struct{}, 1)
	p := NewPool(buffers, func() {
		select {
		case free <- struct{}{}:
		default:
		}
	})
	used := make(chan *Buffer, buffers+1)
	go func() {
		for range rounds {
			b := p.TryGet()
			for b == nil {
				<-free
				b = p.TryGet()
			}
			used <- b
		}
		close(used)
	}()
	n := 0
	for b := range used {
		if in := p.InUse(); in > buffers {
			t.Fatalf("%d buffers in use of %d", in, buffers)
		}
		b.Release()
		n++
	}
	if n != rounds {
		t.Errorf("%d buffers came, want %d", n, rounds)
	}
}

// A ring gives back what was pushed, in order, priority events first, and
// counts what waits, whatever the order of calls.
func TestRingAgainstAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		told := 0
		r := NewRing(func() { told++ })
		var normal, urgent []Element
		records, size := 0, 0
		next := 0
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			before := told
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0, 1:
				n := rapid.IntRange(1, 5).Draw(t, "records")
				e := Element{Buffer: &Buffer{Data: make([]byte, 10*n), Records: n}}
				wake := len(normal)+len(urgent) == 0
				r.Push(e)
				normal = append(normal, e)
				records, size = records+n, size+10*n
				if told-before != btoi(wake) {
					t.Fatalf("told %d times of a push, was empty: %v", told-before, wake)
				}
			case 2:
				next++
				r.Push(Element{Event: next})
				normal = append(normal, Element{Event: next})
			case 3:
				next++
				r.PushPriority(next)
				urgent = append(urgent, Element{Event: next, Priority: true})
				if told-before != 1 {
					t.Fatal("not told of a priority event")
				}
			default:
				e, ok := r.Pop()
				var want Element
				switch {
				case len(urgent) > 0:
					want, urgent = urgent[0], urgent[1:]
				case len(normal) > 0:
					want, normal = normal[0], normal[1:]
				}
				if e != want || ok != (want != Element{}) {
					t.Fatalf("popped %v, %v; want %v", e, ok, want)
				}
				if b := want.Buffer; b != nil {
					records, size = records-b.Records, size-len(b.Data)
				}
			}
			if gr, gb := r.Queued(); gr != records || gb != size || r.Len() != len(normal)+len(urgent) {
				t.Fatalf("%d records, %d bytes, %d elements; want %d, %d, %d", gr, gb, r.Len(), records, size, len(normal)+len(urgent))
			}
			listed := r.waiting(r.n)
			if len(listed) != len(normal) {
				t.Fatalf("%d listed, want %d", len(listed), len(normal))
			}
			for i := range listed {
				if listed[i] != normal[i] {
					t.Fatalf("listed %v at %d, want %v", listed[i], i, normal[i])
				}
			}
		}
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestRingBetweenTwoGoroutines(t *testing.T) {
	const n = 50_000
	wake := make(chan struct{}, 1)
	r := NewRing(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			r.Push(Element{Event: i})
		}
	})
	for i := range n {
		e, ok := r.Pop()
		for !ok {
			<-wake
			e, ok = r.Pop()
		}
		if e.Event != i {
			t.Fatalf("%v came in place of %d", e.Event, i)
		}
	}
	wg.Wait()
}

// outlets keeps what a writer emits; gets says how many buffers a channel may
// still acquire.
type outlets struct {
	pools     []*Pool
	gets      []int
	emitted   [][]*Buffer
	overdrawn int
}

func newOutlets(channels, gets int) *outlets {
	o := &outlets{emitted: make([][]*Buffer, channels)}
	for range channels {
		o.pools = append(o.pools, NewPool(1<<20, nil))
		o.gets = append(o.gets, gets)
	}
	return o
}

func (o *outlets) Acquire(ch int) *Buffer {
	if o.gets[ch] == 0 {
		return nil
	}
	o.gets[ch]--
	return o.pools[ch].TryGet()
}
func (o *outlets) Overdraft(ch int) *Buffer { o.overdrawn++; return o.pools[ch].Overdraft() }
func (o *outlets) Emit(ch int, b *Buffer)   { o.emitted[ch] = append(o.emitted[ch], b) }
func write(w *Writer, ch int, record []byte) {
	b := w.Begin(ch)
	w.End(ch, b, append(b.Data, record...))
}

// frame makes a record that says its own length.
func frame(rng *rand.Rand, body int) []byte {
	b := binary.AppendUvarint(nil, uint64(body))
	for range body {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

// read takes the records out of a channel's buffers as a reader does: whole
// frames from plain buffers, one frame from a run of parts.
func read(t interface{ Fatalf(string, ...any) }, bs []*Buffer, flags Flags) (records [][]byte) {
	var parts []byte
	inParts := false
	for i, b := range bs {
		if b.Flags&^(Part|PartEnd) != flags {
			t.Fatalf("buffer %d has flags %b, want %b", i, b.Flags, flags)
		}
		if b.Flags&Part != 0 {
			parts, inParts = append(parts, b.Data...), true
			if b.Records != btoi(b.Flags&PartEnd != 0) {
				t.Fatalf("part %d counts %d records", i, b.Records)
			}
			if b.Flags&PartEnd == 0 {
				continue
			}
			l, n := binary.Uvarint(parts)
			if n+int(l) != len(parts) {
				t.Fatalf("parts of %d bytes hold a record of %d", len(parts), n+int(l))
			}
			records, parts, inParts = append(records, parts), nil, false
			continue
		}
		if inParts {
			t.Fatalf("buffer %d stands between the parts of a record", i)
		}
		if len(b.Data) > Size+slack {
			t.Fatalf("buffer %d has %d bytes", i, len(b.Data))
		}
		n := 0
		for d := b.Data; len(d) > 0; n++ {
			l, k := binary.Uvarint(d)
			records = append(records, d[:k+int(l)])
			d = d[k+int(l):]
		}
		if n != b.Records {
			t.Fatalf("buffer %d holds %d records and says %d", i, n, b.Records)
		}
	}
	return records
}

// Whatever is written comes out whole and in order on its channel, however
// long records are, however full buffers may get, and however few there are;
// and the pressure is the number of channels without a buffer.
func TestWriterLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		channels := rapid.IntRange(1, 3).Draw(t, "channels")
		flags := rapid.SampledFrom([]Flags{0, Timestamps, Timestamps | Origins}).Draw(t, "flags")
		var pressure Pressure
		o := newOutlets(channels, rapid.IntRange(0, 2).Draw(t, "gets"))
		w := NewWriter(channels, flags, o, &pressure)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		sent := make([][][]byte, channels)
		var records, size int64
		check := func() {
			starved := 0
			for _, b := range w.current {
				starved += btoi(b == nil)
			}
			if pressure.Starved != starved {
				t.Fatalf("pressure %d with %d channels starved", pressure.Starved, starved)
			}
		}
		check()
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			ch := rapid.IntRange(0, channels-1).Draw(t, "channel")
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				w.Flush()
				if w.Pending() {
					t.Fatal("something is pending after a flush")
				}
			case 1:
				o.gets[ch]++
				w.Refill()
			case 2:
				w.SetLimit(rapid.SampledFrom([]int{-1, 256, 1000, Size, 10 * Size}).Draw(t, "limit"))
			default:
				body := rapid.SampledFrom([]int{0, 1, 100, 5000, Size - 3, Size, Size + slack - 3, Size + slack, 2*Size + 7, 5 * Size}).Draw(t, "body")
				r := frame(rng, body)
				write(w, ch, r)
				sent[ch] = append(sent[ch], r)
				records, size = records+1, size+int64(len(r))
			}
			check()
		}
		w.Flush()
		if gr, gb := w.Counts(); gr != records || gb != size {
			t.Fatalf("counts are %d records, %d bytes; want %d, %d", gr, gb, records, size)
		}
		for ch := range channels {
			got := read(t, o.emitted[ch], flags)
			if len(got) != len(sent[ch]) {
				t.Fatalf("channel %d: %d records, want %d", ch, len(got), len(sent[ch]))
			}
			for i := range got {
				if !bytes.Equal(got[i], sent[ch][i]) {
					t.Fatalf("channel %d: record %d differs", ch, i)
				}
			}
			for _, b := range o.emitted[ch] {
				b.Release()
			}
		}
		w.Close()
		if pressure.Starved != 0 {
			t.Fatalf("a closed writer leaves a pressure of %d", pressure.Starved)
		}
		for ch, p := range o.pools {
			if p.InUse() != 0 {
				t.Fatalf("channel %d: %d buffers were not given back", ch, p.InUse())
			}
		}
	})
}

// As long as a task looks at the pressure before each record, and records fit,
// it never overdraws.
func TestNotStarvedMeansRoom(t *testing.T) {
	var pressure Pressure
	o := newOutlets(3, 2)
	w := NewWriter(3, 0, o, &pressure)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		for pressure.Starved > 0 {
			for ch := range o.gets {
				o.gets[ch]++
			}
			w.Refill()
		}
		write(w, rng.IntN(3), frame(rng, rng.IntN(3000)))
	}
	if o.overdrawn != 0 {
		t.Errorf("%d overdrafts", o.overdrawn)
	}
}

func TestWritingDoesNotAllocate(t *testing.T) {
	var pressure Pressure
	o := newOutlets(1, 1<<30)
	w := NewWriter(1, 0, o, &pressure)
	record := make([]byte, 100)
	// Over many buffers, so that emitting is part of it.
	if n := testing.AllocsPerRun(10, func() {
		for range 2000 {
			write(w, 0, record)
		}
		for _, b := range o.emitted[0] {
			b.Release()
		}
		o.emitted[0] = o.emitted[0][:0]
	}); n != 0 {
		t.Errorf("%v allocations per 2,000 records", n)
	}
}

// wishful is an outlet that wants small buffers.
type wishful struct {
	*outlets
	size int
}

func (o *wishful) BufferSize(int) int { return o.size }

// TestTheNextBufferObeys: a buffer that is begun keeps its size, and no wish makes one
// larger than the writer's limit or smaller than the least.
func TestTheNextBufferObeys(t *testing.T) {
	o := &wishful{outlets: newOutlets(1, 100)}
	var p Pressure
	w := NewWriter(1, 0, o, &p)
	w.SetLimit(10_000)
	record := make([]byte, 100)
	for _, c := range []struct{ wish, want int }{{5000, 10_000}, {5000, 5000}, {20_000, 5000}, {1, 10_000}, {0, MinSize}, {0, 10_000}} {
		o.size = c.wish
		n := len(o.emitted[0])
		for len(o.emitted[0]) == n {
			write(w, 0, record)
		}
		if got := len(o.emitted[0][n].Data); got < c.want || got >= c.want+len(record)+10 {
			t.Errorf("a buffer of %d bytes, %d make it full", got, c.want)
		}
	}
}
