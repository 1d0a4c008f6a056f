package scenarios

import (
	"fmt"
	"reflect"
	"strings"
)

// enum decodes a text that must be one of a few.
func enum[T ~string](d *decoder, n *node, path string, out *T, allowed ...T) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	if n.kind != kindText {
		d.problem(n, path, n.kind != kindNull, "must be text, "+oneOf(n.text, names))
		return
	}
	for _, a := range allowed {
		if string(a) == n.text {
			*out = a
			return
		}
	}
	d.problem(n, path, true, oneOf(n.text, names))
}

func (g *Guarantee) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, g, Guarantees()...)
}

func (p *Partitioner) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, p, PartitionByKey, PartitionBySubtask)
}

func (s *Subscribe) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, s, SubscribeList, SubscribePattern)
}

func (s *Durability) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, s, DurableProcess, DurableMachine)
}

func (b *BadInput) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, b, BadFails, BadIsDropped, BadDeadLetter)
}

func (r *Reset) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, r, ResetEarliest, ResetLatest)
}

func (f *StartFrom) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, f, StartEarliest, StartLatest, StartTimestamp, StartCommitted)
}

func (u *Until) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, u, CaughtUp, Drained, Failed)
}

func (s *Shape) decodeNode(d *decoder, n *node, path string) {
	enum(d, n, path, s, ShapeConstant, ShapeStep, ShapeRamp, ShapeBurst, ShapeSine, ShapeTrace)
}

// decodeNode of a workload finds the parameters' type by the name first.
func (w *Workload) decodeNode(d *decoder, n *node, path string) {
	var shape struct {
		Name   string `json:"name"`
		Params *node  `json:"params"`
	}
	d.decode(n, reflect.ValueOf(&shape).Elem(), path)
	w.Name = shape.Name
	if n.kind != kindMapping || shape.Name == "" {
		return
	}
	spec, ok := d.vocab.Workloads[w.Name]
	if !ok {
		d.complain(join(path, "name"), oneOf(w.Name, d.vocab.WorkloadNames()))
		return
	}
	w.Params = d.block(spec.New, shape.Params, join(path, "params"))
}

// decodeNode keeps the node for a type that is known only later.
func (n *node) decodeNode(_ *decoder, from *node, _ string) { *n = *from }

// block decodes a mapping into what newValue makes and asks it to validate
// itself. A nil or empty mapping leaves the defaults.
func (d *decoder) block(newValue func() any, n *node, path string) any {
	if newValue == nil {
		if n != nil {
			d.problem(n, path, false, "takes no parameters")
		}
		return nil
	}
	value := newValue()
	before := len(d.problems)
	if n != nil && n.kind != kindNull {
		v := reflect.ValueOf(value)
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		d.decode(n, v, path)
	}
	// Relative paths are the scenario file's: resolved first, so that what is
	// validated is what will be read.
	if paths, ok := value.(interface{ Rebase(dir string) }); ok {
		paths.Rebase(d.dir)
	}
	if checked, ok := value.(interface{ Validate() error }); ok && len(d.problems) == before {
		if err := checked.Validate(); err != nil {
			d.fieldErrors(err, path)
		}
	}
	return value
}

// fieldErrors places errors of the form "field: text" at the field.
func (d *decoder) fieldErrors(err error, path string) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			d.fieldErrors(e, path)
		}
		return
	}
	text := err.Error()
	if name, rest, ok := strings.Cut(text, ": "); ok && !strings.ContainsAny(name, " \t\n") {
		d.complain(join(path, name), rest)
		return
	}
	d.complain(path, text)
}

func (e *Engines) decodeNode(d *decoder, n *node, path string) {
	if n.kind != kindMapping {
		d.problem(n, path, n.kind != kindNull, fmt.Sprintf("must be a mapping from engine to configuration, not %s; built in: %s",
			n.kind, strings.Join(d.vocab.EngineNames(), ", ")))
		return
	}
	for _, f := range n.fields {
		p := join(path, f.key)
		d.at[p] = place{f.line, f.col, f.set, f.value}
		block := EngineBlock{Name: f.key}
		spec, builtIn := d.vocab.Engines[f.key]
		_, own := f.value.get("command")
		switch {
		case builtIn:
			block.Config = d.block(spec.New, f.value, p)
			block.Guarantees, block.CrashPoints = spec.Guarantees, spec.CrashPoints
		case own && f.value.kind == kindMapping:
			d.decodeCommand(f, &block, p)
		default:
			d.failed[p], d.someEngineUnknown = true, true
			d.problems = append(d.problems, Problem{File: d.file, Line: f.line, Col: f.col, Set: f.set, Field: p,
				Allowed: fmt.Sprintf("unknown engine %q: %s, or any name with a command of its own", f.key, oneOf(f.key, d.vocab.EngineNames()))})
			continue
		}
		if len(block.Guarantees) == 0 {
			block.Guarantees = Guarantees()
		}
		*e = append(*e, block)
	}
}

func (d *decoder) decodeCommand(f field, block *EngineBlock, path string) {
	if !safeName(f.key) {
		d.complain(path, nameRule)
	}
	var own ownEngine
	d.decode(f.value, reflect.ValueOf(&own).Elem(), path)
	if len(own.Command) == 0 || own.Command[0] == "" {
		d.complain(join(path, "command"), "a program and its arguments, such as [./my-engine, --worker]")
	}
	block.Command, block.Guarantees, block.CrashPoints = own.Command, own.Guarantees, own.CrashPoints
	if own.Config != nil {
		block.Config = own.Config
	}
}

// ownEngine is the block of a user's own program.
type ownEngine struct {
	// Command starts the program, relative to the scenario's folder.
	Command []string `json:"command"`
	// Config is handed to the program in its job, as it is.
	Config map[string]any `json:"config,omitempty"`
	// Guarantees that the program offers; all, if none is given.
	Guarantees []Guarantee `json:"guarantees,omitempty"`
	// CrashPoints that the program can be armed with.
	CrashPoints []string `json:"crashPoints,omitempty"`
}
