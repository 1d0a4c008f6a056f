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
