package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"streamduel/connectors"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o777))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

func open(t *testing.T, cfg SourceConfig) (*Source, connectors.Enumerator, connectors.Reader) {
	t.Helper()
	s, err := NewSource(cfg)
	must(t, err)
	e, err := s.Enumerator(t.Context(), connectors.Env{})
	must(t, err)
	r, err := s.Reader(t.Context(), connectors.Env{})
	must(t, err)
	return s, e, r
}

func drain(t *testing.T, r connectors.Reader) (lines []string, next connectors.Position) {
	t.Helper()
	for {
		b, err := r.Poll(t.Context())
		if err == io.EOF {
			return lines, next
		}
		must(t, err)
		for i, rec := range b.Records {
			if want := int64(b.Next) - int64(len(b.Records)) + int64(i); rec.Offset != want {
				t.Fatalf("offset %d, want %d", rec.Offset, want)
			}
			lines = append(lines, string(rec.Value))
		}
		next = b.Next
	}
}

func TestAllLinesFromAnyPosition(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.txt")
	var want []string
	for i := range 5000 {
		want = append(want, fmt.Sprint("line ", i, strings.Repeat("x", i%300)))
	}
	want[7], want[8] = "", strings.Repeat("long", 100_000)
	put(t, path, strings.Join(want[:2500], "\r\n")+"\r\n"+strings.Join(want[2500:], "\n")) // no line end at the end
	s, e, r := open(t, SourceConfig{Paths: []string{path}})
	id := connectors.SplitID(path)
	b, err := e.Bounds(t.Context(), []connectors.SplitID{id})
	must(t, err)
	if b[id].Latest != 5000 {
		t.Fatal(b)
	}
	for _, from := range []int{0, 1, 8, 9, 1023, 1024, 1025, 4999, 5000} {
		must(t, r.Assign(connectors.Assignment{Split: Split(path), From: connectors.Position(from), Until: connectors.NoEnd}))
		if got, next := drain(t, r); !slices.Equal(got, want[from:]) || next != 5000 {
			t.Fatalf("from %d: %d lines, next %d", from, len(got), next)
		}
	}
	for from := 0; from < 5000; from += 499 { // ranges, in a fresh reader
		r, err := s.Reader(t.Context(), connectors.Env{})
		must(t, err)
		until := min(from+499, 5000)
		must(t, r.Assign(connectors.Assignment{Split: Split(path), From: connectors.Position(from), Until: connectors.Position(until)}))
		if got, next := drain(t, r); !slices.Equal(got, want[from:until]) || int(next) != until {
			t.Fatal(from, len(got), next)
		}
	}
	must(t, r.Assign(connectors.Assignment{Split: Split(path), From: 5001, Until: connectors.NoEnd}))
	if _, err := r.Poll(t.Context()); err == nil {
		t.Fatal("position behind the end")
	}
}

func TestDiscoveryFindsNewFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "d", "a.txt"), "1\n")
	put(t, filepath.Join(dir, "d", ".hidden"), "1\n")
	put(t, filepath.Join(dir, "d", "sub", "b.txt"), "1\n")
	put(t, filepath.Join(dir, "g1.log"), "1\n")
	_, e, _ := open(t, SourceConfig{Paths: []string{filepath.Join(dir, "d"), filepath.Join(dir, "*.log"), filepath.Join(dir, "g1.log")}})
	splits, err := e.Discover(t.Context())
	must(t, err)
	if len(splits) != 3 {
		t.Fatal(splits)
	}
	put(t, filepath.Join(dir, "g2.log"), "1\n")
	if splits, err = e.Discover(t.Context()); err != nil || len(splits) != 4 {
		t.Fatal(splits, err)
	}
	_, e, _ = open(t, SourceConfig{Paths: []string{filepath.Join(dir, "none.txt")}})
	if _, err := e.Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "none.txt") {
		t.Fatal(err)
	}
}

// TestAFolderMayBeALink: a path that is a link to a folder names its files, too.
func TestAFolderMayBeALink(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "real", "a.txt"), "1\n")
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(filepath.Join(dir, "real"), link))
	_, e, _ := open(t, SourceConfig{Paths: []string{link}})
	splits, err := e.Discover(t.Context())
	must(t, err)
	if want := filepath.Join(link, "a.txt"); len(splits) != 1 || string(splits[0].ID) != want {
		t.Fatalf("found %v, want %s", splits, want)
	}
}

func TestFollowReadsCompleteLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.txt")
	put(t, path, "one\ntw")
	_, e, r := open(t, SourceConfig{Paths: []string{path}, Follow: true, PollMillis: 1})
	must(t, r.Assign(connectors.Assignment{Split: Split(path), Until: connectors.NoEnd}))
	poll := func(want string) {
		t.Helper()
		b, err := r.Poll(t.Context())
		must(t, err)
		if len(b.Records) != 1 || string(b.Records[0].Value) != want {
			t.Fatalf("%v, want %q", b.Records, want)
		}
	}
	poll("one")
	r.Wake()
	if b, err := r.Poll(t.Context()); err != nil || b.Split.ID != "" {
		t.Fatal(b, err)
	}
	put(t, path, "o\n")
	poll("two")
	must(t, os.Truncate(path, 3))
	if _, err := e.Bounds(t.Context(), []connectors.SplitID{connectors.SplitID(path)}); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatal(err)
	}
}

// lines returns what a reader of a sink's folder sees, sorted.
func lines(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	must(t, err)
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			continue
		}
		b, err := os.ReadFile(f)
		must(t, err)
		out = append(out, strings.Fields(string(b))...)
	}
	slices.Sort(out)
	return out
}

func expect(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := lines(t, dir); !slices.Equal(got, want) {
		t.Fatalf("visible %v, want %v", got, want)
	}
}

func env(g connectors.Guarantee, attempt int) connectors.WriterEnv {
	return connectors.WriterEnv{Env: connectors.Env{Job: "j", Node: "out", Attempt: attempt}, Guarantee: g, Pool: 3}
}

func write(t *testing.T, w connectors.Writer, vs ...string) {
	t.Helper()
	for _, v := range vs {
		must(t, w.Write(t.Context(), &connectors.Record{Value: []byte(v)}, nil))
	}
}

func sink(t *testing.T) (*Sink, string) {
	dir := filepath.Join(t.TempDir(), "out")
	s, err := NewSink(SinkConfig{Dir: dir})
	must(t, err)
	return s, dir
}

func TestAtLeastOnceSettlesByItself(t *testing.T) {
	s, dir := sink(t)
	e := env(connectors.AtLeastOnce, 1)
	e.Gate = connectors.NewGate()
	w, err := s.Writer(t.Context(), e)
	must(t, err)
	write(t, w, "a", "b")
	e.Gate.Close()
	must(t, e.Gate.Drain(t.Context())) // no Write and no Flush comes any more
	expect(t, dir, "a", "b")
	if wr, ac, in := e.Gate.Counts(); wr != 2 || ac != 2 || in != 0 {
		t.Fatal(wr, ac, in)
	}
	must(t, w.Close())
	if err := w.Write(t.Context(), &connectors.Record{Value: []byte("a\nb")}, nil); err == nil {
		t.Fatal("two lines in one record")
	}
}

func TestExactlyOnceByRename(t *testing.T) {
	s, dir := sink(t)
	w, err := s.Writer(t.Context(), env(connectors.ExactlyOnce, 1))
	must(t, err)
	if c, err := w.Prepare(t.Context()); c != nil || err != nil {
		t.Fatal(c, err)
	}
	prepare := func(vs ...string) connectors.Committable {
		write(t, w, vs...)
		c, err := w.Prepare(t.Context())
		must(t, err)
		return c
	}
	c1, c2, c3 := prepare("a", "b"), prepare("c"), prepare("d")
	expect(t, dir)
	must(t, w.Commit(t.Context(), c1))
	must(t, w.Commit(t.Context(), c1))
	expect(t, dir, "a", "b")
	write(t, w, "open")
	must(t, w.Flush(t.Context()))
	// The process dies here; its checkpoint lists the first two.
	for range 2 {
		must(t, s.Recover(t.Context(), env(connectors.ExactlyOnce, 2), []connectors.Committable{c1, c2}))
	}
	expect(t, dir, "a", "b", "c")
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Fatal(left)
	}
	if err := s.Recover(t.Context(), env(connectors.ExactlyOnce, 3), []connectors.Committable{c2, c3}); err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Fatal(err)
	}
}

