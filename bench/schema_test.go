package bench

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"streamduel/scenarios"
)

// The schema that `bench schema` prints, with the real engines and workloads,
// admits what the loader admits and refuses what it refuses.
func TestTheRealSchemaAndTheLoaderAgree(t *testing.T) {
	vocab := wired().vocabulary()
	raw, err := scenarios.Schema(vocab)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	admits := func(src string) bool {
		asJSON, err := yaml.YAMLToJSON([]byte(src))
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(value) == nil
	}
	loads := func(src string) bool {
		_, err := scenarios.Parse("x.yaml", "", []byte(src), scenarios.Options{Vocabulary: vocab})
		return err == nil
	}
	for _, name := range scenarios.BuiltinScenarios() {
		src, _ := scenarios.BuiltinSource(name)
		if !admits(string(src)) || !loads(string(src)) {
			t.Errorf("%s: schema %v, loader %v", name, admits(string(src)), loads(string(src)))
		}
	}
	steady, _ := scenarios.BuiltinSource("steady")
	for _, change := range []struct {
		old, with string
		ok        bool
	}{
		{"interval: 500ms", "interval: 250ms", true},
		{"interval: 500ms", "interval: 250", false},
		{"interval: 500ms", "intervall: 250ms", false},
		{"interval: 500ms", "interval: soon", false},
		{"interval: 500ms", "interval: 1s, rate: { maxPerPartition: 5k/s, pid: { integral: 0.1 } }", true},
		{"bufferTimeout: 10ms", "bufferTimeout: -1", true},
		{"bufferTimeout: 10ms", "bufferTimeout: 0", true},
		{"bufferTimeout: 10ms", "buferTimeout: 0", false},
		{"checkpoint: { interval: 1s }", "checkpoint: { interval: 1s, retained: two }", false},
		{"keys: 1000", "keys: 10, recordBytes: 200", true},
		{"keys: 1000", "keyz: 10", false},
		{"parallelism: 2", "parallelism: 2\nstate: { backend: lsm, memory: 64MiB }", true},
		{"parallelism: 2", "parallelism: 2\nstate: { backend: disk }", false},
		{"parallelism: 2", "parallelism: 2\nstate: { backend: lsm, memori: 64MiB }", false},
	} {
		src := strings.Replace(string(steady), change.old, change.with, 1)
		if src == string(steady) {
			t.Fatalf("steady does not hold %q", change.old)
		}
		if admits(src) != change.ok || loads(src) != change.ok {
			t.Errorf("%s: schema %v, loader %v, want %v", change.with, admits(src), loads(src), change.ok)
		}
	}
}
