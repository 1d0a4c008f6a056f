package scenarios

import (
	"fmt"
	"sort"
	"strings"
)

// A Problem is one mistake in one scenario file (or in one --set argument).
// Its text is a single line.
type Problem struct {
	File      string // as the user named it; empty for an override
	Line, Col int    // 1-based; 0 when the place has no position
	Set       string // the whole override, "--set path=value", when one is at fault
	Field     string // path of the field, such as "phases[2].crash.hit"
	Value     string // the offending value as written
	HasValue  bool   // false where a value would say nothing, as for a missing field
	Allowed   string // what is wrong or what would be right
}

// Error gives the line that is shown to the user.
func (p Problem) Error() string {
	var b strings.Builder
	switch {
	case p.Set != "":
		b.WriteString(p.Set + ": ")
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Col)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	if p.HasValue {
		fmt.Fprintf(&b, "value %q: ", p.Value)
	}
	b.WriteString(p.Allowed)
	return oneLine(b.String())
}

// Problems are all mistakes that were found in a file, in reading order.
type Problems []Problem

// Error gives one line a problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted orders by position and drops repetitions: a matrix decodes the same
// file several times and would otherwise report each mistake once a value.
func (ps Problems) sorted() Problems {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		if (a.Set != "") != (b.Set != "") {
			return a.Set == ""
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		if a.Col != b.Col {
			return a.Col < b.Col
		}
		return a.Error() < b.Error()
	})
	seen := map[string]bool{}
	out := ps[:0]
	for _, p := range ps {
		if s := p.Error(); !seen[s] {
			seen[s] = true
			out = append(out, p)
		}
	}
	return out
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}

// oneOf says what is allowed, and which of it was probably meant.
func oneOf(value string, allowed []string) string {
	if len(allowed) == 0 {
		return "nothing is allowed here"
	}
	s := "one of " + strings.Join(allowed, ", ")
	if len(allowed) == 1 {
		s = "only " + allowed[0]
	}
	return s + didYouMean(value, allowed)
}

// didYouMean gives ` (did you mean "x"?)`, or nothing if no candidate is near.
func didYouMean(value string, candidates []string) string {
	best := nearest(value, candidates)
	if best == "" || best == value {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// nearest is the candidate that was probably meant, or "".
func nearest(value string, candidates []string) string {
	best, bestDistance := "", 1+max(1, len(value)/3)
	low := strings.ToLower(value)
	for _, c := range candidates {
		if d := editDistance(low, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours (optimal string alignment), the four slips that typists make.
func editDistance(a, b string) int {
	if len(a) > 128 || len(b) > 128 {
		return 1 << 20
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

// Suggest gives ` (did you mean "x"?)`, or "" if no candidate is near: the
// command's own flags and names use the same words as scenario files.
func Suggest(value string, candidates []string) string { return didYouMean(value, candidates) }
