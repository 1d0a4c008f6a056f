package microbatch

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/pipeline"
)

func sizes(p *process) (out []int64) {
	for _, b := range batches(p.all("batchCompleted")) {
		out = append(out, b.Records)
	}
	return out
}

// TestOnce: one batch of all that is there, whatever the limits; a batch that a
// crash left behind is that one batch.
func TestOnce(t *testing.T) {
	b := newBed(t, 2, connectors.ExactlyOnce)
	b.config.Trigger = Once
	b.config.Rate.MaxRecordsPerBatch = 10
	b.config.Rate.Initial = 5
	b.topic.fill(100, 7)
	p := b.start()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := sizes(p); !slices.Equal(got, []int64{100}) {
		t.Errorf("batches of %v records", got)
	}
	b.topic.fill(20, 7)
	p = b.startArmed("M1", 1)
	if p.Wait() == nil {
		t.Fatal("no crash")
	}
	p.cancel()
	b.topic.fill(10, 7)
	p = b.start()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := sizes(p); !slices.Equal(got, []int64{20}) {
		t.Errorf("after the crash batches of %v records", got)
	}
	b.expect(0, 10) // which came after that batch
	p = b.start()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	b.expect(0, 0)
	p = b.start() // nothing to do is fine
	if err := p.Wait(); err != nil || len(sizes(p)) != 0 {
		t.Errorf("%v, batches of %v", err, sizes(p))
	}
}

// TestAvailableNow: as many batches as the limits ask for, up to the ends that
// were seen first; then what the watermark closes; then the job ends.
func TestAvailableNow(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	b.config.Trigger = AvailableNow
	b.config.Interval = Duration(time.Hour) // plays no part
	b.config.Rate.MaxRecordsPerBatch = 40
	b.config.Rate.MinRecordsPerBatch = 30 // nor does this
	b.discovery = time.Nanosecond
	b.topic.fill(100, 7)
	first := true
	b.graph = func() *pipeline.Graph {
		g := pipeline.New("count")
		n := counted(pipeline.From(g, "in", b.topic, decodeEvent), "count")
		n = pipeline.Map(n, "more", func(e event) event {
			if first { // comes while the first batch runs, and has to wait for another start
				first = false
				b.topic.grow(3)
				b.topic.fill(30, 7)
			}
			return e
		})
		pipeline.To(n, "out", b.store, encodeEvent)
		return g
	}
	b.parallel = 1
	p := b.start()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := sizes(p); !slices.Equal(got, []int64{40, 40, 20}) {
		t.Errorf("batches of %v records", got)
	}
	b.expect(0, 30)
	p = b.start()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	b.expect(0, 0)
}

func TestAvailableNowClosesWindows(t *testing.T) {
	b := newBed(t, 1, connectors.AtLeastOnce)
	b.config.Trigger = AvailableNow
	late := &store{}
	b.graph = func() *pipeline.Graph { return windowGraph(b.topic, b.store, late, 10, 0) }
	for i := range 25 {
		b.topic.addAt(0, 1, int64(i))
	}
	p := b.start()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := windowsOf(b.store); !slices.Equal(got, []string{"key 1 window 0: 10", "key 1 window 10: 10"}) {
		t.Errorf("windows %v", got) // the last one stays open: the stream goes on
	}
	if got := sizes(p); !slices.Equal(got, []int64{25, 0}) {
		t.Errorf("batches of %v records", got)
	}
}

// TestMinimum: a batch waits for enough records, but not for ever.
func TestMinimum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(time.Second)
		b.config.Rate.MinRecordsPerBatch = 50
		b.config.Rate.MaxTriggerDelay = Duration(10 * time.Second)
		b.topic.fill(3, 7)
		p := b.start()
		<-time.After(500 * time.Millisecond) // the first batch takes three
		b.topic.fill(20, 7)
		<-time.After(5 * time.Second)
		b.topic.fill(35, 7) // 55 after 5.5 s
		<-time.After(2 * time.Second)
		b.topic.fill(7, 7)
		<-time.After(20 * time.Second)
		p.stopNow()
		if got := sizes(p); !slices.Equal(got, []int64{3, 55, 7}) {
			t.Errorf("batches of %v records", got)
		}
		b.expect(0, 0)
	})
}

func TestTriggerRefusals(t *testing.T) {
	for want, edit := range map[string]func(*Config){
		"trigger: one of":                     func(c *Config) { c.Trigger = "sometimes" },
		"trigger: processing-time with":       func(c *Config) { c.Trigger, c.Clock = Once, Queueing },
		"rate.minRecordsPerBatch: at most":    func(c *Config) { c.Rate.MinRecordsPerBatch, c.Rate.MaxRecordsPerBatch = 5, 4 },
		"rate.minRecordsPerBatch: 0 with the": func(c *Config) { c.Rate.MinRecordsPerBatch, c.Clock = 5, Queueing },
	} {
		c := Default()
		edit(c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
