package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Trimmer decides which records nobody needs any more. It is pure; Broker.Trim
// carries the decision out.
//
// Every topic has holders, named when it is added: whoever may still read its
// records. A record is free when it lies below the positions of all holders. A
// holder that has said nothing of a partition holds all of it: an engine that
// has not discovered a partition yet must find it whole. For the input the
// holder is the job's newest durable restore position. For the output they are
// both observers: the one that reads committed records only cannot be beyond
// the last stable offset, so that limit is kept by itself.
//
// A Trimmer may be used by any number of goroutines.
type Trimmer struct {
	step int64
	mu   sync.Mutex
	m    map[string]*trimmed
}

type trimmed struct {
	holders []string
	at      map[int32][]int64 // for each partition, each holder's position
	deleted map[int32]int64
}

// NewTrimmer returns a trimmer that asks for a deletion when it frees at least
// step records of a partition: each request costs the broker a walk over what
// it holds.
func NewTrimmer(step int64) *Trimmer {
	return &Trimmer{step: max(1, step), m: map[string]*trimmed{}}
}

// Add names a topic, as it is called on the broker, and who holds its records.
func (t *Trimmer) Add(topic string, holders ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m[topic] = &trimmed{holders: holders, at: map[int32][]int64{}, deleted: map[int32]int64{}}
}

// Remove forgets a topic.
func (t *Trimmer) Remove(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, topic)
}

// Hold tells that a holder needs the records of a partition from a position on,
// and none below it. A position may go back, but what was deleted is gone.
// Topics and holders that were not added are left out.
func (t *Trimmer) Hold(topic string, partition int32, holder string, position int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.m[topic]
	if d == nil {
		return
	}
	h := slices.Index(d.holders, holder)
	if h < 0 {
		return
	}
	if d.at[partition] == nil {
		d.at[partition] = make([]int64, len(d.holders))
	}
	d.at[partition][h] = position
}

// Due returns the offsets below which records are free, for the partitions
// where that is worth a request, and takes them as deleted.
func (t *Trimmer) Due() map[string]map[int32]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	due := map[string]map[int32]int64{}
	for topic, d := range t.m {
		for p, at := range d.at {
			free := slices.Min(at)
			if free-d.deleted[p] < t.step {
				continue
			}
			if due[topic] == nil {
				due[topic] = map[int32]int64{}
			}
			due[topic][p] = free
			d.deleted[p] = free
		}
	}
	return due
}

// Trim deletes what the trimmer says is free.
func (b *Broker) Trim(ctx context.Context, t *Trimmer) error {
	due := t.Due()
	if len(due) == 0 {
		return nil
	}
	var os kadm.Offsets
	for _, topic := range slices.Sorted(maps.Keys(due)) {
		for p, offset := range due[topic] {
			os.AddOffset(topic, p, offset, -1)
		}
	}
	rs, err := b.admin.DeleteRecords(ctx, os)
	if err == nil {
		err = rs.Error()
	}
	if err != nil {
		return fmt.Errorf("broker: records cannot be deleted: %w", cause(err))
	}
	return nil
}
