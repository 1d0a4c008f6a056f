package plan

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"streamduel/workloads"
)

func badShape(share float64, kinds ...workloads.BadKind) Shape {
	s := Constant(1000)
	s.Bad = Bad{Share: share, Kinds: kinds, Seed: 7}
	return s
}

// TestBadRecordsAreThePlans: about the share that was asked for, of each kind
// about as many, the same ones behind JSON, none of them a closing record.
func TestBadRecordsAreThePlans(t *testing.T) {
	const n = 100_000
	p := mustPlan(t, badShape(0.02, workloads.BadKinds()...), Partitions("in", 3))
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	q := new(Plan)
	if err := json.Unmarshal(text, q); err != nil {
		t.Fatal(err)
	}
	kinds := map[workloads.BadKind]int{}
	for i := range int64(n) {
		k := p.Bad(i)
		if k != q.Bad(i) {
			t.Fatalf("record %d is %q, after JSON %q", i, k, q.Bad(i))
		}
		kinds[k]++
	}
	bad := 0
	for _, k := range workloads.BadKinds() {
		if got := kinds[k]; math.Abs(float64(got)-n*0.02/4) > 100 {
			t.Errorf("%d of kind %s", got, k)
		}
		bad += kinds[k]
	}
	if got := p.BadWithin(0, n); got != int64(bad) || p.BadWithin(0, 300)+p.BadWithin(300, n) != got {
		t.Errorf("%d bad records counted, %d seen", got, bad)
	}
	p = mustPlan(t, badShape(1, workloads.Undecodable), Partitions("in", 2))
	if err := p.Stop(50); err != nil {
		t.Fatal(err)
	}
	if p.BadWithin(0, 1000) != 50 || p.Bad(49) == "" || p.Bad(50) != "" {
		t.Error("all but the closing records are bad")
	}
	if p = mustPlan(t, Constant(10), Partitions("in", 1)); p.Bad(3) != "" || p.BadWithin(0, 100) != 0 {
		t.Error("a load that asks for none has bad records")
	}
	if s := badShape(0.5, workloads.Undecodable).Cut(1e9); s.Bad.Share != 0.5 {
		t.Error("cutting a load off made its bad records good")
	}
}

func TestBadSharesAreRefused(t *testing.T) {
	for want, s := range map[string]Shape{
		"0 to 1 is allowed":                  badShape(1.5, workloads.Undecodable),
		"bad records of no kind: allowed":    badShape(0.5),
		`bad records of kind "odd": allowed`: badShape(0.5, "odd"),
	} {
		if _, err := New(s, Partitions("in", 1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
