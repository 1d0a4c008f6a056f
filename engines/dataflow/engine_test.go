package dataflow

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

func TestConfiguration(t *testing.T) {
	c := New().Config().(*Config)
	if err := c.Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"bufferTimeout":"10ms","checkpoint":{"interval":"1s","timeout":"10m0s","minPause":"0s","tolerableFailures":0,"concurrent":1,"unaligned":false,"alignedTimeout":"0s","retained":1},` +
		`"buffers":{"size":32768,"exclusivePerChannel":2,"floatingPerGate":8,"overdraft":5,"debloat":{"enabled":false,"target":"1s","period":"200ms","samples":20,"thresholdPercent":25}},"restart":{"strategy":"none","attempts":1,"failures":1,"interval":"1m0s","delay":"1s",` +
		`"initial":"1s","max":"1m0s","multiplier":1.5,"jitter":0.1,"reset":"1h0m0s"},"taskManagers":1,"lease":"2s","watchdog":"30s","cancelTimeout":"3m0s","flowControl":"credit","watermarkInterval":"200ms","watermark":"min"}`
	if string(b) != want {
		t.Errorf("written as %s", b)
	}
	for text, timeout := range map[string]BufferTimeout{"-1": -1, "0": 0, "0s": 0, "100ms": 100e6} {
		c := DefaultConfig()
		if err := json.Unmarshal([]byte(`{"bufferTimeout":"`+text+`"}`), &c); err != nil || c.BufferTimeout != timeout {
			t.Errorf("bufferTimeout %s: %d, %v", text, c.BufferTimeout, err)
		}
		again, _ := json.Marshal(c)
		d := DefaultConfig()
		if err := json.Unmarshal(again, &d); err != nil || d != c {
			t.Errorf("bufferTimeout %s does not survive: %+v, %v", text, d, err)
		}
	}
	for text, want := range map[string]string{
		`{"bufferTimeout":"10"}`:                                          "the unit is missing",
		`{"bufferTimeout":"-2s"}`:                                         "or 0 (flush at once) or -1 (only full buffers)",
		`{"checkpoint":{"interval":"-1s"}}`:                               "a duration of 0s to 720h",
		`{"checkpoint":{"interval":"0s"}}`:                                "checkpoint.interval: a duration above 0s",
		`{"checkpoint":{"timeout":"0s"}}`:                                 "checkpoint.timeout: a duration above 0s",
		`{"checkpoint":{"concurrent":0}}`:                                 "checkpoint.concurrent: 1 to 16",
		`{"checkpoint":{"unaligned":true,"concurrent":2}}`:                "checkpoint.unaligned: with concurrent 1 only",
		`{"checkpoint":{"alignedTimeout":"1s"}}`:                          "checkpoint.alignedTimeout: only with unaligned: true",
		`{"checkpoint":{"retained":0}}`:                                   "checkpoint.retained: 1 to 100",
		`{"checkpoint":{"tolerableFailures":-1}}`:                         "checkpoint.tolerableFailures: 0 to 100",
		`{"buffers":{"exclusivePerChannel":0}}`:                           "buffers.exclusivePerChannel: 1 to 1024",
		`{"buffers":{"floatingPerGate":-1}}`:                              "buffers.floatingPerGate: 0 to 65536",
		`{"buffers":{"debloat":{"enabled":true,"target":"0s"}}}`:          "buffers.debloat.target: 1ms or more",
		`{"buffers":{"debloat":{"enabled":true,"period":"0s"}}}`:          "buffers.debloat.period: 1ms or more",
		`{"buffers":{"debloat":{"enabled":true,"samples":0}}}`:            "buffers.debloat.samples: 1 to 10000",
		`{"buffers":{"debloat":{"enabled":true,"thresholdPercent":101}}}`: "buffers.debloat.thresholdPercent: 0 to 100",
		`{"buffers":{"overdraft":0}}`:                                     "buffers.overdraft: 1 to 65536",
		`{"restart":{"strategy":"always"}}`:                               "restart.strategy: none, fixed-delay, failure-rate or exponential-delay",
		`{"restart":{"initial":"2h"}}`:                                    "restart.initial: a duration above 0s and up to restart.max",
		`{"taskManagers":0}`:                                              "taskManagers: 1 to 64",
		`{"watchdog":"0s"}`:                                               "watchdog: a duration above 0s",
		`{"cancelTimeout":"0s"}`:                                          "cancelTimeout: a duration above 0s",
		`{"watermarkInterval":"0s"}`:                                      "watermarkInterval: a duration above 0s",
	} {
		c := DefaultConfig()
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = c.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestPlan(t *testing.T) {
	b := newBroker()
	g := pipeline.New("picture")
	in := pipeline.From(g, "source", topic{b, "in"}, decodeItem).Codec(itemCodec)
	mapped := pipeline.Map(in, "map", func(v item) item { return v }).Codec(itemCodec)
	other := pipeline.From(g, "other", topic{b, "on"}, decodeItem).Codec(itemCodec).Parallelism(1)
	both := pipeline.Map(pipeline.Union(mapped, other), "both", func(v item) item { return v }).Codec(itemCodec)
	counts := countBy(both).Parallelism(3)
	pipeline.To(counts, "out", output{b}, encodeItem)
	plan, err := New().Plan(engines.Job{Name: "picture", Graph: g, Parallelism: 4, Guarantee: connectors.AtLeastOnce}, New().Config())
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(plan, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range plan.Stages {
		line := s.Name
		for _, i := range s.Inputs {
			line += " < " + plan.Stages[i.From].Name + " (" + i.Partitioning + ")"
		}
		lines = append(lines, line)
	}
	want := []string{
		"source → map",
		"other",
		"both < source → map (forward) < other (rebalance)", // two inputs: not chained
		"count < both (hash)",
		"out < count (rebalance)",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("plan\n%s\n%s", strings.Join(lines, "\n"), got)
	}
	expect(t, []int{plan.Stages[0].Parallelism, plan.Stages[1].Parallelism, plan.Stages[3].Parallelism, plan.Stages[4].Parallelism}, []int{4, 1, 3, 4})
}

// directOnly is a sink that cannot take up transactions of a dead process.
type directOnly struct{ connectors.Sink }

func TestRefusals(t *testing.T) {
	w := newWorld(t, connectors.ExactlyOnce, 1)
	start := func(job engines.Job, cfg any) string {
		_, err := New().Start(context.Background(), job, cfg, w.rt)
		if err == nil {
			t.Fatal("accepted")
		}
		return err.Error()
	}
	w.job.Graph = counting(topic{w.b, "in"}, directOnly{output{w.b}})
	for _, c := range []struct{ got, want string }{
		{start(w.job, w.cfg), `sink "out" (memory) cannot take up the transactions of a dead process`},
		{start(w.job, Config{}), "not a *dataflow.Config"},
		{start(w.job, &Config{}), "dataflow: checkpoint.interval: a duration above 0s"},
		{start(engines.Job{Name: "j", Graph: w.job.Graph, Folder: w.folder, Guarantee: "twice"}, w.cfg), `cannot give twice`},
		{start(engines.Job{Name: "j", Graph: w.job.Graph, Guarantee: connectors.AtLeastOnce}, w.cfg), "no folder for checkpoints"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("got %s\nwant %s", c.got, c.want)
		}
	}
	names, err := w.folder.List("")
	if err != nil || len(names) != 0 {
		t.Errorf("a refused job leaves %v, %v", names, err)
	}
}

func TestPointsAreThoseOfTheCatalogue(t *testing.T) {
	var names []string
	for _, p := range New().Points() {
		names = append(names, p.Name)
		if p.Doc == "" {
			t.Errorf("%s says nothing", p.Name)
		}
	}
	expect(t, names, "[D0 D1 D2 D3 D4 D5 D6 D7 D8 R1 R2]")
}
