package window

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"
)

type span [2]int64

func (s span) window() Window { return Window{s[0], s[1]} }

func windowsOf(ss []span) (ws []Window) {
	for _, s := range ss {
		ws = append(ws, s.window())
	}
	return ws
}

func vectors(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func sorted(ws []Window) []Window {
	slices.SortFunc(ws, func(a, b Window) int { return cmp64(a.Start, b.Start) })
	return ws
}

func TestKnownAnswersOfAssigners(t *testing.T) {
	var v struct {
		Starts []struct {
			Timestamp int64 `json:"timestamp_ms"`
			Offset    int64 `json:"offset_ms"`
			Size      int64 `json:"size_ms"`
			Expect    int64 `json:"expect_start_ms"`
		} `json:"window_start_with_offset"`
		Intersects []struct {
			A, B   span
			Expect bool `json:"expect_intersects"`
		} `json:"intersects_touching_counts"`
		Sessions []struct {
			Gap       int64  `json:"gap_ms"`
			Timestamp int64  `json:"timestamp_ms"`
			Expect    []span `json:"expect_windows"`
		} `json:"session_assign"`
		SessionErrors []struct {
			Gap int64 `json:"gap_ms"`
		} `json:"session_assign_errors"`
		Merges []struct {
			Test    string
			Windows []span
			Expect  []struct {
				From []span
				Into span
			} `json:"expect_merges"`
		} `json:"session_merge_batch"`
		Cases []struct {
			Test     string
			Assigner struct {
				Type    string
				Size    int64 `json:"size_ms"`
				Slide   int64 `json:"slide_ms"`
				Offset  int64 `json:"offset_ms"`
				Stagger string
				First   int64 `json:"first_event_processing_time_ms"`
			}
			Timestamp int64  `json:"timestamp_ms"`
			Expect    []span `json:"expect_windows"`
			Error     bool   `json:"expect_error"`
		}
	}
	vectors(t, "flink_window_assigners.json", &v)
	if len(v.Starts) != 31 || len(v.Cases) != 35 {
		t.Fatalf("%d and %d cases", len(v.Starts), len(v.Cases))
	}
	for _, c := range v.Starts {
		if got := StartOf(c.Timestamp, c.Offset, c.Size); got != c.Expect {
			t.Errorf("StartOf(%d, %d, %d) = %d, want %d", c.Timestamp, c.Offset, c.Size, got, c.Expect)
		}
	}
	for _, c := range v.Intersects {
		if got := c.A.window().Intersects(c.B.window()); got != c.Expect {
			t.Errorf("%v intersects %v: %v", c.A, c.B, got)
		}
	}
	for _, c := range v.Sessions {
		if got := EventTimeSession(millis(c.Gap)).Assign(nil, c.Timestamp); !slices.Equal(got, windowsOf(c.Expect)) {
			t.Errorf("session of %d at %d: %v", c.Gap, c.Timestamp, got)
		}
	}
	for _, c := range v.SessionErrors {
		if EventTimeSession(millis(c.Gap)).Check() == nil {
			t.Errorf("gap %d is allowed", c.Gap)
		}
	}
	for _, c := range v.Merges {
		got := MergeAll(windowsOf(c.Windows))
		if len(got) != len(c.Expect) {
			t.Fatalf("%s: %v", c.Test, got)
		}
		for i, m := range got {
			if m.Into != c.Expect[i].Into.window() || !slices.Equal(m.From, sortedCover(windowsOf(c.Expect[i].From))) {
				t.Errorf("%s: %v, want %v", c.Test, m, c.Expect[i])
			}
		}
	}
	for _, c := range v.Cases {
		a := TumblingEventTime(millis(c.Assigner.Size))
		if c.Assigner.Type == "sliding" {
			a = SlidingEventTime(millis(c.Assigner.Size), millis(c.Assigner.Slide))
		}
		offset := c.Assigner.Offset
		if c.Assigner.Stagger == "NATURAL" {
			offset += NaturalOffset(c.Assigner.First, c.Assigner.Size)
		}
		a = a.Offset(millis(offset))
		if err := a.Check(); (err != nil) != c.Error {
			t.Errorf("%s: %v", c.Test, err)
			continue
		}
		if c.Error {
			continue
		}
		if got := sorted(a.Assign(nil, c.Timestamp)); !slices.Equal(got, windowsOf(c.Expect)) {
			t.Errorf("%s: %+v at %d: %v, want %v", c.Test, c.Assigner, c.Timestamp, got, c.Expect)
		}
	}
}

// sortedCover sorts as MergeAll does, by start and then end.
func sortedCover(ws []Window) []Window {
	slices.SortFunc(ws, func(a, b Window) int {
		if a.Start != b.Start {
			return cmp64(a.Start, b.Start)
		}
		return cmp64(a.End, b.End)
	})
	return ws
}

func TestKnownAnswersOfSessionMerging(t *testing.T) {
	var v struct {
		Cases []struct {
			Test  string
			Steps []struct {
				Add, Retire  *span
				In           span    `json:"expect_in_window"`
				Merged       bool    `json:"expect_merged"`
				Target       *span   `json:"expect_merge_target"`
				Sources      *[]span `json:"expect_merge_sources"`
				ExpectAbsent *span   `json:"expect_absent"`
			}
		}
	}
	vectors(t, "flink_session_merge_incremental.json", &v)
	if len(v.Cases) != 5 {
		t.Fatalf("%d cases", len(v.Cases))
	}
	for _, c := range v.Cases {
		var set []Window
		for i, s := range c.Steps {
			switch {
			case s.Add != nil:
				w := s.Add.window()
				lo, hi, into := Join(len(set), func(i int) Window { return set[i] }, w)
				sources := slices.Clone(set[lo:hi])
				merged := lo < hi && !(hi-lo == 1 && set[lo] == into)
				set = slices.Replace(set, lo, hi, into)
				if into != s.In.window() || merged != s.Merged {
					t.Errorf("%s, step %d: %v merged %v, want %v %v", c.Test, i, into, merged, s.In, s.Merged)
				}
				if s.Target != nil && into != s.Target.window() {
					t.Errorf("%s, step %d: into %v", c.Test, i, into)
				}
				if s.Sources != nil && !slices.Equal(sources, windowsOf(*s.Sources)) {
					t.Errorf("%s, step %d: from %v, want %v", c.Test, i, sources, *s.Sources)
				}
			case s.Retire != nil:
				set = slices.DeleteFunc(set, func(w Window) bool { return w == s.Retire.window() })
			case s.ExpectAbsent != nil:
				if slices.Contains(set, s.ExpectAbsent.window()) {
					t.Errorf("%s, step %d: %v is there", c.Test, i, *s.ExpectAbsent)
				}
			}
		}
	}
}
