package connectorstest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/connectors/connectorstest"
)

// The checks are checked with connectors that are broken on purpose, one for each
// property: each must be caught, and by the check that is there for it. They run
// in a process of their own, because there their tests fail.

const brokenEnv = "STREAMDUEL_CONNECTORSTEST_BROKEN"

// brokenSources maps what is broken to what the check must say.
var brokenSources = map[string]string{
	"":                           "",
	"loses a record":             "read from the beginning: 19 records",
	"repeats a record":           "positions grow along a split",
	"cannot be read again":       "says that it cannot be read again",
	"lists splits unsorted":      "splits are not sorted by id",
	"forgets a bound":            "bounds",
	"begins a record too late":   "read again",
	"ignores the end":            "a batch of",
	"answers for another split":  "a batch of",
	"goes on where it stood":     "read again",
	"uses its buffer again":      "they must never be overwritten",
	"puts records behind Next":   "in a batch of",
	"forgets what was committed": "found are map[]",
}

var brokenSinks = map[string]string{
	"":                              "",
	"flushes nothing":               `visible are [], want ["f1" "f2"]`,
	"counts what is acknowledged":   "are in flight behind Flush",
	"keeps the caller's bytes":      "visible are",
	"shows what is prepared":        `visible are ["c1" "c2" "f1" "f2"], want ["f1" "f2"]`,
	"commits twice":                 `visible are ["c1" "c1" "c2" "c2"`,
	"prepares nothing":              "an empty epoch gave a committable",
	"gives no committable":          "an epoch with records gave no committable",
	"commits what was aborted":      "a1",
	"recovers nothing":              `"p1"`,
	"recovers twice":                `"p1" "p1"`,
	"keeps what nobody lists":       `"g1"`,
	"shows a batch too early":       `"b1"`,
	"forgets a batch's positions":   "committed are map[]",
	"skips an empty batch":          "of batch 2",
	"commits an aborted batch":      `"x1"`,
	"commits what its process left": `"x2"`,
}

func TestBrokenConnectorsAreCaught(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestBroken(Source|Sink)$", "-test.v")
	cmd.Env = append(os.Environ(), brokenEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("every broken connector passed:\n%s", out)
	}
	for kind, all := range map[string]map[string]string{"Source": brokenSources, "Sink": brokenSinks} {
		for name, want := range all {
			report := section(string(out), fmt.Sprintf("TestBroken%s/%s", kind, strings.ReplaceAll(cmp(name, "sound"), " ", "_")))
			switch {
			case report == "":
				t.Errorf("%s that %s: it did not run", kind, name)
			case want == "" && strings.Contains(report, "--- FAIL"):
				t.Errorf("a sound %s is refused:\n%s", kind, report)
			case !strings.Contains(report, want):
				t.Errorf("%s that %s is not caught by its check, which says %q:\n%s", kind, name, want, report)
			case want != "" && !strings.Contains(report, "--- FAIL"):
				t.Errorf("%s that %s passes:\n%s", kind, name, report)
			}
		}
	}
}

func cmp(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// section cuts out what a test and its subtests have said.
func section(out, test string) string {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "=== RUN   "); ok {
			name = strings.TrimSpace(name)
			inside = name == test || strings.HasPrefix(name, test+"/")
		}
		own := strings.Contains(line, ": "+test+" ") || strings.Contains(line, ": "+test+"/")
		if inside && !strings.Contains(line, "--- ") || own {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestBrokenSource(t *testing.T) {
	if os.Getenv(brokenEnv) == "" {
		return // run by TestBrokenConnectorsAreCaught
	}
	for name := range brokenSources {
		t.Run(cmp(name, "sound"), func(t *testing.T) {
			src := &source{broken: name, committed: map[connectors.SplitID]connectors.Position{}}
			connectorstest.Source(t, func(*testing.T) connectors.Source { return src }, values(20)...)
		})
	}
}

func TestBrokenSink(t *testing.T) {
	if os.Getenv(brokenEnv) == "" {
		return
	}
	for name := range brokenSinks {
		t.Run(cmp(name, "sound"), func(t *testing.T) {
			s := &sink{broken: name, prepared: map[string][][]byte{}}
			connectorstest.Sink(t, func(*testing.T) connectors.Sink { return s }, func(*testing.T) (all []string) {
				for _, v := range s.visible {
					all = append(all, string(v))
				}
				return all
			})
		})
	}
}

// source has two splits of ten values each, and one flaw.
type source struct {
	broken    string
	given     [][]byte // what readers handed out
	committed map[connectors.SplitID]connectors.Position
}

func (s *source) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "test", Replayable: s.broken != "cannot be read again", Bounded: true}
}

