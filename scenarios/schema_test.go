package scenarios

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	check "github.com/santhosh-tekuri/jsonschema/v6"
)

func compiled(t *testing.T) *check.Schema {
	t.Helper()
	raw, err := Schema(testVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := check.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := check.NewCompiler()
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON turns YAML into what a schema checker takes, through JSON's numbers.
func asJSON(t *testing.T, src []byte) any {
	t.Helper()
	root, problems := parseTree("x", src)
	if problems != nil {
		t.Fatal(problems)
	}
	raw, err := json.Marshal(root.plain())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := check.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheSchemaAdmitsEveryBuiltInScenario(t *testing.T) {
	s := compiled(t)
	for _, name := range BuiltinScenarios() {
		src, _ := BuiltinSource(name)
		if err := s.Validate(asJSON(t, src)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Validate(asJSON(t, []byte(goodScenario))); err != nil {
		t.Error(err)
	}
}

func TestTheSchemaRefusesWhatTheLoaderRefuses(t *testing.T) {
	s := compiled(t)
	for _, c := range [][2]string{
		{"rate: 5000/s", "raet: 5000/s"},
		{"5000/s", "-1"},
		{"interval: 250ms", "intreval: 250ms"},
		{"interval: 250ms", "interval: 250"},
		{"microbatch: { interval: 250ms }", "microbach: { interval: 250ms }"},
		{"keyed-count", "keyed-cuont"},
		{"keys: 10", "keys: ten"},
		{"at-least-once, exactly-once]", "at-least-once, exactly-ones]"},
		{"until: caughtUp", "until: soon"},
		{"records.losses == 0", "records.losses"},
		{"shape: constant", "shape: round"},
		{"name: warmup, ", ""},
	} {
		if s.Validate(asJSON(t, []byte(replace(t, c[0], c[1])))) == nil {
			t.Errorf("the schema admits %q for %q", c[1], c[0])
		}
	}
}

func TestTheSchemaExplainsItsFields(t *testing.T) {
	raw, err := Schema(testVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Interval between looks", // a field's comment
		"At names the point for each engine.",
		`"microbatch"`,
		"Command starts the program",
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("not in the schema: %s", want)
		}
	}
}
