package ledger

import (
	"strings"
	"testing"

	"streamduel/workloads"
)

// TestMatches: outputs name the input that brought them about, and most inputs
// bring nothing about. What must come out is the oracle's to say; without one
// copies are known and losses are not, and no figure pretends otherwise.
func TestMatches(t *testing.T) {
	f := newFixture(t, workloads.Matches, 4, 7, 1000)
	f.drop = func(i int64) bool { return i%10 != 0 }
	var rows []Observation
	for i := int64(0); i < f.n; i += 10 {
		rows = append(rows, f.row(i, 0))
	}
	lost, again := rows[5:], append(append([]Observation{}, rows...), rows[3])
	for _, c := range []struct {
		name   string
		oracle bool
		rows   []Observation
		want   figures
	}{
		{"with an oracle", true, rows, figures{Visible: 100}},
		{"a loss", true, lost, figures{Visible: 95, Losses: 5}},
		{"a copy", true, again, figures{Visible: 100, Duplicates: 1}},
		{"without", false, rows, figures{Visible: 100}},
		{"a loss that nobody can see", false, lost, figures{Visible: 95}},
		{"a copy without an oracle", false, again, figures{Visible: 100, Duplicates: 1}},
		{"an invention", true, append([]Observation{f.row(1, 0)}, rows...), figures{Visible: 100, Unexpected: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := f.ledger(t, c.oracle)
			r := f.judge(t, l, c.rows)
			want(t, r, c.want)
			if l.PerInput() {
				t.Error("matches are not counted by input")
			}
			acc := workloads.Accounting{Kind: workloads.Matches}
			known := r.Records(nil).Losses != nil
			if why := r.Unknowable("records.losses", acc); known != c.oracle || (why == "") != c.oracle {
				t.Errorf("losses known: %v, because %q", known, why)
			}
			if why := r.Unknowable("records.duplicates", acc); why != "" {
				t.Errorf("copies are known: %s", why)
			}
			if why := r.Unknowable("crash.expected.duplicates", acc); !strings.Contains(why, "answer one input") {
				t.Errorf("the crash catalogue says nothing of matches, but: %q", why)
			}
		})
	}
}
