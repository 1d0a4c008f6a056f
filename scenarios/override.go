package scenarios

import (
	"fmt"
	"strconv"
	"strings"
)

// Override is one --set path=value.
type Override struct {
	Path  string
	Value string // YAML, so that lists and mappings can be given too

	// From names the override in errors; "" stands for "--set path=value".
	From string

	node *node // the value, if it comes from a file
}

// ParseOverride splits "path=value". The path is a field's path as error
// messages write it: load.rate, engines.microbatch.interval, phases[2].duration
// or, by the phase's name, phases.steady.duration.
func ParseOverride(s string) (Override, error) {
	path, value, ok := strings.Cut(s, "=")
	o := Override{Path: strings.TrimSpace(path), Value: strings.TrimSpace(value)}
	if !ok || o.Path == "" {
		return o, Problems{{Set: "--set " + s, Allowed: "must be path=value, such as load.rate=10k/s"}}
	}
	if _, err := splitPath(o.Path); err != nil {
		return o, Problems{{Set: "--set " + s, Allowed: err.Error()}}
	}
	return o, nil
}

// String gives the override as it was written.
func (o Override) String() string { return o.Path + "=" + o.Value }

// origin is how a problem names the override.
func (o Override) origin() string {
	if o.From != "" {
		return o.From
	}
	return "--set " + o.String()
}

// splitPath cuts a.b[2].c into a, b, 2, c.
func splitPath(path string) ([]string, error) {
	bad := fmt.Errorf("%q is no path: names separated by dots, list items as phases[0] or phases.steady", path)
	var out []string
	for _, part := range strings.Split(path, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name == "" {
			return nil, bad
		}
		out = append(out, name)
		for indexed {
			var index string
			var closed bool
			if index, rest, closed = strings.Cut(rest, "]"); !closed {
				return nil, bad
			}
			if _, err := strconv.ParseUint(index, 10, 16); err != nil {
				return nil, bad
			}
			out = append(out, index)
			if rest == "" {
				break
			}
			if rest[0] != '[' {
				return nil, bad
			}
			rest = rest[1:]
		}
	}
	if len(out) > maxDepth {
		return nil, bad
	}
	return out, nil
}

// apply grafts the value onto the tree. Missing mappings are made: whether the
// fields exist is for the strict decoder to say, with the same suggestions as
// for a file.
func (o Override) apply(root *node) Problems {
	parts, err := splitPath(o.Path)
	if err != nil {
		return Problems{{Set: o.origin(), Allowed: err.Error()}}
	}
	value, problems := o.tree()
	if problems != nil {
		return problems
	}
	return graft(root, parts, value, o.Path, place{set: o.origin()})
}

// tree parses the value.
func (o Override) tree() (*node, Problems) {
	if o.node != nil {
		value := o.node.clone()
		value.mark(o.origin())
		return value, nil
	}
	if o.Value == "" {
		return &node{kind: kindNull, set: o.origin()}, nil
	}
	value, problems := parseTree("", []byte(o.Value))
	if problems != nil {
		return nil, Problems{{Set: o.origin(), Value: o.Value, HasValue: true, Allowed: problems[0].Allowed}}
	}
	value.mark(o.origin())
	return value, nil
}

// mark makes the override the origin of a whole tree.
func (n *node) mark(set string) {
	n.set = set
	for i := range n.fields {
		n.fields[i].set = set
		n.fields[i].value.mark(set)
	}
	for _, it := range n.items {
		it.mark(set)
	}
}

// graft puts value at a path; from is the place that asked for it.
func graft(root *node, parts []string, value *node, path string, from place) Problems {
	fail := func(text string) Problems {
		return Problems{{Line: from.line, Col: from.col, Set: from.set, Field: path, Allowed: text}}
	}
	at := root
	for i, part := range parts {
		last := i == len(parts)-1
		switch at.kind {
		case kindList:
			index := listIndex(at, part)
			if index < 0 {
				return fail(fmt.Sprintf("no item %q in %s%s", part, strings.Join(parts[:i], "."), oneOfItems(at, part)))
			}
			if last {
				at.items[index] = value
				return nil
			}
			at = at.items[index]
		case kindMapping, kindNull:
			if at.kind == kindNull {
				*at = node{kind: kindMapping, line: at.line, col: at.col, set: from.set}
			}
			f, ok := at.get(part)
			if !ok {
				empty := &node{kind: kindMapping, line: from.line, col: from.col, set: from.set}
				at.fields = append(at.fields, field{key: part, line: from.line, col: from.col, set: from.set, value: empty})
				f = &at.fields[len(at.fields)-1]
			}
			if last {
				f.value, f.line, f.col, f.set = value, from.line, from.col, from.set
				return nil
			}
			at = f.value
		default:
			return fail(fmt.Sprintf("%s is %s and has no %q", strings.Join(parts[:i], "."), at.kind, part))
		}
	}
	return nil
}

// listIndex finds an item by its number, by its `name` field, or by its only
// key (a gate by its scope).
func listIndex(list *node, part string) int {
	if i, err := strconv.Atoi(part); err == nil {
		if i >= 0 && i < len(list.items) {
			return i
		}
		return -1
	}
	for i, it := range list.items {
		if name, ok := it.get("name"); ok && name.value.text == part {
			return i
		}
	}
	return -1
}

func oneOfItems(list *node, part string) string {
	var names []string
	for _, it := range list.items {
		if name, ok := it.get("name"); ok {
			names = append(names, name.value.text)
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf(", which has %d", len(list.items))
	}
	return ": " + oneOf(part, names)
}
