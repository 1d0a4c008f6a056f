package schedule

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// picture is the reference: source and map at 4, reduce at 3.
func picture() []Vertex {
	return []Vertex{
		{Name: "source → map", Parallelism: 4, Group: "default"},
		{Name: "reduce", Parallelism: 3, Group: "default", Inputs: []Input{{From: 0}}},
	}
}

func TestPlace(t *testing.T) {
	places, err := Place(picture(), Cluster{3, 3})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for v, vertex := range picture() {
		for i := range vertex.Parallelism {
			s := places[Subtask{v, i}]
			got = append(got, fmt.Sprintf("%d/%d", s.TaskManager, s.Index))
		}
	}
	if want := "0/0 0/1 0/2 1/0 0/0 0/1 0/2"; strings.Join(got, " ") != want {
		t.Errorf("placed at %v, want %s", got, want)
	}
}

func TestGroupsAddUp(t *testing.T) {
	vs := picture()
	vs[1].Group = "heavy"
	gs, needed := Groups(vs)
	if needed != 7 || fmt.Sprint(gs) != "[{default 4} {heavy 3}]" {
		t.Errorf("%d slots, %v", needed, gs)
	}
	_, err := Place(vs, Cluster{3, 3})
	want := "the job needs 7 slots (slot-sharing groups: default 4, heavy 3) and there are 6 (task managers: 3 + 3): add 1 more, lower the parallelism, or let operators share a group"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if c := Uniform(2, 0, 7); fmt.Sprint(c) != "[4 4]" {
		t.Errorf("as many as needed: %v", c)
	}
}

// TestPlacementsAreWhole: whatever the job, each subtask has a slot, no slot
// holds two subtasks of one vertex or of two groups.
func TestPlacementsAreWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		vs := make([]Vertex, 1+rng.IntN(6))
		for i := range vs {
			vs[i] = Vertex{Name: fmt.Sprint(i), Parallelism: 1 + rng.IntN(5), Group: fmt.Sprint(rng.IntN(3))}
		}
		_, needed := Groups(vs)
		c := make(Cluster, 1+rng.IntN(4))
		for c.Slots() < needed {
			c[rng.IntN(len(c))]++
		}
		places, err := Place(vs, c)
		if err != nil {
			t.Fatal(err)
		}
		type key struct {
			Slot
			vertex int
		}
		seen, group := map[key]bool{}, map[Slot]string{}
		for v := range vs {
			for i := range vs[v].Parallelism {
				s, ok := places[Subtask{v, i}]
				if !ok || seen[key{s, v}] || s.Index >= c[s.TaskManager] {
					t.Fatalf("%v in %v: subtask %d/%d at %v", vs, c, v, i, s)
				}
				seen[key{s, v}] = true
				if g, ok := group[s]; ok && g != vs[v].Group {
					t.Fatalf("slot %v is shared by groups %s and %s", s, g, vs[v].Group)
				}
				group[s] = vs[v].Group
			}
		}
	}
}

func TestRegions(t *testing.T) {
	for _, c := range []struct {
		name string
		vs   []Vertex
		want string
	}{
		{"an exchange with a key joins all", picture(), "[[{0 0} {0 1} {0 2} {0 3} {1 0} {1 1} {1 2}]]"},
		{"without an exchange each subtask is alone", []Vertex{{Parallelism: 3}}, "[[{0 0}] [{0 1}] [{0 2}]]"},
		{"unless its sinks recover together", []Vertex{{Parallelism: 3, Joint: true}}, "[[{0 0} {0 1} {0 2}]]"},
		{"pointwise", []Vertex{{Parallelism: 2}, {Parallelism: 2, Inputs: []Input{{0, true}}}}, "[[{0 0} {1 0}] [{0 1} {1 1}]]"},
		{"two pipelines", []Vertex{{Parallelism: 1}, {Parallelism: 1}, {Parallelism: 2, Inputs: []Input{{From: 0}}}, {Parallelism: 2, Inputs: []Input{{From: 1}}}},
			"[[{0 0} {2 0} {2 1}] [{1 0} {3 0} {3 1}]]"},
	} {
		if got := fmt.Sprint(Regions(c.vs)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// failures asks a strategy at the given seconds.
func failures(r Restart, at ...float64) (out []string) {
	start := time.Unix(0, 0)
	for _, s := range at {
		d, err := r.Failed(start.Add(time.Duration(s * float64(time.Second))))
		if err != nil {
			out = append(out, "no: "+err.Error())
			continue
		}
		out = append(out, d.String())
	}
	return out
}

func TestRestartStrategies(t *testing.T) {
	half := func() float64 { return 0.5 }
	for _, c := range []struct {
		r    Restart
		at   []float64
		want string
	}{
		{None{}, []float64{0}, "[no: the restart strategy is none]"},
		{&FixedDelay{Attempts: 2, Delay: time.Second}, []float64{0, 100, 200}, "[1s 1s no: restarted 2 times, which is what the fixed delay strategy allows]"},
		{&FailureRate{Failures: 2, Interval: 10 * time.Second, Delay: time.Second}, []float64{0, 5, 11, 12}, "[1s 1s 1s no: 3 failures within 10s, and the failure rate strategy allows 2]"},
		{&ExponentialDelay{Initial: time.Second, Max: 4 * time.Second, Multiplier: 2, Reset: 10 * time.Second}, []float64{0, 2, 5, 10, 20, 40}, "[1s 2s 4s 4s 4s 1s]"},
		{&ExponentialDelay{Initial: time.Second, Max: 60 * time.Second, Multiplier: 1.5, Jitter: 0.1, Reset: time.Hour, Random: half}, []float64{0, 2, 4}, "[1s 1.5s 2.25s]"},
		{&ExponentialDelay{Initial: time.Second, Max: 60 * time.Second, Multiplier: 1.5, Jitter: 0.1, Reset: time.Hour, Random: func() float64 { return 0 }}, []float64{0, 2}, "[900ms 1.35s]"},
	} {
		if got := fmt.Sprint(failures(c.r, c.at...)); got != c.want {
			t.Errorf("%T: %s, want %s", c.r, got, c.want)
		}
	}
}
