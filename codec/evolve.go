package codec

import (
	"strconv"
	"strings"
)

// Evolver is implemented by codecs that also read what earlier versions of them
// wrote. State read that way is written in the codec's own encoding from then
// on.
type Evolver[T any] interface {
	// Reads returns a codec that reads the encoding with that ID, and nil when
	// it cannot be read.
	Reads(id string) Codec[T]
}

// Reading returns the codec that reads what was written under an ID: c itself,
// what it evolved from, or nil.
func Reading[T any](c Codec[T], id string) Codec[T] {
	if c.ID() == id {
		return c
	}
	if e, ok := c.(Evolver[T]); ok {
		return e.Reads(id)
	}
	return nil
}

// Parts takes an ID of the form name(part,part) to pieces, for codecs made of
// others. ok is false when it has another form or another number of parts.
func Parts(id, name string, n int) (parts []string, ok bool) {
	rest, ok := strings.CutPrefix(id, name+"(")
	if !ok || !strings.HasSuffix(rest, ")") {
		return nil, false
	}
	rest = rest[:len(rest)-1]
	depth, from := 0, 0
	for i := range len(rest) {
		switch rest[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return nil, false
			}
		case ',':
			if depth == 0 {
				parts = append(parts, rest[from:i])
				from = i + 1
			}
		}
	}
	parts = append(parts, rest[from:])
	return parts, depth == 0 && len(parts) == n
}

// Layout is what a generated codec knows of one struct type: its name and, for
// each version from 1 on, a sum over the names and kinds of the fields that the
// version encodes. A struct that was changed without a new version has another
// sum, and what it wrote is refused rather than misread.
type Layout struct {
	Name string
	Sums []string
}

// Versions says in which versions the struct types of an encoding were written.
type Versions struct {
	id       string
	names    []string
	versions []int
}

// ID returns the encoding's ID.
func (v Versions) ID() string { return v.id }

// Of returns the version of a type, 0 where the encoding has no such type.
func (v Versions) Of(name string) int {
	for i, n := range v.names {
		if n == name {
			return v.versions[i]
		}
	}
	return 0
}

// ParseVersions reads the ID of a generated codec, name/version#sum for the
// struct and, joined by +, for each struct type in it. ok is false for what the
// layouts do not know: other types, newer versions, other fields.
func ParseVersions(id string, layouts []Layout) (v Versions, ok bool) {
	v.id = id
	for i, part := range strings.Split(id, "+") {
		slash, hash := strings.LastIndexByte(part, '/'), strings.LastIndexByte(part, '#')
		if slash < 0 || hash < slash {
			return v, false
		}
		name := part[:slash]
		version, err := strconv.Atoi(part[slash+1 : hash])
		if err != nil || v.Of(name) != 0 || i == 0 && name != layouts[0].Name {
			return v, false
		}
		known := false
		for _, l := range layouts {
			if l.Name == name {
				known = version >= 1 && version <= len(l.Sums) && l.Sums[version-1] == part[hash+1:]
			}
		}
		if !known {
			return v, false
		}
		v.names, v.versions = append(v.names, name), append(v.versions, version)
	}
	return v, true
}
