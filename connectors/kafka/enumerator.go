package kafka

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// enumerator is a source's coordinator side.
type enumerator struct {
	cfg     SourceConfig
	env     connectors.Env
	cl      *kgo.Client
	pattern *regexp.Regexp
	metas   map[string]*topicMeta // as last seen; a hint, refreshed on errors
	missed  map[string]bool       // topics that were not there, of which the log has told
}

var _ connectors.Enumerator = (*enumerator)(nil)

func newEnumerator(cfg SourceConfig, env connectors.Env, cl *kgo.Client) *enumerator {
	e := &enumerator{cfg: cfg, env: env, cl: cl, metas: make(map[string]*topicMeta), missed: make(map[string]bool)}
	if cfg.Pattern != "" {
		e.pattern = regexp.MustCompile("^(?:" + cfg.Pattern + ")$") // setDefaults has compiled it
	}
	return e
}

// Discover implements connectors.Enumerator: one metadata request, answered by
// a broker and not by a cache.
func (e *enumerator) Discover(ctx context.Context) ([]connectors.Split, error) {
	metas, err := requestMetadata(ctx, e.cl, e.cfg.Topics)
	if err != nil {
		return nil, err
	}
	for _, topic := range e.cfg.Topics {
		if missing := metas[topic] == nil; missing != e.missed[topic] {
			if e.missed[topic] = missing; missing && e.env.Log != nil {
				e.env.Log.Warn("a topic does not exist: nothing is read of it until it is created", "source", e.env.Node, "topic", topic)
			}
		}
	}
	var splits []connectors.Split
	for topic, m := range metas {
		if e.pattern != nil && (!e.pattern.MatchString(topic) || strings.HasPrefix(topic, "__")) {
			continue
		}
		e.metas[topic] = m
		for p := range m.count {
			splits = append(splits, connectors.Split{ID: splitID(topic, p), Partition: p, Incarnation: m.incarnation()})
		}
	}
	slices.SortFunc(splits, func(a, b connectors.Split) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return splits, nil
}

// Bounds implements connectors.Enumerator. It costs one round of requests: the
// earliest and the latest offsets are asked for at once.
func (e *enumerator) Bounds(ctx context.Context, splits []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	// A request has the client's patience; a partition without a leader is asked about
	// again and again.
	ctx, cancel := context.WithTimeoutCause(ctx, 2*e.cfg.patience(), fmt.Errorf("a partition has no leader, or it does not answer, since %s", 2*e.cfg.patience()))
	defer cancel()
	return listBounds(ctx, e.cl, e.cfg.Isolation, splits, e.metas)
}

// Start implements connectors.Enumerator.
func (e *enumerator) Start(ctx context.Context, splits []connectors.SplitID, initial bool) (map[connectors.SplitID]connectors.Position, error) {
	if initial {
		for id := range e.cfg.StartPositions {
			if !slices.Contains(splits, id) {
				return nil, fmt.Errorf("kafka source %s: startPositions: %s: there is no such partition", e.env.Node, id)
			}
		}
	}
	bounds, err := e.Bounds(ctx, splits)
	if err != nil {
		return nil, err
	}
	var committed map[connectors.SplitID]connectors.Position
	if initial && e.cfg.Start == connectors.StartCommitted {
		if committed, err = e.Committed(ctx, splits); err != nil {
			return nil, err
		}
	}
	var since map[connectors.SplitID]connectors.Position
	if initial && e.cfg.Start == connectors.StartTimestamp {
		if since, err = e.since(ctx, splits); err != nil {
			return nil, err
		}
	}
	out := make(map[connectors.SplitID]connectors.Position, len(splits))
	for _, id := range splits {
		if p, ok := e.cfg.StartPositions[id]; ok && initial {
			b := bounds[id]
			if p < b.Earliest || p > b.Latest {
				return nil, fmt.Errorf("kafka source %s: startPositions: %s: position %d: the partition has %d to %d", e.env.Node, id, p, b.Earliest, b.Latest)
			}
			out[id] = p
			continue
		}
		if p, ok := since[id]; ok {
			out[id] = p
			continue
		}
		out[id] = bounds[id].Earliest
		if p, ok := committed[id]; ok {
			out[id] = p
		}
		from := e.cfg.Reset
		if initial {
			from = e.cfg.Start
		}
		if from == connectors.StartLatest {
			out[id] = bounds[id].Latest
		}
	}
	return out, nil
}

// since returns the position of each split's first record at or after the start
// time, its end when there is none.
func (e *enumerator) since(ctx context.Context, splits []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	var topics []string
	for _, id := range splits {
		topic, _, err := parseSplit(id)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	listed, err := kadm.NewClient(e.cl).ListOffsetsAfterMilli(ctx, e.cfg.StartMillis, topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("kafka source %s: positions at %d: %w", e.env.Node, e.cfg.StartMillis, err)
	}
	out := map[connectors.SplitID]connectors.Position{}
	listed.Each(func(o kadm.ListedOffset) { out[splitID(o.Topic, o.Partition)] = connectors.Position(o.Offset) })
	return out, nil
}

// Commit implements connectors.Enumerator.
func (e *enumerator) Commit(ctx context.Context, positions map[connectors.SplitID]connectors.Position) error {
	if err := e.knowTopics(ctx, positions); err != nil {
		return err
	}
	return commitOffsets(ctx, e.cl, e.cfg.group(e.env), positions, nil, e.metas)
}

// knowTopics makes sure that the ids of all topics named are known: newer
// protocol versions name topics by id.
func (e *enumerator) knowTopics(ctx context.Context, positions map[connectors.SplitID]connectors.Position) error {
	for id := range positions {
		topic, _, err := parseSplit(id)
		if err != nil {
			return err
		}
		if e.metas[topic] == nil {
			_, err := e.Discover(ctx)
			return err
		}
	}
	return nil
}

// Committed implements connectors.Enumerator.
func (e *enumerator) Committed(ctx context.Context, splits []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	all, _, err := fetchOffsets(ctx, e.cl, e.cfg.group(e.env), false)
	if err != nil {
		return nil, err
	}
	out := make(map[connectors.SplitID]connectors.Position, len(splits))
	for _, id := range splits {
		if p, ok := all[id]; ok {
			out[id] = p
		}
	}
	return out, nil
}

// Close implements connectors.Enumerator.
func (e *enumerator) Close() error {
	e.cl.Close()
	return nil
}

const (
	latestOffset   = -1
	earliestOffset = -2
)

// listBounds asks the leaders for the bounds of splits, with two requests at
// once to each. metas is used and refreshed; nil means that nothing is known.
func listBounds(ctx context.Context, cl *kgo.Client, iso Isolation, splits []connectors.SplitID, metas map[string]*topicMeta) (map[connectors.SplitID]connectors.Bounds, error) {
	if metas == nil {
		metas = make(map[string]*topicMeta)
	}
	out := make(map[connectors.SplitID]connectors.Bounds, len(splits))
	var bo backoff
	for todo, round := splits, 0; ; round++ {
		byNode, unknown, err := groupByLeader(todo, metas)
		if err != nil {
			return nil, err
		}
		failed, err := askBounds(ctx, cl, iso, byNode, out)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("kafka: offsets of %v: %w", todo, context.Cause(ctx))
		}
		if err != nil {
			return nil, err
		}
		todo = append(unknown, failed...)
		if len(todo) == 0 {
			return out, nil
		}
		if err := refresh(ctx, cl, todo, metas); err != nil {
			return nil, err
		}
		if len(failed) > 0 || round > 0 { // in the first, the leaders were only not known yet
			if bo.wait(ctx) != nil {
				return nil, fmt.Errorf("kafka: offsets of %v: %w", todo, context.Cause(ctx))
			}
		}
	}
}

// gone is connectors.ErrGone with the place.
type gone struct{ error }

func (gone) Is(target error) bool { return target == connectors.ErrGone }

// refresh looks up the topics of splits again. One that is gone is an error.
func refresh(ctx context.Context, cl *kgo.Client, splits []connectors.SplitID, metas map[string]*topicMeta) error {
	topics := make([]string, 0, len(splits))
	for _, id := range splits {
		t, _, _ := parseSplit(id) //nolint:errcheck // groupByLeader has parsed it
		if !slices.Contains(topics, t) {
			topics = append(topics, t)
		}
	}
	fresh, err := requestMetadata(ctx, cl, topics)
	if err != nil {
		return err
	}
	for _, t := range topics {
		if fresh[t] == nil {
			return gone{fmt.Errorf("kafka: topic %s does not exist", t)}
		}
		metas[t] = fresh[t]
	}
	for _, id := range splits {
		t, p, _ := parseSplit(id) //nolint:errcheck // groupByLeader has parsed it
		if p >= metas[t].count {
			return gone{fmt.Errorf("kafka: topic %s has no partition %d, only %d partitions", t, p, metas[t].count)}
		}
	}
	return nil
}

func groupByLeader(splits []connectors.SplitID, metas map[string]*topicMeta) (map[int32][]connectors.SplitID, []connectors.SplitID, error) {
	var unknown []connectors.SplitID
	byNode := make(map[int32][]connectors.SplitID)
	for _, id := range splits {
		t, p, err := parseSplit(id)
		if err != nil {
			return nil, nil, err
		}
		leader, ok := int32(0), false
		if m := metas[t]; m != nil {
			leader, ok = m.leaders[p]
		}
		if !ok {
			unknown = append(unknown, id)
			continue
		}
		byNode[leader] = append(byNode[leader], id)
	}
	return byNode, unknown, nil
}

// askBounds sends the requests and files the answers; failed are the splits to
// be asked for again after a look at the metadata.
func askBounds(ctx context.Context, cl *kgo.Client, iso Isolation, byNode map[int32][]connectors.SplitID, out map[connectors.SplitID]connectors.Bounds) (failed []connectors.SplitID, err error) {
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	for node, ids := range byNode {
		for _, at := range []int64{earliestOffset, latestOffset} {
			wg.Go(func() {
				resp, rerr := cl.Broker(int(node)).RetriableRequest(ctx, listRequest(ids, at, iso))
				mu.Lock()
				defer mu.Unlock()
				if rerr != nil {
					failed = append(failed, ids...)
					return
				}
				f, ferr := fileOffsets(resp.(*kmsg.ListOffsetsResponse), at, out)
				failed = append(failed, f...)
				if err == nil {
					err = ferr
				}
			})
		}
	}
	wg.Wait()
	slices.Sort(failed)
	return slices.Compact(failed), err
}

func listRequest(ids []connectors.SplitID, at int64, iso Isolation) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	req.IsolationLevel = iso.level()
	for _, id := range ids {
		t, n, _ := parseSplit(id) //nolint:errcheck // groupByLeader has parsed it
		k := slices.IndexFunc(req.Topics, func(rt kmsg.ListOffsetsRequestTopic) bool { return rt.Topic == t })
		if k < 0 {
			rt := kmsg.NewListOffsetsRequestTopic()
			rt.Topic = t
			req.Topics = append(req.Topics, rt)
			k = len(req.Topics) - 1
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = n, at
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, p)
	}
	return req
}

func fileOffsets(resp *kmsg.ListOffsetsResponse, at int64, out map[connectors.SplitID]connectors.Bounds) (failed []connectors.SplitID, err error) {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			id := splitID(t.Topic, p.Partition)
			if perr := kerr.ErrorForCode(p.ErrorCode); perr != nil {
				if staleMetadata(perr) || kerr.IsRetriable(perr) || errors.Is(perr, kerr.OffsetNotAvailable) {
					failed = append(failed, id)
				} else if err == nil {
					err = fmt.Errorf("kafka: offsets of topic %s partition %d: %w", t.Topic, p.Partition, perr)
				}
				continue
			}
			b := out[id]
			if at == earliestOffset {
				b.Earliest = connectors.Position(p.Offset)
			} else {
				b.Latest = connectors.Position(p.Offset)
			}
			out[id] = b
		}
	}
	return failed, err
}
