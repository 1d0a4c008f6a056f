package builtin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/workloads"
	"streamduel/workloads/internal/trial"
	"streamduel/workloads/replay"
)

// What every workload promises to the scenario loader, `bench list` and the
// worker, which gets the parameters as JSON.
func TestWorkloadsKeepTheContract(t *testing.T) {
	var names []string
	for w := range workloads.All() {
		names = append(names, w.Name)
		if !strings.HasSuffix(w.Doc, ".") || strings.Contains(w.Doc, "\n") {
			t.Errorf("%s: the doc sentence is %q", w.Name, w.Doc)
		}
		p := w.Params()
		if _, ok := p.(interface{ Validate() error }); !ok {
			t.Errorf("%s: parameters without Validate", w.Name)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again := w.Params()
		if err := json.Unmarshal(b, again); err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%s: parameters %s came back as %+v, %v", w.Name, b, again, err)
		}
		if workloads.Lookup(w.Name) != w {
			t.Errorf("%s is not found", w.Name)
		}
		for what, err := range map[string]error{
			"generator":  second(w.Generator(struct{}{}, 1)),
			"pipeline":   second(w.Pipeline(struct{}{}, trial.IO())),
			"accounting": second(w.Accounting(struct{}{}, 1)),
		} {
			if err == nil || !strings.Contains(err.Error(), w.Name) {
				t.Errorf("%s: %s with foreign parameters: %v", w.Name, what, err)
			}
		}
	}
	if got, want := strings.Join(names, " "), "keyed-count keyed-sum pass-through replay wordcount ysb"; got != want {
		t.Errorf("registered are %s, want %s", got, want)
	}
}

// TestBadInputIsRefusedForWhatItIs: each kind of bad record that a workload says it
// makes is refused by its job, for the reason that the kind names, and the
// records around it are not.
func TestBadInputIsRefusedForWhatItIs(t *testing.T) {
	reasons := map[workloads.BadKind]string{
		workloads.Undecodable: "the record does not decode", workloads.NoEventTime: "the record has no event time",
		workloads.BeforeEpoch: "lies before 1970", workloads.FarAhead: "lies too far ahead",
	}
	for w := range workloads.All() {
		for _, params := range paramsOf(t, w) {
			for _, kind := range w.Bad {
				refused(t, w, params, kind, reasons[kind])
			}
		}
	}
}

// paramsOf are parameters with which a workload runs, in all its forms that bad
// input depends on.
func paramsOf(t *testing.T, w *workloads.Workload) (all []any) {
	if w.Name != "replay" {
		return []any{w.Params()}
	}
	dir := t.TempDir()
	for unit, at := range map[string]string{"ms": "1700000000123", "s": "1700000000", "us": "1700000000123000", "ns": "1700000000123000000", "rfc3339": "2023-11-14T22:13:20.123Z"} {
		for name, content := range map[string]string{
			"jsonl": fmt.Sprintf(`{"user":"a, \"b\"","at":%q,"n":[1,{"at":2}]} `+"\n", at),
			"csv":   fmt.Sprintf("user,at,text\n\"a, \"\"b\"\"\",%s,\"two\nlines\"\n", at),
		} {
			if unit == "s" && name == "jsonl" {
				content = strings.Replace(content, `"`+at+`"`, at, 1) // a number
			}
			file := filepath.Join(dir, unit+"."+name)
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			p := w.Params().(*replay.Params)
			p.File, p.Key, p.EventTime, p.EventTimeUnit = file, "user", "at", unit
			all = append(all, p)
		}
	}
	return all
}

func refused(t *testing.T, w *workloads.Workload, params any, kind workloads.BadKind, reason string) {
	t.Helper()
	gen, err := w.Generator(params, 1)
	if err != nil {
		t.Fatal(err)
	}
	spoil, ok := gen.(workloads.Spoiler)
	if !ok {
		t.Fatalf("%s names bad input and its generator makes none", w.Name)
	}
	g, err := w.Pipeline(params, trial.IO())
	if err != nil {
		t.Fatal(err)
	}
	g.OnBadInput(pipeline.DropBad, nil)
	var told []string
	h := pipelinetest.New(t, g, pipelinetest.Options{BadInput: func(b *pipeline.BadRecord) {
		told = append(told, fmt.Sprintf("%d: %s", b.Position, b.Reason))
	}})
	const now = 1_700_000_000_000
	if err := h.ProcessingTime(now); err != nil {
		t.Fatal(err)
	}
	b := &connectors.Batch{Split: pipelinetest.Split(0)}
	for i := range int64(20) {
		in := workloads.Input{Index: i, Sequence: i, Scheduled: i * 1e6, EventTime: now + i}
		value, key := gen.Append(nil, in)
		if i%2 == 1 {
			value, key = spoil.AppendBad(nil, in, kind)
		}
		b.Records = append(b.Records, connectors.Record{Key: key, Value: value, Offset: i, Headers: []connectors.Header{{Key: connectors.OriginHeader,
			Value: connectors.AppendOrigin(nil, connectors.Origin{Sequence: i})}}})
	}
	if err := h.Push(source(g), b); err != nil {
		t.Fatal(err)
	}
	if len(told) != 10 {
		t.Errorf("%s %+v, %s: %d of 10 bad records refused: %v", w.Name, params, kind, len(told), told)
	}
	for i, got := range told {
		if !strings.HasPrefix(got, fmt.Sprintf("%d: ", 2*i+1)) || !strings.Contains(got, reason) {
			t.Errorf("%s %+v, %s: refused %s, want %s", w.Name, params, kind, got, reason)
		}
	}
}

// source is the name of a job's source.
func source(g *pipeline.Graph) string {
	for _, n := range g.Nodes() {
		if n.Kind == pipeline.KindSource {
			return n.Name
		}
	}
	return ""
}

func second[T any](_ T, err error) error { return err }

// TestRegisterSaysWhatIsMissing, so that a first workload of one's own takes no
// guessing.
func TestRegisterSaysWhatIsMissing(t *testing.T) {
	for want, spoil := range map[string]func(*workloads.Workload){
		"no Name":                            func(w *workloads.Workload) { w.Name = "" },
		"no Params":                          func(w *workloads.Workload) { w.Params = nil },
		"no Generator":                       func(w *workloads.Workload) { w.Generator = nil },
		"no Pipeline":                        func(w *workloads.Workload) { w.Pipeline = nil },
		"no Accounting":                      func(w *workloads.Workload) { w.Accounting = nil },
		"its Params return struct {}, but":   func(w *workloads.Workload) { w.Params = func() any { return struct{}{} } },
		"its Params return <nil>, but":       func(w *workloads.Workload) { w.Params = func() any { return nil } },
		"registered twice: give yours anoth": func(*workloads.Workload) {},
	} {
		w := *workloads.Lookup("ysb")
		spoil(&w)
		func() {
			defer func() {
				if r := fmt.Sprint(recover()); !strings.Contains(r, want) {
					t.Errorf("%s, want %s", r, want)
				}
			}()
			workloads.Register(&w)
		}()
	}
}
