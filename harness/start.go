package harness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"streamduel/scenarios"
)

// startThere starts the job where the scenario says that it begins to read. Where
// that is, this side finds out by itself: the ledger expects what lies behind it and
// nothing before, and an engine that begins elsewhere fails the cell.
func (c *cell) startThere(ctx context.Context) error {
	s := c.spec.Scenario.Start
	if s.From == "" && len(s.Positions) == 0 {
		return c.startWorker(ctx)
	}
	want, err := c.choosePositions(ctx)
	if err != nil {
		return err
	}
	if err := c.w.WriteJob(c.job); err != nil {
		return err
	}
	// As far as it is known by now: the first rows come before the engine's answer.
	begins := map[int32]int64{}
	for p, at := range want {
		begins[p] = max(at, -at-1)
	}
	c.committed.Begin(begins)
	c.uncommitted.Begin(begins)
	if err := c.startWorker(ctx); err != nil {
		return err
	}
	splits := make([]string, c.spec.Scenario.Topics.Partitions)
	for p := range splits {
		splits[p] = c.splitOf(int32(p))
	}
	told := func() bool {
		from := c.engine.restored()
		return !slices.ContainsFunc(splits, func(s string) bool { _, ok := from[s]; return !ok })
	}
	if !c.await(ctx, startLimit, told) {
		if ctx.Err() == nil && c.death == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("the engine did not say within %s where it began to read each partition (event discovered)", startLimit))
		}
		return ctx.Err()
	}
	ends, err := c.ends(ctx)
	if err != nil {
		return err
	}
	from := c.engine.restored()
	for p, split := range splits {
		at := from[split]
		low, high := want[int32(p)], want[int32(p)]
		if low < 0 { // the end, which moves on between two looks at it
			low, high = -low-1, ends[int32(p)]
		}
		if at < low || at > high {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("partition %d was read from position %d, not from %s", p, at, bounds(low, high)))
			at = low
		}
		begins[int32(p)] = at
		c.facts.skipped.Add(at)
	}
	c.committed.Begin(begins)
	c.uncommitted.Begin(begins)
	return nil
}

func bounds(low, high int64) string {
	if low == high {
		return strconv.FormatInt(low, 10)
	}
	return fmt.Sprintf("one of %d to %d", low, high)
}

// choosePositions completes the job's line and returns where each partition has to
// be read from: −1−n for one whose end, n by now, is meant.
func (c *cell) choosePositions(ctx context.Context) (map[int32]int64, error) {
	s := c.spec.Scenario.Start
	k := &c.job.Kafka
	k.Start = string(s.From)
	want := map[int32]int64{}
	ends, err := c.ends(ctx)
	if err != nil {
		return nil, err
	}
	switch s.From {
	case scenarios.StartLatest:
		for p, end := range ends {
			want[p] = -1 - end
		}
	case scenarios.StartTimestamp:
		k.StartMillis = (c.start + int64(s.After) + c.wall) / int64(time.Millisecond)
		listed, err := c.broker.Admin().ListOffsetsAfterMilli(ctx, k.StartMillis, c.topics.in)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("positions at %d: %w", k.StartMillis, err)
		}
		listed.Each(func(o kadm.ListedOffset) {
			if want[o.Partition] = o.Offset; o.Offset >= ends[o.Partition] {
				want[o.Partition] = -1 - ends[o.Partition] // none is that young yet
			}
		})
	default:
		for p := range ends {
			want[p] = 0
		}
	}
	for name, at := range s.Positions {
		n, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("start.positions: %w", err)
		}
		want[int32(n)] = at
	}
	if s.From == scenarios.StartCommitted {
		return want, c.commitPositions(ctx)
	}
	for name, at := range s.Positions {
		if k.StartPositions == nil {
			k.StartPositions = map[string]int64{}
		}
		k.StartPositions[c.topics.in+"/"+name] = at
	}
	return want, nil
}

// commitPositions commits in the name of the job's consumer group, as whoever moves
// a group by hand does.
func (c *cell) commitPositions(ctx context.Context) error {
	c.job.Kafka.Group = strings.TrimSuffix(c.topics.in, "-in") + "-group"
	var os kadm.Offsets
	for name, at := range c.spec.Scenario.Start.Positions {
		n, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return fmt.Errorf("start.positions: %w", err)
		}
		os.AddOffset(c.topics.in, int32(n), at, -1)
	}
	if err := c.broker.Admin().CommitAllOffsets(ctx, c.job.Kafka.Group, os); err != nil {
		return fmt.Errorf("positions of group %s: %w", c.job.Kafka.Group, err)
	}
	return nil
}

// ends are where the input topic's partitions end.
func (c *cell) ends(ctx context.Context) (map[int32]int64, error) {
	listed, err := c.broker.Admin().ListEndOffsets(ctx, c.topics.in)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ends of topic %s: %w", c.topics.in, err)
	}
	out := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out, nil
}
