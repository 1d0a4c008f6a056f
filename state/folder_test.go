package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func folder(t *testing.T, d Durability) *Folder {
	t.Helper()
	f, err := OpenFolder(filepath.Join(t.TempDir(), "a", "b"), d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilesAppearWhole(t *testing.T) {
	for _, d := range []Durability{DurableProcess, DurableMachine, ""} {
		f := folder(t, d)
		for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("long"), 10000)} {
			kept := bytes.Clone(data[:len(data):len(data)])
			if err := f.Write("name", data); err != nil {
				t.Fatal(err)
			}
			got, err := f.Read("name")
			if err != nil || !bytes.Equal(got, kept) || !bytes.Equal(data, kept) {
				t.Errorf("%q came back as %q, %v", kept, got, err)
			}
		}
		if names, err := f.List(""); err != nil || !slices.Equal(names, []string{"name"}) {
			t.Errorf("the folder holds %v, %v", names, err)
		}
		entries, err := os.ReadDir(f.Path())
		if err != nil || len(entries) != 1 {
			t.Errorf("temporary files are left: %v, %v", entries, err)
		}
	}
	if _, err := OpenFolder(t.TempDir(), "forever"); err == nil || !strings.Contains(err.Error(), `"forever": allowed are process, machine`) {
		t.Errorf("%v", err)
	}
}

// A caller's slice with room behind it must not be written to.
func TestWriteLeavesTheCallersBytesAlone(t *testing.T) {
	f := folder(t, DurableProcess)
	whole := []byte("snapshot|kept by the caller")
	if err := f.Write("n", whole[:8]); err != nil {
		t.Fatal(err)
	}
	if string(whole) != "snapshot|kept by the caller" {
		t.Errorf("%q", whole)
	}
}

func TestTornFilesAreTold(t *testing.T) {
	f := folder(t, DurableProcess)
	if err := f.Write("n", []byte("some bytes")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.Path(), "n")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Read("n"); !errors.Is(err, ErrTorn) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: read %q, %v", what, got, err)
		}
	}
	for n := range whole {
		damaged(fmt.Sprintf("cut to %d", n), whole[:n])
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			damaged(fmt.Sprintf("bit %d of byte %d", bit, i), b)
		}
	}
	damaged("with a byte more", append(bytes.Clone(whole), 0))
	damaged("all zero", make([]byte, len(whole)))
	if _, err := f.Read("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestCreateIsExclusive(t *testing.T) {
	f := folder(t, DurableProcess)
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() { errs[i] = f.Create("one", fmt.Append(nil, i)) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("%d and %d both created the file", winner, i)
		case !errors.Is(err, ErrExists):
			t.Errorf("%d: %v", i, err)
		}
	}
	if b, err := f.Read("one"); err != nil || string(b) != fmt.Sprint(winner) {
		t.Errorf("the file holds %q, %v; %d won", b, err, winner)
	}
	if entries, _ := os.ReadDir(f.Path()); len(entries) != 1 {
		t.Errorf("temporary files are left: %v", entries)
	}
}

func TestNumbered(t *testing.T) {
	f := folder(t, DurableProcess)
	for _, n := range []string{"batch-10", "batch-9", "batch-0", "batch-x", "other-1", "batch-"} {
		if err := f.Write(n, nil); err != nil {
			t.Fatal(err)
		}
	}
	if ns, err := f.Numbered("batch-"); err != nil || !slices.Equal(ns, []int64{0, 9, 10}) {
		t.Errorf("%v, %v", ns, err)
	}
	if err := f.Remove("batch-9"); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("batch-9"); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	sub, err := f.Sub("inner")
	if err != nil || sub.Durability() != DurableProcess || filepath.Dir(sub.Path()) != f.Path() {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestTheNewestAttemptOwnsTheJob(t *testing.T) {
	f := folder(t, DurableProcess)
	first, err := NextAttempt(f, "one")
	if err != nil || first.Number != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := first.Check(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	numbers := make([]int, 8)
	for i := range numbers {
		wg.Go(func() {
			a, err := NextAttempt(f, "more")
			if err != nil {
				t.Error(err)
				return
			}
			numbers[i] = a.Number
		})
	}
	wg.Wait()
	slices.Sort(numbers)
	if !slices.Equal(numbers, []int{2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("attempts %v", numbers)
	}
	if err := first.Check(); err == nil || !strings.Contains(err.Error(), "attempt 1 of this job was superseded by attempt 9") {
		t.Errorf("%v", err)
	}
	last := &Attempt{folder: f, Number: 9}
	if err := last.Check(); err != nil {
		t.Errorf("the newest attempt: %v", err)
	}
}

// What a killed attempt has left half written is deleted by the next one.
func TestAnAttemptCleansUpBehindOthers(t *testing.T) {
	f := folder(t, DurableProcess)
	sub, err := f.Sub("states")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Write("delta-1", nil); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(sub.Path(), ".delta-2.tmp-1"), filepath.Join(f.Path(), ".log.tmp-2")
	for path, age := range map[string]time.Duration{old: time.Hour, young: -time.Hour} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NextAttempt(f, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old attempt's file is there: %v", err)
	}
	if _, err := os.Lstat(young); err != nil {
		t.Errorf("a newer attempt's file: %v", err)
	}
	if names, err := sub.List(""); err != nil || !slices.Equal(names, []string{"delta-1"}) {
		t.Errorf("%v, %v", names, err)
	}
}

// A write that fails says so, leaves nothing half written and what was there
// before as it was.
func TestAFailedWriteLeavesNothing(t *testing.T) {
	f := folder(t, DurableMachine)
	sub, err := f.Sub("taken")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Write("inside", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := f.Write("taken", []byte("y")); err == nil {
		t.Error("a file replaced a folder")
	}
	if err := f.Create("taken", []byte("y")); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if names, err := os.ReadDir(f.Path()); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := OpenFolder(filepath.Join(sub.Path(), "inside"), DurableProcess); err == nil {
		t.Error("a file was opened as a folder")
	}
	if err := os.RemoveAll(sub.Path()); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{sub.Write("n", nil), sub.Create("n", nil)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder is gone: %v", err)
		}
	}
}

func TestLinkedFilesOutliveTheirFirstName(t *testing.T) {
	f, other := folder(t, DurableMachine), t.TempDir()
	path := filepath.Join(other, "1.sst")
	if err := os.WriteFile(path, []byte("entries"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there
		if err := f.Link(map[string]string{"a-1.sst": path}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.copy("b-1.sst", path); err != nil { // another file system
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a-1.sst", "b-1.sst"} {
		if b, err := os.ReadFile(filepath.Join(f.Path(), n)); err != nil || string(b) != "entries" {
			t.Errorf("%q, %v", b, err)
		}
	}
	if err := f.Link(map[string]string{"c": path}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
