package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// pinned opens a client for transactional requests of our own making. EndTxn
// version 5 and TxnOffsetCommit version 5 belong to transactions that bump
// their epoch each time (KIP-890, transaction.version 2). A broker may speak
// them before its cluster has switched over; there they must not be used.
func (s *Sink) pinned(ctx context.Context, open func(...kgo.Opt) (*kgo.Client, error)) (*kgo.Client, error) {
	cl, err := open()
	if err != nil {
		return nil, err
	}
	two, err := epochPerTransaction(ctx, cl)
	if err != nil {
		cl.Close()
		return nil, err
	}
	if two {
		return cl, nil
	}
	cl.Close()
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	return open(kgo.MaxVersions(v))
}

// epochPerTransaction reports whether the cluster runs transaction.version 2.
func epochPerTransaction(ctx context.Context, cl *kgo.Client) (bool, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "streamduel", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return false, fmt.Errorf("kafka: api versions: %w", err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return false, fmt.Errorf("kafka: api versions: %w", err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			return f.MaxVersionLevel >= 2, nil
		}
	}
	return false, nil
}

// commitTransaction ends the client's transaction in a commit.
//
// kgo (seen in v1.22.2) makes a topic's partitions known to EndTransaction only
// after it has handed the first records for them to the broker, from another
// goroutine. Where that goroutine is held up, a first transaction can be
// flushed and ended before; EndTransaction then finds no partition that was
// produced to, aborts instead, and reports success. So the commit waits until
// the client knows the topic, which after a flush it is just about to.
func commitTransaction(ctx context.Context, cl interface {
	PartitionLeader(topic string, partition int32) (leader, epoch int32, err error)
	EndTransaction(context.Context, kgo.TransactionEndTry) error
}, topic string) error {
	for bo := (backoff{}); ; {
		leader, _, err := cl.PartitionLeader(topic, 0)
		if leader >= 0 || err != nil { // whatever else is wrong, the topic is known
			break
		}
		if err := bo.wait(ctx); err != nil {
			return fmt.Errorf("topic %s stays unknown to the client that wrote to it: %w", topic, err)
		}
	}
	return cl.EndTransaction(ctx, kgo.TryCommit)
}
