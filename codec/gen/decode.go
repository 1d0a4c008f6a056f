package gen

import (
	"fmt"
	"slices"
	"strings"
)

func (e *emitter) decode(s *structure) {
	e.p("func %s(src []byte) (v %s, n int, err error) {", s.on("decode"), s.goType)
	var fields []*field
	var m bool
	for _, f := range s.fields {
		if f.current() {
			fields = append(fields, f)
			m = m || f.kind.fixed() == 0
		}
	}
	if m {
		e.p("var m int")
	}
	for len(fields) > 0 {
		// Neighbours of a fixed width are read under one check of the length.
		run := slices.IndexFunc(fields, func(f *field) bool { return f.kind.fixed() == 0 })
		if run < 0 {
			run = len(fields)
		}
		if run == 0 {
			e.decodeOf(fields[0].kind, "v"+fields[0].selector, "")
			fields = fields[1:]
			continue
		}
		var kinds []*kind
		var into []string
		for _, f := range fields[:run] {
			kinds, into = append(kinds, f.kind), append(into, "v"+f.selector)
		}
		e.decodeRun(kinds, into)
		fields = fields[run:]
	}
	e.p("return v, n, nil\n}\n")
}

// decodeRun reads neighbours of a fixed width.
func (e *emitter) decodeRun(kinds []*kind, into []string) {
	total := 0
	for _, k := range kinds {
		total += k.fixed()
	}
	i := e.next()
	e.p("if len(src)-n < %d {\nreturn v, n, codec.ErrShort\n}\nb%d := src[n : n+%d : n+%d]", total, i, total, total)
	at := 0
	for j, k := range kinds {
		switch k.op {
		case opBool:
			e.p("if b%d[%d] > 1 {\nreturn v, n, codec.ErrBool\n}\n%s = b%d[%d] == 1", i, at, into[j], i, at)
		case opFixed:
			if k.width == 1 {
				e.p("%s = %s(b%d[%d])", into[j], k.goType, i, at)
			} else {
				e.p("%s = %s(%s.Uint%d(b%d[%d:]))", into[j], k.goType, e.binary(), 8*k.width, i, at)
			}
		case opFloat:
			e.uses["math"] = true
			e.p("%s = %s(math.Float%dfrombits(%s.Uint%d(b%d[%d:])))", into[j], k.goType, 8*k.width, e.binary(), 8*k.width, i, at)
		}
		at += k.fixed()
	}
	e.p("n += %d", total)
}

// decodeOf reads one value into an addressable expression. from is not empty
// where an older version is read: then it is what says which.
func (e *emitter) decodeOf(k *kind, into, from string) {
	// read writes a call that returns a value of another type than the field's.
	read := func(codec, basic string) {
		i := e.next()
		e.p("var x%d %s\nif x%d, m, err = (codec.%s{}).Decode(src[n:]); err != nil {\nreturn v, n, err\n}", i, basic, i, codec)
		e.p("%s = %s(x%d)\nn += m", into, k.goType, i)
	}
	same := func(codec string) {
		e.p("if %s, m, err = (codec.%s{}).Decode(src[n:]); err != nil {\nreturn v, n, err\n}\nn += m", into, codec)
	}
	view := ""
	if k.view {
		view = "View"
	}
	switch k.op {
	case opBool, opFixed, opFloat:
		e.decodeRun([]*kind{k}, []string{into})
	case opVarint, opUvarint:
		name, basic := "Varint", "int64"
		if k.op == opUvarint {
			name, basic = "Uvarint", "uint64"
		}
		if k.goType == basic {
			same(name)
			return
		}
		i := e.next()
		e.p("var x%d %s\nif x%d, m, err = (codec.%s{}).Decode(src[n:]); err != nil {\nreturn v, n, err\n}", i, basic, i, name)
		e.p("if %s = %s(x%d); %s(%s) != x%d {\nreturn v, n, codec.ErrRange\n}\nn += m", into, k.goType, i, basic, into, i)
	case opString:
		if k.goType == "string" {
			same("String" + view)
		} else {
			read("String"+view, "string")
		}
	case opBytes:
		same("Bytes" + view)
	case opTime:
		same("Time")
	case opArray:
		i := e.next()
		e.p("for i%d := range %s {", i, into)
		e.decodeOf(k.elem, fmt.Sprintf("%s[i%d]", into, i), from)
		e.p("}")
	case opSlice:
		i := e.next()
		e.count(k.elem.min(), i, from)
		e.p("if c%d > 0 {\ns%d := make(%s, c%d)\nfor i%d := range s%d {", i, i, k.goType, i, i, i)
		e.decodeOf(k.elem, fmt.Sprintf("s%d[i%d]", i, i), from)
		e.p("}\n%s = s%d\n}", into, i)
	case opMap:
		i := e.next()
		e.count(k.key.min()+k.elem.min(), i, from)
		e.p("if c%d > 0 {\nm%d := make(%s, c%d)\nfor range c%d {\nvar k%d %s", i, i, k.goType, i, i, i, k.key.goType)
		e.decodeOf(k.key, fmt.Sprintf("k%d", i), from)
		e.p("var e%d %s", i, k.elem.goType)
		e.decodeOf(k.elem, fmt.Sprintf("e%d", i), from)
		e.p("m%d[k%d] = e%d\n}\n%s = m%d\n}", i, i, i, into, i)
	case opPointer:
		i := e.next()
		e.p("var y%d bool\nif y%d, m, err = (codec.Bool{}).Decode(src[n:]); err != nil {\nreturn v, n, err\n}\nn += m", i, i)
		e.p("if y%d {\np%d := new(%s)", i, i, k.elem.goType)
		e.decodeOf(k.elem, fmt.Sprintf("(*p%d)", i), from)
		e.p("%s = p%d\n}", into, i)
	case opStruct:
		call := k.of.on("decode") + "(src[n:])"
		if from != "" && k.of.evolved() {
			call = k.of.on("decode") + "From(src[n:], " + from + ")"
		}
		e.p("if %s, m, err = %s; err != nil {\nreturn v, n, err\n}\nn += m", into, call)
	}
}

