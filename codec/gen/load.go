package gen

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// loader turns struct types of one package into structures.
type loader struct {
	pkg     *packages.Package
	imports map[string]string     // path to the name it has in the package's files
	made    map[string]*structure // by the type's full name
	order   []*structure
	open    []types.Type // types being looked into
	errs    []error
	dir     string // errors name files relative to it
}

// load reads the package in a folder and the types of the given names in it.
func load(dir string, names []string) (*loader, error) {
	cfg := &packages.Config{Dir: dir, Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo}
	pkgs, err := packages.Load(cfg, ".")
	if err != nil {
		return nil, err
	}
	if len(pkgs) != 1 || pkgs[0].Types == nil || len(pkgs[0].Syntax) == 0 {
		return nil, fmt.Errorf("%s: no Go package", dir)
	}
	p := pkgs[0]
	// The codecs that are to be made do not exist yet, so that the package does
	// not compile is to be expected; a file that does not parse is not. A type
	// that is not known is refused where a field has it.
	for _, e := range p.Errors {
		if e.Kind == packages.ParseError {
			return nil, e
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &loader{pkg: p, imports: map[string]string{}, made: map[string]*structure{}, dir: abs}
	for _, name := range names {
		obj, ok := p.Types.Scope().Lookup(name).(*types.TypeName)
		if !ok {
			return nil, fmt.Errorf("%s: package %s has no type %s", dir, p.Name, name)
		}
		t := types.Unalias(obj.Type())
		if _, ok := t.Underlying().(*types.Struct); !ok {
			return nil, fmt.Errorf("%s: %s is no struct", l.place(obj.Pos()), name)
		}
		l.structure(t, name, obj.Pos())
	}
	return l, errors.Join(l.errs...)
}

func (l *loader) place(pos token.Pos) string {
	p := l.pkg.Fset.Position(pos)
	name := p.Filename
	if rel, err := filepath.Rel(l.dir, name); err == nil && !strings.HasPrefix(rel, "..") {
		name = rel
	} else {
		name = filepath.Base(name)
	}
	return fmt.Sprintf("%s:%d", name, p.Line)
}

func (l *loader) refuse(pos token.Pos, format string, a ...any) {
	l.errs = append(l.errs, fmt.Errorf("%s: %s", l.place(pos), fmt.Sprintf(format, a...)))
}

// typeString writes a type as the generated file does, and notes its imports.
func (l *loader) typeString(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == l.pkg.Types {
			return ""
		}
		l.imports[p.Path()] = p.Name()
		return p.Name()
	})
}

// structure returns the model of a struct type. ident is empty for types that
// are only found in fields.
func (l *loader) structure(t types.Type, ident string, pos token.Pos) *structure {
	full := types.TypeString(t, nil)
	if s := l.made[full]; s != nil {
		if ident != "" {
			s.ident = ident
		}
		return s
	}
	if slices.ContainsFunc(l.open, func(o types.Type) bool { return types.Identical(o, t) }) {
		l.refuse(pos, "%s contains itself; a codec of it would not end", l.typeString(t))
		return &structure{}
	}
	l.open = append(l.open, t)
	defer func() { l.open = l.open[:len(l.open)-1] }()

	s := &structure{goType: l.typeString(t), pos: pos}
	named, _ := t.(*types.Named)
	if named == nil || named.TypeParams().Len() > named.TypeArgs().Len() {
		l.refuse(pos, "%s has no name or has type parameters; a codec is made for a named type without them", s.goType)
		return s
	}
	obj := named.Obj()
	if s.ident = ident; ident == "" {
		s.ident = obj.Name()
		if obj.Pkg() != l.pkg.Types {
			s.ident = obj.Pkg().Name() + strings.ToUpper(s.ident[:1]) + s.ident[1:]
		}
		for i := range named.TypeArgs().Len() {
			s.ident += "Of" + identOf(l.typeString(named.TypeArgs().At(i)))
		}
	}
	s.name = l.pkg.Name + "." + s.ident
	spec, doc := l.declaration(obj)
	for _, c := range doc {
		if name, ok := strings.CutPrefix(c.Text, "//codec:name "); ok {
			if s.name = strings.TrimSpace(name); strings.ContainsAny(s.name, "/#+(), ") {
				l.refuse(c.Pos(), "the name %q holds a character that separates the parts of an ID", s.name)
			}
		}
	}
	st := t.Underlying().(*types.Struct)
	foreign := obj.Pkg() != l.pkg.Types
	for i := range st.NumFields() {
		v := st.Field(i)
		if foreign && !v.Exported() {
			l.refuse(v.Pos(), "field %s of %s: it is not exported and of another package, so no codec can be made here", v.Name(), s.goType)
			continue
		}
		if f := l.field(s, v, st.Tag(i)); f != nil {
			s.fields = append(s.fields, f)
		}
	}
	if spec != nil {
		s.fields = append(s.fields, l.removed(s, spec)...)
		slices.SortStableFunc(s.fields, func(a, b *field) int { return int(a.pos - b.pos) })
	}
	s.version = 1
	for _, f := range s.fields {
		s.version = max(s.version, f.since, f.until+1)
	}
	for v := 1; v <= s.version; v++ {
		if !slices.ContainsFunc(s.fields, func(f *field) bool { return f.in(v) }) {
			l.refuse(pos, "%s has no fields in version %d; an encoding takes at least a byte", s.goType, v)
		}
	}
	s.memory = memory(st, s.fields)
	l.made[full] = s
	l.order = append(l.order, s)
	return s
}

