package observer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// End is where one output partition ends, and how far it was read.
type End struct {
	Topic         string
	Partition     int32
	HighWatermark int64
	LastStable    int64
	Read          int64 // how far the slowest view got
}

// Ends are the output's ends at one moment.
type Ends struct {
	Partitions []End
	// Ongoing are the transactional ids with a transaction on these partitions
	// that is not ended.
	Ongoing []string
}

// Stuck returns the partitions whose last stable offset is below the high
// watermark: an open transaction hides what lies between.
func (e *Ends) Stuck() (stuck []End) {
	for _, p := range e.Partitions {
		if p.LastStable != p.HighWatermark {
			stuck = append(stuck, p)
		}
	}
	return stuck
}

// Ends asks the broker. At the end of a cell every partition's last stable
// offset must equal its high watermark and no transaction may be ongoing.
func (o *Observer) Ends(ctx context.Context) (*Ends, error) {
	admin := kadm.NewClient(o.client)
	read := o.Positions()
	var names []string
	for _, p := range read {
		if !slices.Contains(names, p.Topic) {
			names = append(names, p.Topic)
		}
	}
	high, err := admin.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("observer: high watermarks: %w", err)
	}
	stable, err := admin.ListCommittedOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("observer: last stable offsets: %w", err)
	}
	e := &Ends{}
	for _, p := range read {
		h, ok1 := high.Lookup(p.Topic, p.Partition)
		s, ok2 := stable.Lookup(p.Topic, p.Partition)
		if err := errors.Join(h.Err, s.Err); err != nil || !ok1 || !ok2 {
			return nil, fmt.Errorf("observer: end of %s/%d: %w", p.Topic, p.Partition, err)
		}
		e.Partitions = append(e.Partitions, End{p.Topic, p.Partition, h.Offset, s.Offset, p.Next})
	}
	// Kafka names these states; a transaction in any of them is not over.
	listed, err := admin.ListTransactions(ctx, nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort"})
	if err != nil {
		return nil, fmt.Errorf("observer: transactions: %w", err)
	}
	// An embedded broker lists each one once a broker: the map removes copies.
	ids := listed.TransactionalIDs()
	if len(ids) == 0 {
		return e, nil
	}
	described, err := admin.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("observer: transactions: %w", err)
	}
	// A broker may have other users, whose transactions are no business of ours.
	for _, d := range described {
		if slices.ContainsFunc(d.Topics.Topics(), func(t string) bool { return slices.Contains(names, t) }) {
			e.Ongoing = append(e.Ongoing, d.TxnID)
		}
	}
	slices.Sort(e.Ongoing)
	return e, nil
}

// Unread returns how many offsets lie between what was read and the ends.
func (e *Ends) Unread() (n int64) {
	for _, p := range e.Partitions {
		n += max(0, p.HighWatermark-p.Read)
	}
	return n
}

// SeenStable reports whether both views have read up to these last stable
// offsets by now: everything that was committed then.
func (o *Observer) SeenStable(e *Ends) bool {
	return o.readUpTo(e, func(p End) int64 { return p.LastStable })
}

// CaughtUp reports whether both views have read up to these ends by now.
func (o *Observer) CaughtUp(e *Ends) bool {
	return o.readUpTo(e, func(p End) int64 { return p.HighWatermark })
}

func (o *Observer) readUpTo(e *Ends, bound func(End) int64) bool {
	bounds := map[topicPartition]int64{}
	for _, p := range e.Partitions {
		bounds[topicPartition{p.Topic, p.Partition}] = bound(p)
	}
	for _, p := range o.Positions() {
		if p.Next < bounds[topicPartition{p.Topic, p.Partition}] {
			return false
		}
	}
	return true
}

type topicPartition struct {
	topic     string
	partition int32
}

// Settle asks for the ends until they are quiet, that is, no transaction is
// open and both views have read everything, or the context ends. It returns
// the last answer in any case: what is still open then is for an audit to say.
func (o *Observer) Settle(ctx context.Context, every time.Duration) (*Ends, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last *Ends
	for {
		e, err := o.Ends(ctx)
		if err != nil {
			if last != nil && ctx.Err() != nil {
				return last, nil
			}
			return last, err
		}
		last = e
		if len(e.Stuck()) == 0 && len(e.Ongoing) == 0 && e.Unread() == 0 {
			return e, nil
		}
		select {
		case <-ctx.Done():
			return last, nil
		case <-tick.C:
		}
	}
}
