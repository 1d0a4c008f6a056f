package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/harness/plan"
)

// topics knows how many partitions the client knows of each topic that it
// produces to: the client tells it to the partitioner with every record.
type topics struct {
	mu sync.Mutex
	n  map[string]*atomic.Int32
}

func (t *topics) known(topic string) *atomic.Int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]*atomic.Int32{}
	}
	if t.n[topic] == nil {
		t.n[topic] = new(atomic.Int32)
	}
	return t.n[topic]
}

// partitioner takes the partition that the plan has put into the record.
func (t *topics) partitioner(topic string) func(*kgo.Record, int) int {
	known := t.known(topic)
	return func(r *kgo.Record, n int) int {
		known.Store(int32(n))
		return int(r.Partition)
	}
}

// await returns when the client can produce to the partitions. Of a topic that
// it produces to already the client itself must know them, which takes until
// its next refresh of metadata; a new topic is looked for at the same interval.
func (t *topics) await(ctx context.Context, client *kgo.Client, partitions []plan.Partition, every time.Duration) error {
	tick := time.NewTicker(max(every/20, 5*time.Millisecond))
	defer tick.Stop()
	refresh := time.NewTicker(every)
	defer refresh.Stop()
	admin := kadm.NewClient(client)
	listed := kadm.TopicDetails{}
	for {
		missing := false
		for _, p := range partitions {
			if known := t.known(p.Topic).Load(); known > 0 {
				missing = missing || known <= p.Number
				continue
			}
			d, ok := listed[p.Topic].Partitions[p.Number]
			missing = missing || !ok || d.Err != nil || d.Leader < 0
		}
		if !missing {
			return nil
		}
		select {
		case <-tick.C:
		case <-refresh.C:
			var names []string
			for _, p := range partitions {
				if t.known(p.Topic).Load() == 0 {
					names = append(names, p.Topic)
				}
			}
			if len(names) > 0 {
				if ts, err := admin.ListTopics(ctx, names...); err == nil {
					listed = ts
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
