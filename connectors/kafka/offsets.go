package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// commitOffsets stores positions under a group that has no members, durably, each
// with its metadata; nil stands for none.
func commitOffsets(ctx context.Context, cl *kgo.Client, group string, positions map[connectors.SplitID]connectors.Position, metadata func(connectors.SplitID) string, metas map[string]*topicMeta) error {
	if len(positions) == 0 {
		return nil
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = group
	req.Generation = -1
	for id, pos := range positions {
		t, n, err := parseSplit(id)
		if err != nil {
			return err
		}
		k := slices.IndexFunc(req.Topics, func(rt kmsg.OffsetCommitRequestTopic) bool { return rt.Topic == t })
		if k < 0 {
			rt := kmsg.NewOffsetCommitRequestTopic()
			rt.Topic = t
			if m := metas[t]; m != nil {
				rt.TopicID = m.id
			}
			req.Topics = append(req.Topics, rt)
			k = len(req.Topics) - 1
		}
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = n, int64(pos), kmsg.StringPtr("")
		if metadata != nil {
			p.Metadata = kmsg.StringPtr(metadata(id))
		}
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, p)
	}
	return untilStable(ctx, func() error {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return fmt.Errorf("kafka: commit of positions under group %s: %w", group, err)
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("kafka: commit of topic %s partition %d under group %s: %w", t.Topic, p.Partition, group, err)
				}
			}
		}
		return nil
	})
}

// fetchOffsets returns all positions of a group and their metadata. A stable read waits until no transaction that carries offsets of the
// group is being ended.
func fetchOffsets(ctx context.Context, cl *kgo.Client, group string, stable bool) (positions map[connectors.SplitID]connectors.Position, metadata map[connectors.SplitID]string, err error) {
	err = untilStable(ctx, func() error {
		positions, metadata = make(map[connectors.SplitID]connectors.Position), make(map[connectors.SplitID]string)
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = group
		req.RequireStable = stable
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		g.MemberEpoch = -1
		req.Groups = append(req.Groups, g)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return fmt.Errorf("kafka: positions of group %s: %w", group, err)
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("kafka: positions of group %s: %w", group, err)
		}
		file := func(topic string, partition int32, offset int64, meta *string, code int16) error {
			if err := kerr.ErrorForCode(code); err != nil {
				return fmt.Errorf("kafka: position of topic %s partition %d of group %s: %w", topic, partition, group, err)
			}
			if offset >= 0 {
				positions[splitID(topic, partition)] = connectors.Position(offset)
				if meta != nil {
					metadata[splitID(topic, partition)] = *meta
				}
			}
			return nil
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := file(t.Topic, p.Partition, p.Offset, p.Metadata, p.ErrorCode); err != nil {
					return err
				}
			}
		}
		for _, g := range resp.Groups {
			if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
				if errors.Is(err, kerr.GroupIDNotFound) {
					continue
				}
				return fmt.Errorf("kafka: positions of group %s: %w", group, err)
			}
			names, err := topicNames(ctx, cl, g.Topics, resp.Version)
			if err != nil {
				return err
			}
			for _, t := range g.Topics {
				name := t.Topic
				if resp.Version >= 10 {
					if name = names[t.TopicID]; name == "" {
						continue // deleted since
					}
				}
				for _, p := range t.Partitions {
					if err := file(name, p.Partition, p.Offset, p.Metadata, p.ErrorCode); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	return positions, metadata, err
}

// topicNames resolves the topic ids that newer answers carry instead of names.
func topicNames(ctx context.Context, cl *kgo.Client, ts []kmsg.OffsetFetchResponseGroupTopic, version int16) (map[[16]byte]string, error) {
	if version < 10 || len(ts) == 0 {
		return nil, nil
	}
	metas, err := requestMetadata(ctx, cl, nil)
	if err != nil {
		return nil, err
	}
	names := make(map[[16]byte]string, len(metas))
	for name, m := range metas {
		names[m.id] = name
	}
	return names, nil
}

// untilStable tries again while a transaction is being ended or a coordinator
// is moving, for half a minute at most.
func untilStable(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var bo backoff
	for {
		err := f()
		if err == nil || !transient(err) {
			return err
		}
		if bo.wait(ctx) != nil {
			return err
		}
	}
}

// transient reports whether a coordinator's answer is worth asking again.
func transient(err error) bool {
	for _, e := range []*kerr.Error{
		kerr.ConcurrentTransactions, kerr.UnstableOffsetCommit, kerr.CoordinatorLoadInProgress,
		kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownTopicOrPartition,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
