package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// splitID is the split of a partition.
func splitID(topic string, partition int32) connectors.SplitID {
	return connectors.SplitID(topic + "/" + strconv.Itoa(int(partition)))
}

// parseSplit is the inverse of splitID. Kafka's topic names hold no slash.
func parseSplit(id connectors.SplitID) (topic string, partition int32, err error) {
	t, p, ok := strings.Cut(string(id), "/")
	n, perr := strconv.ParseInt(p, 10, 32)
	if !ok || t == "" || perr != nil || n < 0 {
		return "", 0, fmt.Errorf("kafka: %q is not a split of the form topic/partition", id)
	}
	return t, int32(n), nil
}

// topicMeta is what a metadata response says of one topic.
type topicMeta struct {
	id      [16]byte
	leaders map[int32]int32 // by partition; absent while there is none
	count   int32           // partitions, with and without a leader
}

// incarnation tells the topic from one that had its name before; empty where the
// broker gives topics no ids.
func (m *topicMeta) incarnation() string {
	if m.id == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(m.id[:])
}

// requestMetadata asks a broker afresh; no cache of the client stands between.
// Topics that do not exist are absent. A nil list asks for all.
func requestMetadata(ctx context.Context, cl *kgo.Client, topics []string) (map[string]*topicMeta, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	if topics != nil {
		req.Topics = make([]kmsg.MetadataRequestTopic, 0, len(topics))
		for _, t := range topics {
			rt := kmsg.NewMetadataRequestTopic()
			rt.Topic = kmsg.StringPtr(t)
			req.Topics = append(req.Topics, rt)
		}
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("kafka: metadata: %w", err)
	}
	out := make(map[string]*topicMeta, len(resp.Topics))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic == nil {
			continue
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case err == nil, errors.Is(err, kerr.LeaderNotAvailable):
		case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
			continue
		default:
			return nil, fmt.Errorf("kafka: metadata of topic %s: %w", *t.Topic, err)
		}
		m := &topicMeta{id: t.TopicID, leaders: make(map[int32]int32, len(t.Partitions))}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			m.count = max(m.count, p.Partition+1)
			if p.Leader >= 0 && (p.ErrorCode == 0 || !errors.Is(kerr.ErrorForCode(p.ErrorCode), kerr.LeaderNotAvailable)) {
				m.leaders[p.Partition] = p.Leader
			}
		}
		out[*t.Topic] = m
	}
	return out, nil
}

// backoff waits between tries of one operation: 2 ms, doubling to 250 ms.
type backoff struct{ d time.Duration }

func (b *backoff) next() time.Duration {
	if b.d == 0 {
		b.d = time.Millisecond
	}
	b.d = min(b.d*2, 250*time.Millisecond)
	return b.d
}

func (b *backoff) wait(ctx context.Context) error {
	t := time.NewTimer(b.next())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// staleMetadata reports whether the error means that the partition's leader
// must be looked up again.
func staleMetadata(err error) bool {
	for _, e := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID,
		kerr.InconsistentTopicID, kerr.LeaderNotAvailable, kerr.FencedLeaderEpoch,
		kerr.UnknownLeaderEpoch, kerr.ReplicaNotAvailable, kerr.KafkaStorageError,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
