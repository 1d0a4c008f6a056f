package spill

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"streamduel/exchange"
	"streamduel/state"
)

func folder(t testing.TB) *state.Folder {
	f, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func buffers(whose string, n, size int) (out []*exchange.Buffer) {
	for i := range n {
		b := exchange.NewBuffer(nil)
		b.Data = append(b.Data, fmt.Sprintf("%s/%d ", whose, i)...)
		b.Data = append(b.Data, bytes.Repeat([]byte{byte(i)}, size)...)
		b.Records, b.Flags = i, exchange.Timestamps
		out = append(out, b)
	}
	return out
}

// same reads a segment and compares it.
func same(s *Segment, want []*exchange.Buffer) error {
	r := s.Read()
	defer r.Close()
	b := exchange.NewBuffer(nil)
	for i, w := range want {
		if err := r.Next(b); err != nil {
			return err
		}
		if !bytes.Equal(b.Data, w.Data) || b.Records != w.Records || b.Flags != w.Flags || b.Off != 0 {
			return fmt.Errorf("block %d: %d bytes, %d records", i, len(b.Data), b.Records)
		}
	}
	if err := r.Next(b); err != io.EOF {
		return fmt.Errorf("behind the end: %w", err)
	}
	return nil
}

// TestSegments: several that write at once, each read twice; the file's room is used
// again, and it goes when it is closed.
func TestSegments(t *testing.T) {
	f := folder(t)
	var live atomic.Int64
	x := New(f, "shuffle", "x", &live)
	path := filepath.Join(f.Path(), "shuffle", "x")
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("a folder before there is a segment")
	}
	for range 3 {
		var wg sync.WaitGroup
		for k := range 6 {
			wg.Go(func() {
				for i, size := range []int{0, 100, exchange.Size} {
					want := buffers(fmt.Sprint(k, "/", i), 12, size)
					ss, err := x.Append(want, nil, want[:1])
					if err == nil && (len(ss) != 3 || ss[1] != nil) {
						err = fmt.Errorf("segments %v", ss)
					}
					if err == nil {
						err = errors.Join(same(ss[0], want), same(ss[0], want), same(ss[2], want[:1]))
					}
					if err != nil {
						t.Error(err)
						return
					}
					defer ss[0].Release()
					defer ss[2].Release()
				}
			})
		}
		wg.Wait()
		if info, err := os.Stat(path); err != nil || info.Size() != 0 || live.Load() != 0 {
			t.Errorf("%v, %v, %d bytes are held", info, err, live.Load())
		}
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there")
	}
	if _, err := x.Append(nil); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

// TestFullDisk: what does not fit is an error with what to do, and what was there
// before and comes after can be read.
func TestFullDisk(t *testing.T) {
	room := 5000
	f := folder(t).Through(func(f *os.File, b []byte) (int, error) {
		n := min(room, len(b))
		room -= n
		if n, err := f.Write(b[:n]); err != nil || n == len(b) {
			return n, err
		}
		return n, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	})
	x := New(f, "shuffle", "x", new(atomic.Int64))
	defer x.Close()
	one := buffers("one", 3, 500)
	first, err := x.Append(one)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Append(buffers("two", 10, 500)); err == nil || !strings.Contains(err.Error(), "no space left on device: make room in "+f.Path()) {
		t.Error(err)
	}
	room = 1 << 20
	three := buffers("three", 3, 700)
	last, err := x.Append(three)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(same(first[0], one), same(last[0], three)); err != nil {
		t.Error(err)
	}
}

// TestDamage: a byte that is another, anywhere, is noticed, and so is a file cut short.
func TestDamage(t *testing.T) {
	f := folder(t)
	x := New(f, "shuffle", "x", new(atomic.Int64))
	defer x.Close()
	want := buffers("x", 3, 50)
	ss, err := x.Append(want)
	if err != nil {
		t.Fatal(err)
	}
	s := ss[0]
	path := filepath.Join(f.Path(), "shuffle", "x")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := same(s, want); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if err := os.WriteFile(path, whole[:i], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := same(s, want); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// FuzzReader: whatever a file holds, it is blocks or an error.
func FuzzReader(f *testing.F) {
	x := New(folder(f), "shuffle", "x", new(atomic.Int64))
	defer x.Close()
	ss, err := x.Append(buffers("x", 3, 50))
	if err != nil {
		f.Fatal(err)
	}
	good := make([]byte, ss[0].Len())
	if _, err := ss[0].ReadAt(good, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &Reader{in: bufio.NewReader(bytes.NewReader(data)), end: int64(len(data))}
		b, n := exchange.NewBuffer(nil), 0
		for {
			err := r.Next(b)
			if err == io.EOF {
				if n != len(data) {
					t.Errorf("ended at %d of %d", n, len(data))
				}
				return
			}
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Error(err)
				}
				return
			}
			n += header + len(b.Data)
		}
	})
}
