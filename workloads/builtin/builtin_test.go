package builtin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"streamduel/workloads"
	"streamduel/workloads/internal/trial"
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

func second[T any](_ T, err error) error { return err }

func TestRegisterRefusesASecondOfTheName(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "registered twice") {
			t.Errorf("%v", r)
		}
	}()
	workloads.Register(workloads.Lookup("ysb"))
}
