package keyedsum

import (
	"strings"
	"testing"

	"streamduel/workloads/internal/trial"
)

func params(aggregation string) *Params {
	p := Workload().Params().(*Params)
	p.Keys, p.HotKey, p.Aggregation, p.Salts, p.Records = 7, 0.5, aggregation, 4, 5
	return p
}

// Both ways end with the oracle's counts and hashes, whatever the parallelism
// and behind a restart; two stages get there in fewer outputs.
func TestSums(t *testing.T) {
	outputs := map[string]int{}
	for _, aggregation := range []string{Plain, TwoStage} {
		for name, o := range map[string]trial.Options{
			"one task": {}, "four": {Parallelism: 4}, "unchained": {Parallelism: 2, Unchained: true},
			"restarted": {Parallelism: 2, Restart: 20}, "starved": {Parallelism: 3, Buffers: 1},
		} {
			t.Run(aggregation+" "+name, func(t *testing.T) {
				w, p := Workload(), params(aggregation)
				res := trial.Run(t, w, p, o)
				want, _ := trial.Evaluate(t, w, p, o, res.Inputs, nil)
				last := map[string]trial.Expected{}
				for _, r := range res.Rows {
					if r.Closing {
						continue
					}
					if before := last[string(r.Key)]; r.Value <= before.Value {
						t.Fatalf("key %s went from %d to %d", r.Key, before.Value, r.Value)
					}
					last[string(r.Key)] = trial.Expected{Value: r.Value, Inputs: r.Value, Hash: r.IDHash}
				}
				for c, e := range want {
					if last[c.Key] != e {
						t.Errorf("key %s ends with %+v, want %+v", c.Key, last[c.Key], e)
					}
				}
				if hot := last["0000000"].Value; hot < 900 || hot > 1300 {
					t.Errorf("the hot key has %d of 2000 records, half and a seventh of the rest are to be expected", hot)
				}
				trial.CheckClosings(t, res.Rows, 3)
				if name == "one task" {
					outputs[aggregation] = len(res.Rows)
				}
			})
		}
	}
	if outputs[TwoStage]*2 > outputs[Plain] {
		t.Errorf("two stages took %d outputs, one %d", outputs[TwoStage], outputs[Plain])
	}
}

func TestGenerator(t *testing.T) {
	trial.CheckDeterminism(t, Workload(), params(Plain))
}

func TestAllocations(t *testing.T) {
	for _, aggregation := range []string{Plain, TwoStage} {
		p := params(aggregation)
		p.Records = 0 // parts then stay, as keys do
		trial.CheckAllocations(t, Workload(), p, false)
	}
}

func TestValidate(t *testing.T) {
	for field, break_ := range map[string]func(*Params){
		"aggregation": func(p *Params) { p.Aggregation = "three-stage" },
		"hotKey":      func(p *Params) { p.HotKey = 1.5 },
		"salts":       func(p *Params) { p.Salts = 1 },
		"records":     func(p *Params) { p.Records = -1 },
		"interval":    func(p *Params) { p.Interval = 0 },
		"work":        func(p *Params) { p.Work = -1 },
		"keys":        func(p *Params) { p.Keys = 0 },
	} {
		p := params(Plain)
		break_(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