// TestAWriterOpenedAgainOverwritesNothing: tasks are restarted within one attempt,
// too, and count their epochs from the beginning; so does a transaction that is
// opened anew.
func TestAWriterOpenedAgainOverwritesNothing(t *testing.T) {
	s, dir := sink(t)
	e := env(connectors.ExactlyOnce, 1)
	for _, v := range []string{"a", "b", "c"} {
		w, err := s.Writer(t.Context(), e)
		must(t, err)
		write(t, w, v)
		c, err := w.Prepare(t.Context())
		must(t, err)
		write(t, w, "gone")
		must(t, w.Close())
		must(t, s.Recover(t.Context(), e, []connectors.Committable{c}))
	}
	expect(t, dir, "a", "b", "c")
	e.Node = "batch"
	for _, v := range []string{"d", "e", "f"} {
		tx, err := s.Transaction(t.Context(), e)
		must(t, err)
		must(t, tx.Begin(t.Context()))
		write(t, tx.Writer(0), v)
		must(t, tx.Prepare(t.Context(), nil, v))
		must(t, tx.Commit(t.Context()))
		must(t, tx.Close())
	}
	expect(t, dir, "a", "b", "c", "d", "e", "f")
}

// TestRecoveryLeavesOtherSinksAlone: what a sink named "out" takes for its own
// are not the files of one named "out-2" in the same folder.
func TestRecoveryLeavesOtherSinksAlone(t *testing.T) {
	s, dir := sink(t)
	other := env(connectors.ExactlyOnce, 1)
	other.Node = "out-2"
	w, err := s.Writer(t.Context(), other)
	must(t, err)
	write(t, w, "a")
	c, err := w.Prepare(t.Context())
	must(t, err)
	must(t, w.Close())
	must(t, s.Recover(t.Context(), env(connectors.ExactlyOnce, 2), nil))
	must(t, s.Recover(t.Context(), other, []connectors.Committable{c}))
	expect(t, dir, "a")
}

func TestTransactionCommitsFilesAndPositions(t *testing.T) {
	s, dir := sink(t)
	begin := func(attempt int) connectors.Transaction {
		tx, err := s.Transaction(t.Context(), env(connectors.ExactlyOnce, attempt))
		must(t, err)
		must(t, tx.Begin(t.Context()))
		return tx
	}
	at := func(p connectors.Position) map[connectors.SplitID]connectors.Position {
		return map[connectors.SplitID]connectors.Position{"x": p}
	}
	tx := begin(1)
	if _, _, ok, err := tx.Committed(t.Context()); ok || err != nil {
		t.Fatal(ok, err)
	}
	write(t, tx.Writer(0), "a")
	write(t, tx.Writer(1), "b")
	must(t, tx.Prepare(t.Context(), at(1), "0"))
	expect(t, dir)
	must(t, tx.Commit(t.Context()))
	expect(t, dir, "a", "b")
	must(t, tx.Begin(t.Context()))
	must(t, tx.Prepare(t.Context(), at(2), "1")) // no output
	must(t, tx.Commit(t.Context()))
	must(t, tx.Begin(t.Context()))
	write(t, tx.Writer(0), "gone")
	must(t, tx.Prepare(t.Context(), at(3), "2"))
	must(t, tx.Abort(t.Context()))
	write(t, tx.Writer(0), "c")
	must(t, tx.Prepare(t.Context(), at(3), "2"))
	// The process dies after the manifest's rename, before the files'.
	m := tx.(*transaction).next
	b, err := m.encode()
	must(t, err)
	must(t, writeSynced(s.manifestPath(connectors.Env{Node: "out"}), b))
	expect(t, dir, "a", "b")
	next := begin(2)
	expect(t, dir, "a", "b", "c")
	if p, meta, ok, err := next.Committed(t.Context()); !ok || err != nil || meta != "2" || p["x"] != 3 {
		t.Fatal(p, meta, ok, err)
	}
	must(t, next.Close())
}

func FuzzCommittable(f *testing.F) {
	f.Add([]byte(staged{Temp: "a", Final: "b", Lines: 1, Bytes: 2}.encode()))
	f.Add([]byte(staged{Temp: "../a", Final: "b"}.encode()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodeStaged(b); err == nil && (strings.Contains(p.Temp, "/") || strings.Contains(p.Final, "/")) {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzManifest(f *testing.F) {
	b, err := (&Manifest{Serial: 1, Metadata: "m", Files: []staged{{Temp: "a", Final: "b"}}}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeManifest(b); err == nil && m == nil {
			t.Fatal("nothing decoded")
		}
	})
}
