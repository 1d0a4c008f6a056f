package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"streamduel/engines/microbatch/spill"
	"streamduel/exchange"
	"streamduel/exchange/remote"
	"streamduel/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is an executor of the tests, as far as its outputs go.
type node struct {
	store *Store
	pool  *exchange.Pool
	l     net.Listener
	ended chan struct{}
	file  *spill.File // nil: all is in memory
	live  atomic.Int64
}

func newNode(t testing.TB) *node {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{pool: exchange.NewPool(1<<20, nil), l: l, ended: make(chan struct{})}
	n.store = NewStore((*exchange.Buffer).Release)
	go func() {
		Serve(l, remote.Greeting{Name: "node", Token: "t"}, n.store, slog.New(slog.DiscardHandler))
		close(n.ended)
	}()
	t.Cleanup(n.close)
	return n
}

func (n *node) close() {
	n.l.Close()
	<-n.ended
}

func (n *node) addr() string { return n.l.Addr().String() }

// spill puts what a part has in memory into the file.
func (n *node) spill(p *spill.Part) {
	segments, err := n.file.Append(p.Buffers)
	if err != nil {
		panic(err)
	}
	p.Segments = append(p.Segments, segments...)
	for _, b := range p.Buffers {
		b.Release()
	}
	p.Buffers = nil
}

// onDisk is a node that keeps most in a file.
func onDisk(t testing.TB) *node {
	n := newNode(t)
	folder, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	n.file = spill.New(folder, "shuffle", "x", &n.live)
	return n
}

// put stores an output of so many buffers a partition, each of which says whose
// it is.
func (n *node) put(k Key, batch int64, downs, buffers int) {
	out := make([]spill.Part, downs)
	for d := range out {
		for i := range buffers {
			b := n.pool.Overdraft()
			b.Data = append(b.Data, fmt.Sprintf("%d.%d.%d.%d", batch, k.Up, d, i)...)
			b.Records = 1
			if out[d].Buffers = append(out[d].Buffers, b); n.file != nil && i%7 < 5 && i < buffers-3 {
				n.spill(&out[d])
			}
		}
	}
	n.store.Put(k, batch, out)
}

func newTestClient(t testing.TB) *Client {
	c := NewClient(remote.Greeting{Name: "reader", Token: "t"})
	t.Cleanup(c.Close)
	return c
}

// read reads a task's output and checks that it is whole and in order.
func read(t testing.TB, s *Stream, batch int64, up, down, buffers int) error {
	i := 0
	err := s.Read(t.Context(), up, func(b *exchange.Buffer) error {
		defer b.Release()
		if want := fmt.Sprintf("%d.%d.%d.%d", batch, up, down, i); string(b.Data) != want {
			return fmt.Errorf("%q, want %q", b.Data, want)
		}
		i++
		return nil
	})
	if err == nil && i != buffers {
		err = fmt.Errorf("%d buffers, want %d", i, buffers)
	}
	return err
}

// TestFetch: many readers at once, each of its partition of all outputs, more than
// a lane's credit at a time.
func TestFetch(t *testing.T) {
	t.Run("memory", func(t *testing.T) { fetchAll(t, newNode(t)) })
	t.Run("files", func(t *testing.T) { fetchAll(t, onDisk(t)) })
}

func fetchAll(t *testing.T, n *node) {
	const ups, downs, buffers = 5, 8, 150
	c := newTestClient(t)
	for batch := int64(1); batch <= 3; batch++ {
		for up := range ups {
			n.put(Key{1, 0, 0, up}, batch, downs, buffers)
		}
		var wg sync.WaitGroup
		for down := range downs {
			wg.Go(func() {
				s, err := c.Fetch(t.Context(), n.addr(), Request{Generation: 1, Batch: batch, Down: down, Ups: []int{0, 2, 4}})
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				for _, up := range []int{0, 2, 4} {
					if err := read(t, s, batch, up, down, buffers); err != nil {
						t.Errorf("batch %d, partition %d: %v", batch, down, err)
					}
				}
			})
		}
		wg.Wait()
	}
	n.store.Drop(func(Key) bool { return true })
	n.returned(t)
}

// returned waits until every buffer is back: the last views are released when the
// kernel has them.
func (n *node) returned(t testing.TB) {
	deadline := time.Now().Add(20 * time.Second)
	for n.pool.InUse() > 0 || n.live.Load() > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d buffers and %d bytes of files are not back", n.pool.InUse(), n.live.Load())
		}
		<-time.After(time.Millisecond)
	}
}

// TestReaderGivesUp: the next request on the lane gets its own answer, and buffers
// that were dropped while they were on their way come back.
func TestReaderGivesUp(t *testing.T) {
	t.Run("memory", func(t *testing.T) { giveUp(t, newNode(t)) })
	t.Run("files", func(t *testing.T) { giveUp(t, onDisk(t)) })
}