func (s *source) Enumerator(context.Context, connectors.Env) (connectors.Enumerator, error) {
	return enumerator{s}, nil
}

func (s *source) Reader(context.Context, connectors.Env) (connectors.Reader, error) {
	if s.broken == "uses its buffer again" {
		for _, v := range s.given {
			clear(v)
		}
	}
	return &reader{source: s, stood: map[connectors.SplitID]connectors.Position{}}, nil
}

type enumerator struct{ *source }

func (e enumerator) Discover(context.Context) ([]connectors.Split, error) {
	splits := []connectors.Split{{ID: "a"}, {ID: "b", Partition: 1}}
	if e.broken == "lists splits unsorted" {
		slices.Reverse(splits)
	}
	return splits, nil
}

func (e enumerator) Bounds(_ context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	m := map[connectors.SplitID]connectors.Bounds{}
	for _, id := range ids {
		m[id] = connectors.Bounds{Latest: 10}
	}
	if e.broken == "forgets a bound" {
		delete(m, "b")
	}
	return m, nil
}

func (e enumerator) Start(context.Context, []connectors.SplitID, bool) (map[connectors.SplitID]connectors.Position, error) {
	return nil, errors.New("not asked for")
}

func (e enumerator) Commit(_ context.Context, at map[connectors.SplitID]connectors.Position) error {
	if e.broken != "forgets what was committed" {
		maps.Copy(e.committed, at)
	}
	return nil
}

func (e enumerator) Committed(context.Context, []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	return e.committed, nil
}

func (enumerator) Close() error { return nil }

// reader reads one split, in batches of four.
type reader struct {
	*source
	a     connectors.Assignment
	on    bool
	stood map[connectors.SplitID]connectors.Position
}

func (r *reader) Assign(as ...connectors.Assignment) error {
	r.a, r.on = as[0], true
	if at, ok := r.stood[r.a.Split.ID]; ok && r.broken == "goes on where it stood" {
		r.a.From = at
	}
	return nil
}

func (r *reader) Unassign(...connectors.SplitID) { r.on = false }
func (r *reader) Wake()                          {}
func (r *reader) Close() error                   { return nil }

func (r *reader) Poll(context.Context) (*connectors.Batch, error) {
	if !r.on || r.a.From >= r.a.Until {
		return nil, io.EOF
	}
	from, to := r.a.From, min(r.a.From+4, r.a.Until)
	switch {
	case r.broken == "ignores the end":
		to = r.a.From + 4
	case r.broken == "begins a record too late" && from%4 == 1:
		from++
	}
	b := &connectors.Batch{Split: r.a.Split, Next: to, Latest: 10, Done: to >= r.a.Until}
	for at := from; at < min(to, 10); at++ {
		v := fmt.Appendf(nil, "value %d", int64(at)+10*int64(r.a.Split.Partition))
		r.given = append(r.given, v)
		b.Records = append(b.Records, connectors.Record{Value: v, Offset: int64(at)})
	}
	second := r.a.Split.Partition == 1
	switch {
	case r.broken == "loses a record" && second && to == 10:
		b.Records = b.Records[:len(b.Records)-1]
	case r.broken == "repeats a record" && len(b.Records) > 1:
		b.Records[1].Offset = b.Records[0].Offset
	case r.broken == "answers for another split":
		b.Split.ID = "c"
	case r.broken == "puts records behind Next":
		b.Records[len(b.Records)-1].Offset++
	}
	r.a.From, r.stood[r.a.Split.ID] = to, to
	return b, nil
}

// sink keeps what is written in memory, and has one flaw.
type sink struct {
	broken    string
	visible   [][]byte
	prepared  map[string][][]byte // by committable; empty once committed
	epochs    int
	positions map[connectors.SplitID]connectors.Position
	metadata  string
}