// sizes are those of the machines whose memory may be an encoding; amd64 and
// arm64 lay structs out alike.
var sizes = types.SizesFor("gc", "amd64")

// memory returns how many bytes a struct takes if its encoding is its memory:
// numbers of fixed width, all of them encoded in their order, without gaps.
// Otherwise it is 0.
func memory(st *types.Struct, fields []*field) int64 {
	vars := make([]*types.Var, st.NumFields())
	for i := range vars {
		vars[i] = st.Field(i)
	}
	current := slices.DeleteFunc(slices.Clone(fields), func(f *field) bool { return !f.current() })
	if len(current) != len(vars) {
		return 0
	}
	var at int64
	for i, offset := range sizes.Offsetsof(vars) {
		n := current[i].kind.memory()
		if n == 0 || offset != at {
			return 0
		}
		at += n
	}
	if sizes.Sizeof(st) != at {
		return 0
	}
	return at
}

// identOf makes a part of an identifier of a type.
func identOf(s string) string {
	b := []byte{}
	for _, part := range strings.FieldsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	}) {
		b = append(append(b, strings.ToUpper(part[:1])...), part[1:]...)
	}
	return string(b)
}

// declaration finds a struct's syntax and comments in the package.
func (l *loader) declaration(obj types.Object) (*ast.StructType, []*ast.Comment) {
	for _, file := range l.pkg.Syntax {
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				t, ok := spec.(*ast.TypeSpec)
				if !ok || l.pkg.TypesInfo.Defs[t.Name] != obj {
					continue
				}
				var doc []*ast.Comment
				for _, c := range []*ast.CommentGroup{g.Doc, t.Doc} {
					if c != nil {
						doc = append(doc, c.List...)
					}
				}
				st, _ := t.Type.(*ast.StructType)
				return st, doc
			}
		}
	}
	return nil, nil
}

// options are what a tag or a removed field's line says.
type options struct {
	varint, view bool
	name, def    string
	hasDef       bool
	since, until int
}

func (l *loader) options(pos token.Pos, of string, list []string) options {
	o := options{since: 1}
	for _, part := range list {
		key, value, _ := strings.Cut(part, "=")
		number := func() int {
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				l.refuse(pos, "%s: %s is no version; versions count from 1", of, part)
				return 1
			}
			return n
		}
		switch key {
		case "varint":
			o.varint = true
		case "view":
			o.view = true
		case "name":
			o.name = value
		case "since":
			o.since = number()
		case "until":
			o.until = number()
		case "default":
			o.def, o.hasDef = value, true
		default:
			l.refuse(pos, "%s: option %q is not known; allowed are -, varint, view, name=, since=, default=", of, part)
		}
	}
	return o
}