func giveUp(t *testing.T, n *node) {
	c := newTestClient(t)
	k := Key{1, 0, 0, 0}
	n.put(k, 1, 2, 300)
	enough := errors.New("enough")
	for range 3 {
		s, err := c.Fetch(t.Context(), n.addr(), Request{Generation: 1, Batch: 1, Ups: []int{0}})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Read(t.Context(), 0, func(b *exchange.Buffer) error {
			b.Release()
			return enough
		})
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		s.Close()
	}
	n.put(k, 2, 2, 10) // drops what is still being sent
	s, err := c.Fetch(t.Context(), n.addr(), Request{Generation: 1, Batch: 2, Down: 1, Ups: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := read(t, s, 2, 0, 1, 10); err != nil {
		t.Error(err)
	}
	n.store.Drop(func(Key) bool { return true })
	n.returned(t)
}

// TestMissing: an output that is not there, of another batch, or at an executor
// that is gone, is lost and says where it was looked for.
func TestMissing(t *testing.T) {
	n, c := newNode(t), newTestClient(t)
	n.put(Key{1, 0, 0, 0}, 1, 1, 1)
	expectLost := func(what string, err error) {
		t.Helper()
		var lost *Lost
		if !errors.As(err, &lost) || lost.Addr != n.addr() {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, r := range map[string]Request{
		"another task":   {Generation: 1, Batch: 1, Ups: []int{1}},
		"an older batch": {Generation: 1, Batch: 0, Ups: []int{0}},
	} {
		s, err := c.Fetch(t.Context(), n.addr(), r)
		if err != nil {
			t.Fatal(err)
		}
		expectLost(what, read(t, s, 1, r.Ups[0], 0, 1))
		s.Close()
	}
	s, err := c.Fetch(t.Context(), n.addr(), Request{Generation: 1, Batch: 1, Ups: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	n.ended = make(chan struct{})
	close(n.ended)
	if err := read(t, s, 1, 0, 0, 1); err != nil { // it may have come before
		expectLost("an executor that is gone", err)
	}
	s.Close()
	_, err = c.Fetch(t.Context(), n.addr(), Request{Generation: 1, Batch: 1, Ups: []int{0}})
	if err == nil {
		t.Fatal("fetched from nobody")
	}
	expectLost("nobody", err)
}

// TestDamagedFile: an output of which a part was sent and the rest cannot be read is
// lost, and none of it passes for the whole.
func TestDamagedFile(t *testing.T) {
	n, c := onDisk(t), newTestClient(t)
	n.put(Key{1, 0, 0, 0}, 1, 1, 60)
	if err := n.file.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := c.Fetch(t.Context(), n.addr(), Request{Generation: 1, Batch: 1, Ups: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Read(t.Context(), 0, func(b *exchange.Buffer) error {
		b.Release()
		return nil
	})
	var lost *Lost
	if !errors.As(err, &lost) || !strings.Contains(err.Error(), "cannot be read: shuffle file x: ") {
		t.Error(err)
	}
}

// TestConnectionEnds: what had not gone out is given back.
func TestConnectionEnds(t *testing.T) {
	n, c := onDisk(t), newTestClient(t)
	n.put(Key{1, 0, 0, 0}, 1, 2, 300)
	s, err := c.Fetch(t.Context(), n.addr(), Request{Generation: 1, Batch: 1, Ups: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Read(t.Context(), 0, func(b *exchange.Buffer) error { b.Release(); return errors.New("enough") }); err == nil {
		t.Fatal("read")
	}
	c.Close()
	n.store.Drop(func(Key) bool { return true })
	n.returned(t)
}

// BenchmarkLoopback is what a shuffle between two executors costs beside one
// within an executor: full buffers, four readers at once.
func BenchmarkLoopback(b *testing.B) {
	const readers, perRead = 4, 64
	n, c := newNode(b), newTestClient(b)
	out := make([]spill.Part, readers)
	for d := range out {
		for range perRead {
			x := n.pool.Overdraft()
			x.Data = x.Data[:exchange.Size]
			out[d].Buffers = append(out[d].Buffers, x)
		}
	}
	n.store.Put(Key{1, 0, 0, 0}, 1, out)
	sum := func(bs []byte) (s uint64) { // the reader looks at what it reads
		for i := 0; i < len(bs); i += 64 {
			s += uint64(bs[i])
		}
		return s
	}
	run := func(b *testing.B, once func(ctx context.Context, down int) error) {
		b.SetBytes(perRead * exchange.Size)
		var left atomic.Int64
		left.Store(int64(b.N))
		var wg sync.WaitGroup
		for down := range readers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if err := once(b.Context(), down); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	var total atomic.Uint64
	b.Run("remote", func(b *testing.B) {
		run(b, func(ctx context.Context, down int) error {
			s, err := c.Fetch(ctx, n.addr(), Request{Generation: 1, Batch: 1, Down: down, Ups: []int{0}})
			if err != nil {
				return err
			}
			defer s.Close()
			return s.Read(ctx, 0, func(x *exchange.Buffer) error {
				total.Add(sum(x.Data))
				x.Release()
				return nil
			})
		})
	})
	b.Run("local", func(b *testing.B) {
		run(b, func(_ context.Context, down int) error {
			l, _ := n.store.Lend(Key{1, 0, 0, 0}, 1, down)
			return l.Read(nil, func(x *exchange.Buffer) error {
				total.Add(sum(x.Data))
				x.Release()
				return nil
			})
		})
	})
}
