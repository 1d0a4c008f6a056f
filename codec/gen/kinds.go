package gen

import (
	"go/token"
	"go/types"
	"strings"
)

// kind returns how a type is encoded. Of options it takes varint and view, which
// go down to the elements.
func (l *loader) kind(t types.Type, pos token.Pos, of string, o options) *kind {
	k := l.plainKind(t, pos, of, o)
	if o.varint && !k.has(func(k *kind) bool { return k.op == opVarint || k.op == opUvarint }) {
		l.refuse(pos, "%s: varint is for integers of more than a byte", of)
	}
	if o.view && !k.has(func(k *kind) bool { return k.view }) {
		l.refuse(pos, "%s: view is for strings and []byte", of)
	}
	return k
}

// has reports whether a kind or one of its elements is such.
func (k *kind) has(such func(*kind) bool) bool {
	return k != nil && (such(k) || k.key.has(such) || k.elem.has(such))
}

var fixedTypes = map[types.BasicKind]struct {
	width int
	basic string
}{
	types.Int8: {1, "uint8"}, types.Uint8: {1, "uint8"}, types.Int16: {2, "uint16"}, types.Uint16: {2, "uint16"},
	types.Int32: {4, "uint32"}, types.Uint32: {4, "uint32"}, types.Int64: {8, "uint64"}, types.Uint64: {8, "uint64"},
	types.Int: {8, "uint64"}, types.Uint: {8, "uint64"},
}

func (l *loader) plainKind(t types.Type, pos token.Pos, of string, o options) *kind {
	k := &kind{goType: l.typeString(t)}
	if n, ok := types.Unalias(t).(*types.Named); ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "time" && n.Obj().Name() == "Time" {
		k.op = opTime
		return k
	}
	elem := func(t types.Type) *kind { return l.plainKind(t, pos, of, o) }
	switch u := t.Underlying().(type) {
	case *types.Basic:
		info := u.Info()
		switch {
		case info&types.IsBoolean != 0:
			k.op = opBool
			return k
		case info&types.IsString != 0:
			k.op, k.view = opString, o.view
			return k
		case u.Kind() == types.Float32:
			k.op, k.width, k.basic = opFloat, 4, "uint32"
			return k
		case u.Kind() == types.Float64:
			k.op, k.width, k.basic = opFloat, 8, "uint64"
			return k
		}
		if f, ok := fixedTypes[u.Kind()]; ok {
			k.op, k.width, k.basic = opFixed, f.width, f.basic
			if o.varint && f.width > 1 {
				if k.op = opVarint; info&types.IsUnsigned != 0 {
					k.op = opUvarint
				}
			}
			return k
		}
	case *types.Slice:
		if b, ok := u.Elem().(*types.Basic); ok && b.Kind() == types.Uint8 {
			k.op, k.view = opBytes, o.view
			return k
		}
		k.op, k.elem = opSlice, elem(u.Elem())
		return k
	case *types.Array:
		if u.Len() < 1 || u.Len() > 1<<20 {
			l.refuse(pos, "%s: an array of %d elements; 1 to 1048576 are encoded", of, u.Len())
			return k
		}
		k.op, k.width, k.elem = opArray, int(u.Len()), elem(u.Elem())
		return k
	case *types.Map:
		k.op, k.key, k.elem = opMap, elem(u.Key()), elem(u.Elem())
		return k
	case *types.Pointer:
		k.op, k.elem = opPointer, elem(u.Elem())
		return k
	case *types.Struct:
		if _, ok := types.Unalias(t).(*types.Named); !ok {
			l.refuse(pos, "%s: a struct without a name has no codec; give the type a name", of)
			return k
		}
		k.op, k.of = opStruct, l.structure(types.Unalias(t), "", pos)
		return k
	}
	l.refuse(pos, "%s: %s has no encoding; allowed are bool, integers, floats, string, time.Time, structs, and slices, arrays, maps and pointers of them, or the tag `codec:\"-\"`",
		of, strings.TrimPrefix(k.goType, "untyped "))
	return k
}
