package scenarios

import (
	"embed"
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"sync"

	"github.com/invopop/jsonschema"
)

// Schema gives the JSON Schema of scenario files, for editors and other
// programs. It is made from the types that the loader decodes into, so the two
// cannot differ in their fields; what only validation knows (that a crash
// phase names each engine, for instance) is the loader's to say.
func Schema(vocab Vocabulary) ([]byte, error) {
	s := (&schemaMaker{vocab}).reflect(reflect.TypeFor[Scenario](), false)
	s.Version = jsonschema.Version
	s.Title = SchemaV1
	s.Description = "A scenario of streamduel: what load is offered, what is done to the engines, and what must hold."
	return json.MarshalIndent(s, "", "  ")
}

type schemaMaker struct{ vocab Vocabulary }

// reflect describes a type. A block of an engine or a workload is decoded over
// defaults, so none of its fields is required.
func (m *schemaMaker) reflect(t reflect.Type, block bool) *jsonschema.Schema {
	r := jsonschema.Reflector{
		Anonymous: true, DoNotReference: true,
		RequiredFromJSONSchemaTags: block,
		Mapper:                     m.mapped,
		LookupComment:              comment,
	}
	s := r.ReflectFromType(t)
	s.Version = ""
	return s
}

func pattern(expression, description string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: expression, Description: description}
}

func oneOfText[T ~string](values ...T) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

const (
	durationPattern = `^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`
	ratePattern     = `^[0-9]*\.?[0-9]+(e[0-9]+)?[kMG]?/(s|min)$`
	bytesPattern    = `^[0-9]*\.?[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?$`
)

func (m *schemaMaker) mapped(t reflect.Type) *jsonschema.Schema {
	switch t {
	case durationType, reflect.TypeFor[Duration]():
		return pattern(durationPattern, "a duration such as 500ms, 2s or 1m30s")
	case reflect.TypeFor[Rate]():
		return pattern(ratePattern, "a rate such as 5000/s or 10k/s")
	case reflect.TypeFor[Bytes]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			pattern(bytesPattern, "a size such as 100B or 32KiB"),
			{Type: "integer", Minimum: "0"},
		}}
	case reflect.TypeFor[SinkRate]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			pattern(ratePattern, "a rate for the whole job such as 2000/s"),
			pattern(`^[0-9]*\.?[0-9]+%$`, "a share of the offered load such as 40%"),
		}}
	case reflect.TypeFor[Percent]():
		return pattern(`^[0-9]*\.?[0-9]+%$`, "a share such as 2%")
	case reflect.TypeFor[Guarantee]():
		return oneOfText(Guarantees()...)
	case reflect.TypeFor[Partitioner]():
		return oneOfText(PartitionByKey, PartitionBySubtask)
	case reflect.TypeFor[Subscribe]():
		return oneOfText(SubscribeList, SubscribePattern)
	case reflect.TypeFor[Durability]():
		return oneOfText(DurableProcess, DurableMachine)
	case reflect.TypeFor[BadInput]():
		return oneOfText(BadFails, BadIsDropped, BadDeadLetter)
	case reflect.TypeFor[Reset]():
		return oneOfText(ResetEarliest, ResetLatest)
	case reflect.TypeFor[StartFrom]():
		return oneOfText(StartEarliest, StartLatest, StartTimestamp, StartCommitted)
	case reflect.TypeFor[Backend]():
		if len(m.vocab.StateBackends) > 0 {
			return oneOfText(m.vocab.StateBackends...)
		}
	case reflect.TypeFor[Until]():
		return oneOfText(CaughtUp, Drained, Failed)
	case reflect.TypeFor[Shape]():
		return oneOfText(ShapeConstant, ShapeStep, ShapeRamp, ShapeBurst, ShapeSine, ShapeTrace)
	case reflect.TypeFor[Workload]():
		return m.workload()
	case reflect.TypeFor[Engines]():
		return m.engines()
	case reflect.TypeFor[Gates]():
		return &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{
			Type: "object", MinProperties: pointer(uint64(1)), MaxProperties: pointer(uint64(1)),
			Description:          "scope: figure op bound, such as exactly-once: records.losses == 0",
			AdditionalProperties: pattern(`^\S+\s*(==|!=|<=|>=|<|>)\s*\S+$`, ""),
		}}
	case reflect.TypeFor[Matrix]():
		return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{
			Type: "array", MinItems: pointer(uint64(1)), Description: "each value is a cell",
		}}
	}
	if t.Kind() != reflect.Struct && reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return textual(t)
	}
	return nil
}

