package scenarios

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
)

// Options of loading.
type Options struct {
	Vocabulary Vocabulary
	// Overrides are applied in order, each over the one before.
	Overrides []Override
	// Quick shortens the phases; see [Scenario.Quicken].
	Quick bool
}

// File is a loaded scenario file. It holds one Scenario for each combination
// of its matrix (one, if it has none).
type File struct {
	Path     string // as the user named it, "builtin:steady" for a built-in one
	Name     string // the scenario's
	Question string
	// Hash identifies what was asked for: SHA-256, in hex, of the file's
	// values with all overrides applied and of the quick form. Comments and
	// the order of fields do not matter.
	Hash     string
	Variants []Variant
}

// Variant is one combination of a matrix.
type Variant struct {
	Choices  []Choice // on the matrix's axes; empty without a matrix
	Scenario *Scenario
}

// LoadFile reads, overrides, decodes and checks one scenario file. The error
// is [Problems] if the file or an override is at fault.
func LoadFile(path string, opts Options) (*File, error) {
	src, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, filepath.Dir(path), src, opts)
}

func readFile(path string) ([]byte, error) {
	src, err := os.ReadFile(path)
	if err == nil {
		return src, nil
	}
	text := "cannot be read: " + err.Error()
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		text = "cannot be read: " + pathError.Err.Error()
	}
	if errors.Is(err, fs.ErrNotExist) {
		text = "no such file"
	}
	return nil, Problems{{File: path, Allowed: text}}
}

// Parse is LoadFile on bytes. name is used in errors; dir is where relative
// file names in the scenario begin.
func Parse(name, dir string, src []byte, opts Options) (*File, error) {
	root, problems := parseTree(name, src)
	if problems != nil {
		return nil, problems
	}
	if root.kind != kindMapping {
		return nil, Problems{{File: name, Line: root.line, Col: root.col, Allowed: "a scenario is a mapping with schema, name, workload, …, not " + string(root.kind)}}
	}
	for _, o := range opts.Overrides {
		problems = append(problems, o.apply(root)...)
	}
	if problems != nil {
		return nil, problems
	}
	base, problems := decodeScenario(name, dir, root, opts.Vocabulary)
	file := &File{Path: name, Name: base.Name, Question: base.Question, Hash: hash(root, opts.Quick)}
	combos := []combination{{root: root}}
	if len(base.Matrix) > 0 && len(problems) == 0 {
		var more Problems
		combos, more = base.Matrix.combinations(root)
		for i := range more {
			more[i].File = name
		}
		problems = append(problems, more...)
	}
	for _, c := range combos {
		s := base
		if len(c.choices) > 0 {
			var more Problems
			s, more = decodeScenario(name, dir, c.root, opts.Vocabulary)
			problems = append(problems, more...)
		}
		if opts.Quick {
			s.Quicken()
		}
		file.Variants = append(file.Variants, Variant{Choices: c.choices, Scenario: s})
	}
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	return file, nil
}

// decodeScenario decodes and checks one tree. The scenario is never nil.
func decodeScenario(name, dir string, root *node, vocab Vocabulary) (*Scenario, Problems) {
	d := newDecoder(name, vocab)
	d.dir = dir
	s := &Scenario{
		Topics:      Topics{Partitions: 4, Partitioner: PartitionByKey, Subscribe: SubscribeList},
		Parallelism: 2,
		Load:        Load{Shape: ShapeConstant},
		Durability:  DurableMachine,
		State:       State{Backend: memoryBackend},
		Discovery:   Discovery{Interval: 1e9, Reset: ResetEarliest},
	}
	if len(vocab.StateBackends) > 0 {
		s.State.Backend = Backend(vocab.StateBackends[0])
	}
	d.decode(root, reflect.ValueOf(s).Elem(), "")
	if s.Topics.Output == 0 && !d.given("topics.output") {
		s.Topics.Output = s.Topics.Partitions
	}
	for i := range s.Phases {
		p, path := &s.Phases[i], fmt.Sprintf("phases[%d]", i)
		if p.Crash != nil && !d.given(path+".crash.hit") {
			p.Crash.Hit = 1
		}
		if (p.Crash != nil || p.Kill != nil) && p.Until == "" && p.AtMost == 0 && !d.given(path+".atMost") {
			p.AtMost = max(DefaultFaultAtMost, p.Duration+DefaultFaultAtMost)
		}
	}
	d.validate(s, dir)
	return s, d.problems.sorted()
}

// hash identifies the values of a tree.
func hash(root *node, quick bool) string {
	canonical, err := json.Marshal(struct {
		Scenario any
		Quick    bool
	}{root.plain(), quick})
	if err != nil { // plain holds only what JSON can
		panic(fmt.Sprintf("scenarios: a plain tree does not encode: %v", err))
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}
