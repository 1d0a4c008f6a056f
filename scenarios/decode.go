package scenarios

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// decoder moves a tree into Go values, strictly. It is our own because the
// library's decoder stops at the first mistake and knows neither overrides nor
// suggestions; a user who fixes a file wants all mistakes at once.
type decoder struct {
	file   string
	dir    string // where relative paths begin
	vocab  Vocabulary
	at     map[string]place // path → where it was written, for validation
	failed map[string]bool  // paths already complained about
	gates  []rawGate
	// someEngineUnknown silences what would only follow from it.
	someEngineUnknown bool
	problems          Problems
}

type place struct {
	line, col int
	set       string
	value     *node
}

// nodeDecoder is implemented by types that read their node themselves because
// their shape depends on the vocabulary.
type nodeDecoder interface {
	decodeNode(d *decoder, n *node, path string)
}

func newDecoder(file string, vocab Vocabulary) *decoder {
	return &decoder{file: file, vocab: vocab, at: map[string]place{}, failed: map[string]bool{}}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func parentPath(path string) string {
	cut := strings.LastIndexAny(path, ".[")
	if cut < 0 {
		return ""
	}
	return path[:cut]
}

// problem complains about a node.
func (d *decoder) problem(n *node, path string, withValue bool, allowed string) {
	d.failed[path] = true
	d.problems = append(d.problems, Problem{
		File: d.file, Line: n.line, Col: n.col, Set: n.set,
		Field: path, Value: n.shown(), HasValue: withValue, Allowed: allowed,
	})
}

// complain is for validation: it finds the place of a path, or of the nearest
// enclosing one, and stays silent if the path has been complained about.
func (d *decoder) complain(path, allowed string) {
	for p := path; ; p = parentPath(p) {
		if d.failed[p] {
			return
		}
		if p == "" {
			break
		}
	}
	for p := path; ; p = parentPath(p) {
		if pl, ok := d.at[p]; ok {
			scalar := p == path && pl.value.kind != kindMapping && pl.value.kind != kindList && pl.value.kind != kindNull
			pr := Problem{File: d.file, Line: pl.line, Col: pl.col, Set: pl.set, Field: path, Allowed: allowed}
			if scalar {
				pr.Value, pr.HasValue = pl.value.shown(), true
				pr.Line, pr.Col = pl.value.line, pl.value.col
			}
			d.failed[path] = true
			d.problems = append(d.problems, pr)
			return
		}
		if p == "" {
			break
		}
	}
	d.problems = append(d.problems, Problem{File: d.file, Field: path, Allowed: allowed})
}

// given reports whether the file or an override wrote this path.
func (d *decoder) given(path string) bool { _, ok := d.at[path]; return ok }

var durationType = reflect.TypeFor[time.Duration]()

func (d *decoder) decode(n *node, v reflect.Value, path string) {
	if _, ok := d.at[path]; !ok {
		d.at[path] = place{n.line, n.col, n.set, n}
	}
	if v.CanAddr() {
		if nd, ok := v.Addr().Interface().(nodeDecoder); ok {
			nd.decodeNode(d, n, path)
			return
		}
	}
	if v.Kind() == reflect.Pointer {
		if n.kind == kindNull {
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, v.Elem(), path)
		return
	}
	if v.Type() == durationType {
		if !d.isScalar(n, path, "a duration such as 500ms") {
			return
		}
		t, err := parseDuration(n.text)
		if err != nil {
			d.problem(n, path, true, err.Error())
			return
		}
		v.SetInt(int64(t))
		return
	}
	if v.CanAddr() {
		if tu, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			if !d.isScalar(n, path, "one value") {
				return
			}
			if err := tu.UnmarshalText([]byte(n.text)); err != nil {
				d.problem(n, path, true, err.Error())
			}
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, v, path)
	case reflect.Map:
		d.decodeMap(n, v, path)
	case reflect.Slice:
		if n.kind != kindList {
			d.problem(n, path, true, "must be a list such as [a, b], not "+string(n.kind))
			return
		}
		out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
		for i, it := range n.items {
			d.decode(it, out.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(out)
	case reflect.Interface:
		v.Set(reflect.ValueOf(n.plain()))
	default:
		d.decodeScalar(n, v, path)
	}
}

func (d *decoder) isScalar(n *node, path, want string) bool {
	switch n.kind {
	case kindMapping, kindList, kindNull:
		d.problem(n, path, n.kind != kindNull, fmt.Sprintf("must be %s, not %s", want, n.kind))
		return false
	}
	return true
}

func (d *decoder) decodeScalar(n *node, v reflect.Value, path string) {
	wrong := func(want kind) {
		d.problem(n, path, n.kind != kindNull, fmt.Sprintf("must be %s, not %s", want, n.kind))
	}
	switch v.Kind() {
	case reflect.String:
		switch n.kind {
		case kindText:
			v.SetString(n.text)
		case kindInt, kindFloat, kindBool:
			if n.set != "" { // a command line has no way to quote
				v.SetString(n.text)
				return
			}
			d.problem(n, path, true, fmt.Sprintf("must be text, not %s; put it in quotes", n.kind))
		default:
			wrong(kindText)
		}
	case reflect.Bool:
		if n.kind != kindBool {
			wrong(kindBool)
			return
		}
		v.SetBool(n.text == "true" || n.text == "True" || n.text == "TRUE")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n.kind != kindInt {
			wrong(kindInt)
			return
		}
		i, err := strconv.ParseInt(n.text, 0, 64)
		if err != nil || v.OverflowInt(i) {
			d.problem(n, path, true, "a whole number in the range of a computer's integers")
			return
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n.kind != kindInt {
			wrong(kindInt)
			return
		}
		i, err := strconv.ParseUint(n.text, 0, 64)
		if err != nil || v.OverflowUint(i) {
			d.problem(n, path, true, "a whole number that is not negative")
			return
		}
		v.SetUint(i)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64)
		if (n.kind != kindInt && n.kind != kindFloat) || err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			wrong(kindFloat)
			return
		}
		v.SetFloat(f)
	default:
		d.problem(n, path, false, "cannot be set from a scenario file")
	}
}

func (d *decoder) decodeMap(n *node, v reflect.Value, path string) {
	if n.kind != kindMapping {
		d.problem(n, path, n.kind != kindNull, "must be a mapping such as {a: 1}, not "+string(n.kind))
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.fields))
	for _, f := range n.fields {
		p := join(path, f.key)
		d.at[p] = place{f.line, f.col, f.set, f.value}
		val := reflect.New(v.Type().Elem()).Elem()
		d.decode(f.value, val, p)
		out.SetMapIndex(reflect.ValueOf(f.key).Convert(v.Type().Key()), val)
	}
	v.Set(out)
}

