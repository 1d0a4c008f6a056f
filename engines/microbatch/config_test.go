package microbatch

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// TestConfig: the configuration reads its own JSON, and says all that is wrong.
func TestConfig(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	text := `{"interval":"50ms","clock":"queueing","rate":{"initial":"10k/s","maxPerPartition":250,"maxRecordsPerBatch":1000,"pid":{"enabled":false,"minRate":"5/s"}},"watermark":"min-over-partitions","cores":3}`
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		t.Fatal(err)
	}
	if c.Interval.Std() != 50*time.Millisecond || c.Clock != Queueing || c.Rate.Initial != 10_000 || c.Rate.MaxPerPartition != 250 || c.Rate.PID.Integral != 0.2 || c.Rate.PID.MinRate != 5 || c.cores() != 3 {
		t.Errorf("%+v", c)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	again := Default()
	if err := json.Unmarshal(b, again); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%s: %+v, %v", b, again, err)
	}
	bad := &Config{Clock: "sundial", Rate: RateConfig{MinPerPartition: -1, PID: PIDConfig{Enabled: true, Derivative: -1}}}
	want := []string{"interval: a duration above 0s", "clock: one of skipping, queueing", "watermark: one of", "rate.minPerPartition:", "rate.pid.derivative:", "rate.pid.minRate:", "stateSnapshotEvery:", "retainedBatches:", "batchAttempts:"}
	err = bad.Validate()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in %v", w, err)
		}
	}
	for _, s := range []string{`"-5/s"`, `"fast"`, `-1`} {
		if err := json.Unmarshal([]byte(s), new(Rate)); err == nil {
			t.Errorf("rate %s was accepted", s)
		}
	}
	for _, s := range []string{`"500"`, `"-1s"`} {
		if err := json.Unmarshal([]byte(s), new(Duration)); err == nil {
			t.Errorf("duration %s was accepted", s)
		}
	}
}

// TestRefusedJobs are the jobs that never start.
func TestRefusedJobs(t *testing.T) {
	b := newBed(t, 1, connectors.ExactlyOnce)
	b.graph = func() *pipeline.Graph { return countGraph(b.topic, plain{b.store}) }
	if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), `sink "out" (memory) cannot hold a batch in one transaction`) {
		t.Errorf("start: %v", err)
	}
	b.store.only = []connectors.Guarantee{connectors.AtLeastOnce}
	b.graph = func() *pipeline.Graph { return countGraph(b.topic, b.store) }
	if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), "cannot give exactly-once") {
		t.Errorf("start: %v", err)
	}
	b.config.Interval = 0
	if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), "interval: a duration above 0s") {
		t.Errorf("start: %v", err)
	}
	if _, err := New().Start(context.Background(), b.job(), 7, engines.Runtime{}); err == nil {
		t.Error("a configuration of another type was accepted")
	}
}

// plain hides that a store can hold transactions.
type plain struct{ connectors.Sink }