func (s *sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "test", Guarantees: []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce}}
}

func (s *sink) Writer(context.Context, connectors.WriterEnv) (connectors.Writer, error) {
	return &writer{sink: s}, nil
}

func (s *sink) commit(c connectors.Committable) {
	s.visible = append(s.visible, s.prepared[string(c)]...)
	if s.broken != "commits twice" {
		delete(s.prepared, string(c))
	}
}

func (s *sink) Recover(_ context.Context, _ connectors.WriterEnv, cs []connectors.Committable) error {
	for _, c := range cs {
		rows := s.prepared[string(c)]
		if s.broken != "recovers nothing" {
			s.commit(c)
		}
		if s.broken == "recovers twice" {
			s.visible = append(s.visible, rows...)
		}
	}
	for c := range s.prepared {
		if s.broken == "keeps what nobody lists" {
			s.commit(connectors.Committable(c))
		}
		delete(s.prepared, c)
	}
	return nil
}

type writer struct {
	*sink
	rows [][]byte
}

func (w *writer) Write(_ context.Context, r *connectors.Record, _ *connectors.Origin) error {
	v := r.Value
	if w.broken != "keeps the caller's bytes" {
		v = bytes.Clone(v)
	}
	w.rows = append(w.rows, v)
	return nil
}

func (w *writer) Flush(context.Context) error {
	if w.broken != "flushes nothing" {
		w.visible = append(w.visible, w.rows...)
		w.rows = nil
	}
	return nil
}

func (w *writer) Prepare(context.Context) (connectors.Committable, error) {
	if len(w.rows) == 0 && w.broken != "prepares nothing" || w.broken == "gives no committable" {
		return nil, nil
	}
	w.epochs++
	c := connectors.Committable(fmt.Sprint(w.epochs))
	w.prepared[string(c)] = w.rows
	if w.broken == "shows what is prepared" {
		w.visible = append(w.visible, w.rows...)
	}
	w.rows = nil
	return c, nil
}

func (w *writer) Commit(_ context.Context, c connectors.Committable) error {
	w.commit(c)
	return nil
}

func (w *writer) Release(connectors.Committable) {}

func (w *writer) Abort(context.Context) error {
	if w.broken != "commits what was aborted" {
		w.rows = nil
	}
	return nil
}

func (w *writer) InFlight() (records, bytes int64) {
	if w.broken == "counts what is acknowledged" {
		return 1, 1
	}
	return int64(len(w.rows)), 0
}

func (w *writer) Close() error { return nil }

func (s *sink) Transaction(context.Context, connectors.WriterEnv) (connectors.Transaction, error) {
	return &transaction{sink: s}, nil
}

type transaction struct {
	*sink
	writers   []*writer
	positions map[connectors.SplitID]connectors.Position
	metadata  string
}

func (x *transaction) Committed(context.Context) (map[connectors.SplitID]connectors.Position, string, bool, error) {
	return x.sink.positions, x.sink.metadata, true, nil
}

func (x *transaction) Begin(context.Context) error { x.writers = nil; return nil }

func (x *transaction) Writer(int) connectors.Writer {
	w := &writer{sink: x.sink}
	x.writers = append(x.writers, w)
	return w
}

func (x *transaction) Prepare(_ context.Context, at map[connectors.SplitID]connectors.Position, metadata string) error {
	x.positions, x.metadata = at, metadata
	if x.broken == "shows a batch too early" {
		x.show()
	}
	return nil
}

func (x *transaction) show() {
	for _, w := range x.writers {
		x.visible = append(x.visible, w.rows...)
		w.rows = nil
	}
}

func (x *transaction) Commit(context.Context) error {
	if len(x.writers) == 0 && x.broken == "skips an empty batch" {
		return nil
	}
	x.show()
	if x.broken != "forgets a batch's positions" {
		x.sink.positions, x.sink.metadata = x.positions, x.metadata
	}
	x.writers = nil
	return nil
}

func (x *transaction) Abort(context.Context) error {
	if x.broken == "commits an aborted batch" {
		x.show()
	}
	x.writers = nil
	return nil
}

func (x *transaction) Close() error {
	if x.broken == "commits what its process left" {
		x.show()
	}
	return nil
}
