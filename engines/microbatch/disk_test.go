package microbatch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
)

// full is a disk that has no room from the first file of a name on: so many bytes
// of it fit.
type full struct {
	name string
	room int
	only bool // no other file lacks room
	mu   sync.Mutex
	hit  bool
	free bool
}

func (d *full) write(f *os.File, b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	named := strings.HasPrefix(filepath.Base(f.Name()), "."+d.name+".tmp")
	d.hit = d.hit || named
	if !d.hit || d.free || d.only && !named {
		return f.Write(b)
	}
	n := min(d.room, len(b))
	d.room -= n
	if n, err := f.Write(b[:n]); err != nil || n == len(b) {
		return n, err
	}
	return n, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
}

func (d *full) makeRoom() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = true
}

// TestFullDisk: whichever file there is no room for, the job fails and says which,
// where and what to do; when there is room again it goes on exactly.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct{ file, says string }{
		{"offset-2", "offset log: batch 2: "},
		{"commit-2", "commit log: batch 2: "},
		{"delta-3", "count → out, partition "},
		{"full-2", "maintenance: state version 2: "},
	} {
		for _, g := range guarantees {
			for _, room := range []int{0, 20} {
				t.Run(fmt.Sprint(c.file, "/", g, "/", room), func(t *testing.T) {
					b := newBed(t, 2, g)
					b.config.Rate.MaxRecordsPerBatch = 100
					b.config.StateSnapshotEvery = 2
					disk := &full{name: c.file, room: room, only: c.file == "full-2"} // it is written beside
					b.disk = disk.write
					b.topic.fill(1000, 7)
					p := b.start()
					err := p.Wait()
					p.cancel()
					if err == nil {
						t.Fatal("the job has ended well")
					}
					for _, part := range []string{`job "job": `, c.says, b.dir, "no space left on device: make room in ", " and start the job again"} {
						if !strings.Contains(err.Error(), part) {
							t.Errorf("%q is not in: %v", part, err)
						}
					}
					if left, _ := filepath.Glob(filepath.Join(b.dir, ".*.tmp-*")); len(left) > 0 {
						t.Errorf("left behind: %v", left)
					}
					disk.makeRoom()
					p = b.start()
					p.drained()
					p.stopNow()
					copies, losses := b.verdict()
					switch {
					case g == connectors.ExactlyOnce:
						b.expect(0, 0)
						if err := b.counts(); err != nil {
							t.Error(err)
						}
					case g == connectors.AtLeastOnce && c.file == "commit-2":
						b.expect(100, 0) // as at M3
					case g == connectors.AtLeastOnce && c.file == "delta-3":
						// Each attempt of a task has written its rows before its state.
						if losses > 0 || copies == 0 || copies > 4*100 {
							t.Errorf("%d copies, %d losses", copies, losses)
						}
					case g == connectors.AtMostOnce && strings.HasPrefix(c.file, "delta"):
						if copies > 0 || losses > 100 {
							t.Errorf("%d copies, %d losses", copies, losses)
						}
					default:
						b.expect(0, 0)
					}
				})
			}
		}
	}
	t.Run("at the start", func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.disk = (&full{name: "query"}).write
		if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), "no space left on device: make room in "+b.dir) {
			t.Errorf("start: %v", err)
		}
	})
	t.Run("what a receiver stores", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := receiving(t, 2, true)
			disk := &full{name: "block-3", room: 10, only: true}
			b.disk = disk.write
			p := b.start()
			for range 5 {
				b.topic.fill(100, 7)
				<-time.After(100 * time.Millisecond)
			}
			err := p.Wait()
			p.cancel()
			if err == nil || !strings.Contains(err.Error(), "write-ahead log: ") || !strings.Contains(err.Error(), "no space left on device: make room in ") {
				t.Errorf("the job ended with %v", err)
			}
			disk.makeRoom()
			p = b.start()
			<-time.After(time.Second)
			p.stopNow()
			b.expect(0, 0)
		})
	})
}