// textual describes a type of an engine or a workload that reads itself from
// text. One whose zero value is written "0s" is a duration; of others only they
// know what they take.
func textual(t reflect.Type) *jsonschema.Schema {
	zero := fmt.Sprint(reflect.Zero(t).Interface())
	if m, ok := reflect.New(t).Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			zero = string(text)
		}
	}
	if zero == "0s" {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			pattern(durationPattern, "a duration such as 500ms, 2s or 1m30s"),
			{Type: "integer", Maximum: "0", Description: "special values, where the engine has them"},
		}}
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}}}
}

func pointer[T any](v T) *T { return &v }

// values describes what a factory's pointer points to.
func (m *schemaMaker) values(newValue func() any) *jsonschema.Schema {
	if newValue == nil {
		return &jsonschema.Schema{Type: "object", MaxProperties: pointer(uint64(0))}
	}
	t := reflect.TypeOf(newValue())
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return m.reflect(t, true)
}

func (m *schemaMaker) workload() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set("name", oneOfText(m.vocab.WorkloadNames()...))
	props.Set("params", &jsonschema.Schema{Type: "object"})
	s := &jsonschema.Schema{Type: "object", Properties: props, Required: []string{"name"}, AdditionalProperties: jsonschema.FalseSchema}
	for _, name := range m.vocab.WorkloadNames() {
		when, then := jsonschema.NewProperties(), jsonschema.NewProperties()
		when.Set("name", &jsonschema.Schema{Const: name})
		then.Set("params", m.values(m.vocab.Workloads[name].New))
		s.AllOf = append(s.AllOf, &jsonschema.Schema{
			If:   &jsonschema.Schema{Properties: when, Required: []string{"name"}},
			Then: &jsonschema.Schema{Properties: then},
		})
	}
	return s
}

func (m *schemaMaker) engines() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	for _, name := range m.vocab.EngineNames() {
		s := m.values(m.vocab.Engines[name].New)
		s.Description = m.vocab.Engines[name].Doc
		props.Set(name, s)
	}
	own := m.reflect(reflect.TypeFor[ownEngine](), false)
	own.Description = "any program that speaks the worker protocol"
	return &jsonschema.Schema{Type: "object", Properties: props, AdditionalProperties: own, MinProperties: pointer(uint64(1))}
}

// The descriptions are the comments of the types themselves: the files are
// part of the program, so that there is one text and it is the one that a
// reader of the source sees.
//
//go:embed scenario.go load_shape.go decode_types.go
var sources embed.FS

var comments = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	entries, _ := sources.ReadDir(".")
	for _, e := range entries {
		src, err := sources.ReadFile(e.Name())
		if err != nil {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok {
				return true
			}
			for _, spec := range decl.Specs {
				typ, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				out[typ.Name.Name] = text(decl.Doc)
				if st, ok := typ.Type.(*ast.StructType); ok {
					for _, f := range st.Fields.List {
						for _, name := range f.Names {
							out[typ.Name.Name+"."+name.Name] = text(f.Doc)
						}
					}
				}
			}
			return false
		})
	}
	return out
})

func text(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(doc.Text()), " ")
}

func comment(t reflect.Type, fieldName string) string {
	if t.PkgPath() != reflect.TypeFor[Scenario]().PkgPath() {
		return ""
	}
	if fieldName == "" {
		return comments()[t.Name()]
	}
	return comments()[t.Name()+"."+fieldName]
}
