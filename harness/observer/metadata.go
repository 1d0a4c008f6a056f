package observer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadata is a broker's answer to where the observed topics lie. A topic that
// does not exist is absent.
type metadata struct {
	topics  []kmsg.MetadataResponseTopic
	brokers map[int32]string // addresses
}

func (m *metadata) topic(name string) *kmsg.MetadataResponseTopic {
	for i := range m.topics {
		if *m.topics[i].Topic == name {
			return &m.topics[i]
		}
	}
	return nil
}

// metadata asks a broker afresh.
func (o *Observer) metadata(ctx context.Context) (*metadata, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, t := range o.topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(t.name)
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, o.client)
	if err != nil {
		return nil, err
	}
	m := &metadata{brokers: map[int32]string{}}
	for _, b := range resp.Brokers {
		m.brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case err == nil, errors.Is(err, kerr.LeaderNotAvailable):
			m.topics = append(m.topics, t)
		case errors.Is(err, kerr.UnknownTopicOrPartition):
		default:
			return nil, fmt.Errorf("topic %s: %w", *t.Topic, err)
		}
	}
	return m, nil
}

// discover looks for new partitions, and for leaders when one is missing, until
// the context ends.
func (o *Observer) discover(ctx context.Context) {
	tick := time.NewTicker(o.cfg.Discover)
	defer tick.Stop()
	pause := time.NewTimer(lookPause)
	defer pause.Stop()
	for {
		// However often a leader is missed, looks stay apart.
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-o.look:
		}
		found, err := o.metadata(ctx)
		if err != nil {
			// The next look may succeed; a broker that is gone shows in the
			// fetches as well.
			o.cfg.Log.Debug("looking for new output partitions", "err", err)
		} else {
			o.apply(found)
		}
		pause.Reset(lookPause)
	}
}

// Refresh looks for new partitions now: call it when the topic was just grown.
func (o *Observer) Refresh(ctx context.Context) error {
	found, err := o.metadata(ctx)
	if err != nil {
		return fmt.Errorf("observer: %w", err)
	}
	o.apply(found)
	return nil
}

// apply makes every view read the partitions that it does not read yet, and
// each partition from its leader.
func (o *Observer) apply(found *metadata) {
	o.growing.Lock()
	defer o.growing.Unlock()
	if o.closed {
		return
	}
	for _, v := range o.views {
		v.apply(found)
	}
}

// apply is Observer.apply for one view. REQUIRES: o.growing.
func (v *view) apply(found *metadata) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, t := range v.o.topics {
		meta := found.topic(t.name)
		if meta == nil {
			continue
		}
		for n := len(v.parts[i]); n < len(meta.Partitions); n++ {
			// From the beginning, whenever it was found.
			v.parts[i] = append(v.parts[i], &part{topic: i, number: int32(n), id: meta.TopicID, leader: noLeader, epoch: -1, tail: -1})
		}
		for j := range meta.Partitions {
			m := &meta.Partitions[j]
			if int(m.Partition) < len(v.parts[i]) {
				v.lead(v.parts[i][m.Partition], meta.TopicID, m, found.brokers)
			}
		}
	}
}

// lead gives a partition to the broker that leads it. REQUIRES: o.growing, v.mu.
func (v *view) lead(p *part, id [16]byte, m *kmsg.MetadataResponseTopicPartition, brokers map[int32]string) {
	if p.dead {
		return
	}
	if p.id != id {
		p.dead = true
		v.o.fail(fmt.Errorf("observer (%s): %s: the topic was deleted and created again", v.isolation, v.name(p)))
		return
	}
	addr, ok := brokers[m.Leader]
	if m.LeaderEpoch < p.epoch || !ok { // an old answer, or nobody leads
		return
	}
	n := v.nodes[m.Leader]
	if n == nil {
		n = newNode(v, m.Leader, addr)
		v.nodes[m.Leader] = n
		v.o.done.Go(func() { n.run(v.o.ctx) })
	}
	n.addr = addr
	if p.leader != m.Leader || p.epoch != m.LeaderEpoch {
		p.leader, p.epoch = m.Leader, m.LeaderEpoch
		signal(n.kick)
	}
}