// count reads a length, of elements that take at least some bytes: in an older
// version perhaps fewer, but never none.
func (e *emitter) count(least, i int, from string) {
	if from != "" {
		least = 1
	}
	e.p("var c%d int\nif c%d, m, err = codec.Count(src[n:], %d); err != nil {\nreturn v, n, err\n}\nn += m", i, i, least)
}

// evolve writes the reader of older versions.
func (e *emitter) evolve(s *structure) {
	c := s.codec()
	layouts := lower(c) + "Layouts"
	e.p("var %s = []codec.Layout{", layouts)
	for _, w := range s.within(true) {
		var sums []string
		for v := 1; v <= w.version; v++ {
			sums = append(sums, fmt.Sprintf("%q", w.sum(v)))
		}
		e.p("{Name: %q, Sums: []string{%s}},", w.name, strings.Join(sums, ", "))
	}
	e.p("}\n")
	e.p("// Reads returns the codec that reads older versions of the type and of those in it.")
	e.p("func (%s) Reads(id string) codec.Codec[%s] {\nfrom, ok := codec.ParseVersions(id, %s)\nif !ok {\nreturn nil\n}\nreturn %sFrom{from: from}\n}\n", c, s.goType, layouts, lower(c))
	e.p("type %sFrom struct {\n%s\nfrom codec.Versions\n}\n", lower(c), c)
	e.p("func (c %sFrom) ID() string { return c.from.ID() }\n", lower(c))
	e.p("func (c %sFrom) Decode(src []byte) (%s, int, error) { return %sFrom(src, c.from) }\n", lower(c), s.goType, s.on("decode"))
	e.p("func (c %sFrom) Functions() (func([]byte, %s) []byte, func([]byte) (%s, int, error)) {\nreturn %s, c.Decode\n}\n", lower(c), s.goType, s.goType, s.on("append"))

	e.p("func %sFrom(src []byte, from codec.Versions) (v %s, n int, err error) {", s.on("decode"), s.goType)
	if slices.ContainsFunc(s.fields, func(f *field) bool { return f.kind.fixed() == 0 }) {
		e.p("var m int")
	}
	if s.version > 1 {
		e.p("version := from.Of(%q)", s.name)
	}
	for _, f := range s.fields {
		var when []string
		if f.since > 1 {
			when = append(when, fmt.Sprintf("version >= %d", f.since))
		}
		if f.until > 0 {
			when = append(when, fmt.Sprintf("version <= %d", f.until))
		}
		into := "v" + f.selector
		if len(when) > 0 {
			e.p("if %s {", strings.Join(when, " && "))
		}
		if !f.current() {
			into = fmt.Sprintf("x%d", e.next())
			e.p("var %s %s // %s", into, f.kind.goType, f.name)
		}
		e.decodeOf(f.kind, into, "from")
		if !f.current() {
			e.p("_ = %s", into)
		}
		if len(when) > 0 {
			if f.def != "" {
				e.p("} else {\n%s = %s", into, f.def)
			}
			e.p("}")
		}
	}
	e.p("return v, n, nil\n}\n")
}