func (l *loader) field(s *structure, v *types.Var, tag string) *field {
	of := "field " + v.Name() + " of " + s.goType
	text := structTag(tag)
	if text == "-" {
		return nil
	}
	if v.Name() == "_" {
		return nil
	}
	var list []string
	for rest := text; rest != ""; {
		// A default may hold commas, so it is the last.
		part, after, _ := strings.Cut(rest, ",")
		if strings.HasPrefix(rest, "default=") {
			part, after = rest, ""
		}
		list, rest = append(list, part), after
	}
	o := l.options(v.Pos(), of, list)
	if o.until != 0 {
		l.refuse(v.Pos(), `%s: a field that is there has no last version; where it was removed the line "//codec:removed" takes its place`, of)
	}
	f := &field{selector: "." + v.Name(), name: v.Name(), kind: l.kind(v.Type(), v.Pos(), of, o), since: o.since, pos: v.Pos()}
	if o.name != "" {
		f.name = o.name
	}
	if o.hasDef {
		f.def = l.defaultOf(v, of, o)
	}
	return f
}

// structTag returns what a tag says under codec. The tags of other programs may
// be in any form.
func structTag(tag string) string {
	for tag != "" {
		key, rest, ok := strings.Cut(strings.TrimLeft(tag, " "), ":")
		if !ok {
			return ""
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return ""
		}
		if key == "codec" {
			value, _ := strconv.Unquote(quoted)
			return value
		}
		tag = rest[len(quoted):]
	}
	return ""
}

// defaultOf checks a default and returns it as an expression.
func (l *loader) defaultOf(v *types.Var, of string, o options) string {
	if o.since == 1 {
		l.refuse(v.Pos(), "%s: a default is for fields that came in a later version; say since=", of)
	}
	basic, _ := v.Type().Underlying().(*types.Basic)
	if basic == nil {
		l.refuse(v.Pos(), "%s: a %s has no default but its zero value", of, l.typeString(v.Type()))
		return ""
	}
	if basic.Info()&types.IsString != 0 {
		return strconv.Quote(o.def)
	}
	tv, err := types.Eval(l.pkg.Fset, l.pkg.Types, v.Pos(), l.typeString(v.Type())+"("+o.def+")")
	if err != nil || tv.Value == nil || tv.Value.Kind() == constant.Unknown {
		l.refuse(v.Pos(), "%s: default %s is no constant of type %s", of, o.def, l.typeString(v.Type()))
		return ""
	}
	return o.def
}

// removed reads the lines of a struct that stand for removed fields.
func (l *loader) removed(s *structure, spec *ast.StructType) (fields []*field) {
	for _, file := range l.pkg.Syntax {
		if file.FileStart > spec.Pos() || spec.End() > file.FileEnd {
			continue
		}
		for _, group := range file.Comments {
			for _, c := range group.List {
				text, ok := strings.CutPrefix(c.Text, "//codec:removed ")
				if !ok || c.Pos() < spec.Fields.Opening || c.Pos() > spec.Fields.Closing {
					continue
				}
				words := strings.Fields(text)
				if len(words) < 3 {
					l.refuse(c.Pos(), `a removed field is "//codec:removed Name type until=n", with since=m where it came later than version 1`)
					continue
				}
				of := "removed field " + words[0] + " of " + s.goType
				o := l.options(c.Pos(), of, words[2:])
				if o.until < o.since {
					l.refuse(c.Pos(), "%s: it has versions %d to %d", of, o.since, o.until)
					continue
				}
				tv, err := types.Eval(l.pkg.Fset, l.pkg.Types, c.Pos(), words[1])
				if err != nil || !tv.IsType() {
					l.refuse(c.Pos(), "%s: %s is no type here", of, words[1])
					continue
				}
				o.view = false
				fields = append(fields, &field{name: words[0], kind: l.kind(tv.Type, c.Pos(), of, o), since: o.since, until: o.until, pos: c.Pos()})
			}
		}
	}
	return fields
}
