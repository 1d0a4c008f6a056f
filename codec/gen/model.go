package gen

import (
	"fmt"
	"go/token"
	"hash/fnv"
	"strings"
)

// structure is a struct type that gets a codec.
type structure struct {
	goType string // as written in the package
	ident  string // what its codec's names begin with
	name   string // in IDs
	pos    token.Pos
	fields []*field
	// version is the highest that the fields name.
	version int
	// memory is how many bytes a value takes where its encoding is its memory on
	// machines of 64 bits; 0 elsewhere.
	memory int64
}

// field is a field of a struct, or one that was removed.
type field struct {
	selector     string // behind the value: ".Name"; empty where removed
	name         string // in the layout's sum
	kind         *kind
	since, until int // versions that have it; until 0 is the present
	def          string
	pos          token.Pos
}

func (f *field) in(version int) bool {
	return f.since <= version && (f.until == 0 || version <= f.until)
}

// current reports whether the present struct has the field.
func (f *field) current() bool { return f.until == 0 }

// kind is how a type is encoded.
type kind struct {
	op     op
	goType string // the type, for conversions and declarations
	basic  string // of fixed numbers: the unsigned type of their width
	view   bool
	width  int // bytes of a fixed number; of an array its length
	key    *kind
	elem   *kind
	of     *structure
}

type op int

const (
	opBool op = iota
	opFixed
	opFloat
	opVarint
	opUvarint
	opString
	opBytes
	opTime
	opSlice
	opArray
	opMap
	opPointer
	opStruct
)

// layout describes the encoding of a kind, for sums. A nested struct is only
// named: it has a version of its own.
func (k *kind) layout() string {
	switch k.op {
	case opBool:
		return "bool"
	case opFixed:
		return fmt.Sprintf("fixed%d", 8*k.width)
	case opFloat:
		return fmt.Sprintf("float%d", 8*k.width)
	case opVarint:
		return "varint"
	case opUvarint:
		return "uvarint"
	case opString, opBytes:
		return "bytes"
	case opTime:
		return "time"
	case opSlice:
		return "[]" + k.elem.layout()
	case opArray:
		return fmt.Sprintf("[%d]%s", k.width, k.elem.layout())
	case opMap:
		return "map[" + k.key.layout() + "]" + k.elem.layout()
	case opPointer:
		return "*" + k.elem.layout()
	}
	return k.of.name
}

// fixed returns the bytes of a kind that always takes as many, 0 for others.
func (k *kind) fixed() int {
	switch k.op {
	case opBool:
		return 1
	case opFixed, opFloat:
		return k.width
	}
	return 0
}

// memory returns the bytes of a kind whose every value, little endian, is its
// encoding, and whose every such bytes are a value; 0 for others.
func (k *kind) memory() int64 {
	switch k.op {
	case opFixed, opFloat:
		return int64(k.width)
	case opArray:
		return int64(k.width) * k.elem.memory()
	case opStruct:
		return k.of.memory
	}
	return 0
}

// min returns the bytes that the current version takes at least.
func (k *kind) min() int {
	switch k.op {
	case opBool, opFixed, opFloat:
		return k.fixed()
	case opTime:
		return 12
	case opArray:
		return k.width * k.elem.min()
	case opStruct:
		n := 0
		for _, f := range k.of.fields {
			if f.current() {
				n += f.kind.min()
			}
		}
		return n
	}
	return 1
}

// refers reports whether a copy of a value shares something with it that a clone
// must not share.
func (k *kind) refers() bool {
	switch k.op {
	case opString:
		return k.view
	case opBytes, opSlice, opMap, opPointer:
		return true
	case opArray:
		return k.elem.refers()
	case opStruct:
		for _, f := range k.of.fields {
			if f.current() && f.kind.refers() {
				return true
			}
		}
	}
	return false
}

// visit calls f for each struct in a kind, outer ones first.
func (k *kind) visit(f func(*structure)) {
	if k == nil {
		return
	}
	if k.op == opStruct {
		f(k.of)
	}
	k.key.visit(f)
	k.elem.visit(f)
}

func (s *structure) sum(version int) string {
	var b strings.Builder
	for _, f := range s.fields {
		if f.in(version) {
			fmt.Fprintf(&b, "%s %s\n", f.name, f.kind.layout())
		}
	}
	h := fnv.New64a()
	h.Write([]byte(b.String()))
	return fmt.Sprintf("%016x", h.Sum64())[:10]
}

// within lists the struct and those in its fields, each once; all also those in
// removed fields.
func (s *structure) within(all bool) []*structure {
	var list []*structure
	seen := map[*structure]bool{}
	var add func(s *structure)
	add = func(s *structure) {
		if seen[s] {
			return
		}
		seen[s] = true
		list = append(list, s)
		for _, f := range s.fields {
			if all || f.current() {
				f.kind.visit(add)
			}
		}
	}
	add(s)
	return list
}

// id is the codec's ID: the struct and each struct type in it.
func (s *structure) id() string {
	var parts []string
	for _, w := range s.within(false) {
		parts = append(parts, fmt.Sprintf("%s/%d#%s", w.name, w.version, w.sum(w.version)))
	}
	return strings.Join(parts, "+")
}

// evolved reports whether there is an older version of the struct or of one in
// it.
func (s *structure) evolved() bool {
	for _, w := range s.within(true) {
		if w.version > 1 {
			return true
		}
	}
	return false
}
