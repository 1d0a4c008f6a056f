package microbatch

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"streamduel/connectors"
	"streamduel/engines"
)

// grow adds partitions to the topic.
func (f *far) grow(n int) {
	f.t.Helper()
	rs, err := kadm.NewClient(f.client).CreatePartitions(f.ctx, n, "in")
	if err == nil {
		err = rs.Error()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.made = append(f.made, make([]int64, n)...)
	f.topic.grow(len(f.made))
	f.connect() // the old client may not know them for a while
}

// TestNewSplitsInExecutors: tasks that run on and on are told of partitions that
// come later, and read them from their beginning.
func TestNewSplitsInExecutors(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"receivers": func(c *Config) {
			c.Source.Mode = Receiver
			c.Source.Receiver = ReceiverConfig{Receivers: 2, BlockInterval: Duration(10 * time.Millisecond), WriteAheadLog: true}
			c.Interval, c.Cores = Duration(50*time.Millisecond), 3
		},
		"continuous": func(c *Config) { c.Trigger, c.Interval = Continuous, Duration(50*time.Millisecond) },
		"real-time": func(c *Config) {
			c.Trigger, c.Interval, c.RealTime.MinBatchDuration = RealTime, Duration(50*time.Millisecond), 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t, connectors.AtLeastOnce, change)
			f.line.Does, f.discovery = "pass", 20*time.Millisecond
			p := f.startFar("", 0)
			f.produce(300)
			f.untilDurable(p)
			f.grow(2)
			f.produce(500)
			f.untilDurable(p)
			p.stop(engines.StopCheckpoint)
			f.read()
			f.expect(0, 0)
		})
	}
}