func (d *decoder) decodeStruct(n *node, v reflect.Value, path string) {
	if n.kind != kindMapping {
		d.problem(n, path, n.kind != kindNull, fmt.Sprintf("must be a mapping with %s, not %s", strings.Join(fieldNames(v.Type()), ", "), n.kind))
		return
	}
	known := structFields(v.Type(), nil)
	for _, f := range n.fields {
		p := join(path, f.key)
		index, ok := known[f.key]
		if !ok {
			names := fieldNames(v.Type())
			d.failed[p] = true
			meant := nearest(f.key, names)
			if _, alsoGiven := n.get(meant); meant != "" && !alsoGiven {
				d.failed[join(path, meant)] = true // not also missing
			}
			d.problems = append(d.problems, d.unknownField(f, p, names))
			continue
		}
		d.at[p] = place{f.line, f.col, f.set, f.value}
		d.decode(f.value, v.FieldByIndex(index), p)
	}
}

func (d *decoder) unknownField(f field, path string, names []string) Problem {
	return Problem{
		File: d.file, Line: f.line, Col: f.col, Set: f.set, Field: path,
		Allowed: fmt.Sprintf("unknown field %q: %s", f.key, oneOf(f.key, names)),
	}
}

// fieldName is the name of a struct field in a file: the json tag's, so that
// file, schema and job.json agree, or the yaml tag's.
func fieldName(f reflect.StructField) (name string, inline, ok bool) {
	if f.PkgPath != "" && !f.Anonymous {
		return "", false, false
	}
	for _, key := range []string{"json", "yaml"} {
		tag, has := f.Tag.Lookup(key)
		if !has {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		if name == "-" {
			return "", false, false
		}
		if name != "" {
			return name, false, true
		}
	}
	if f.Anonymous {
		return "", true, true
	}
	return strings.ToLower(f.Name[:1]) + f.Name[1:], false, true
}

func structFields(t reflect.Type, prefix []int) map[string][]int {
	out := map[string][]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, inline, ok := fieldName(f)
		index := append(append([]int{}, prefix...), i)
		switch {
		case !ok:
		case inline && f.Type.Kind() == reflect.Struct:
			for k, v := range structFields(f.Type, index) {
				out[k] = v
			}
		case !inline:
			out[name] = index
		}
	}
	return out
}

func fieldNames(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, inline, ok := fieldName(f)
		switch {
		case !ok:
		case inline && f.Type.Kind() == reflect.Struct:
			out = append(out, fieldNames(f.Type)...)
		case !inline:
			out = append(out, name)
		}
	}
	return out
}

// plain gives the value as untyped Go data, for parameters whose shape only
// somebody else knows.
func (n *node) plain() any {
	switch n.kind {
	case kindMapping:
		out := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			out[f.key] = f.value.plain()
		}
		return out
	case kindList:
		out := make([]any, len(n.items))
		for i, it := range n.items {
			out[i] = it.plain()
		}
		return out
	case kindBool:
		return strings.EqualFold(n.text, "true")
	case kindInt:
		if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
			return i
		}
	case kindFloat:
		if f, err := strconv.ParseFloat(n.text, 64); err == nil {
			return f
		}
	case kindNull:
		return nil
	}
	return n.text
}
