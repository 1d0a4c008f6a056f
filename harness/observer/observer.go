package observer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/harness/ledger"
	"streamduel/workloads"
)

// Config says what to observe.
type Config struct {
	Brokers []string
	Output  string // topic of results
	Late    string // topic of late records; empty for none
	// Committed and Uncommitted take the rows of the two isolation levels; nil
	// leaves a level out. Each is told from a goroutine of its own.
	Committed, Uncommitted *ledger.Ledger
	// Parse is the workload's [workloads.Accounting.Parse], here called from
	// both goroutines. If nil, each ledger's own is used.
	Parse func(r *connectors.Record, late bool, row *workloads.Row) error

	// Pace is the rest between two polls of the read_committed view,
	// UncommittedPace of the other one. Zero takes the default, a negative value
	// none.
	Pace, UncommittedPace time.Duration
	Discover              time.Duration // between looks for new partitions; DefaultDiscover if zero
	Log                   *slog.Logger  // nil discards
}

// Defaults of Config.
const (
	DefaultPace            = time.Millisecond
	DefaultUncommittedPace = 10 * time.Millisecond // it explains; nobody's latency hangs on it
	DefaultDiscover        = 250 * time.Millisecond
)

// fetchWait is how long the broker may hold a fetch that finds nothing. It
// bounds how late a newly found partition joins the fetch in flight.
const fetchWait = 100 * time.Millisecond

// Observer reads until it is closed.
type Observer struct {
	cfg    Config
	topics []topic
	views  []*view
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu  sync.Mutex
	err error
}

type topic struct {
	name string
	late bool
}

// Start opens the clients and begins to read. The topics must exist; the late
// topic may come later.
func Start(ctx context.Context, cfg Config) (*Observer, error) {
	if cfg.Output == "" {
		return nil, errors.New("observer: no output topic")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Pace == 0 {
		cfg.Pace = DefaultPace
	}
	if cfg.UncommittedPace == 0 {
		cfg.UncommittedPace = DefaultUncommittedPace
	}
	if cfg.Discover == 0 {
		cfg.Discover = DefaultDiscover
	}
	o := &Observer{cfg: cfg, topics: []topic{{cfg.Output, false}}}
	if cfg.Late != "" {
		o.topics = append(o.topics, topic{cfg.Late, true})
	}
	for _, v := range []struct {
		isolation Isolation
		ledger    *ledger.Ledger
	}{{Committed, cfg.Committed}, {Uncommitted, cfg.Uncommitted}} {
		if v.ledger == nil {
			continue
		}
		view, err := newView(o, v.isolation, v.ledger)
		if err != nil {
			o.closeClients()
			return nil, err
		}
		o.views = append(o.views, view)
	}
	if len(o.views) == 0 {
		return nil, errors.New("observer: no ledger to tell")
	}
	// The first look is taken before anything is written, so that a broker
	// that cannot be reached is an error here and not a silence later.
	found, err := o.partitions(ctx)
	if err != nil {
		o.closeClients()
		return nil, fmt.Errorf("observer: %w", err)
	}
	if found[cfg.Output] == 0 {
		o.closeClients()
		return nil, fmt.Errorf("observer: topic %q does not exist", cfg.Output)
	}
	o.add(found)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o.cancel = cancel
	for _, v := range o.views {
		o.done.Go(func() { v.run(run) })
	}
	o.done.Go(func() { o.discover(run) })
	return o, nil
}

// Close ends the reading. The ledgers hold what was seen.
func (o *Observer) Close() error {
	o.cancel()
	o.done.Wait()
	o.closeClients()
	return o.Err()
}

func (o *Observer) closeClients() {
	for _, v := range o.views {
		v.client.Close()
	}
}

// Err returns the first error after which the observation is incomplete.
func (o *Observer) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *Observer) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
		o.cfg.Log.Error("the observation is incomplete", "err", err)
	}
}

// discover looks for new partitions until the context ends.
func (o *Observer) discover(ctx context.Context) {
	tick := time.NewTicker(o.cfg.Discover)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		found, err := o.partitions(ctx)
		if err != nil {
			// The next look may succeed; a broker that is gone shows in the
			// fetches as well.
			o.cfg.Log.Debug("looking for new output partitions", "err", err)
			continue
		}
		o.add(found)
	}
}

// Refresh looks for new partitions now: call it when the topic was just grown.
func (o *Observer) Refresh(ctx context.Context) error {
	found, err := o.partitions(ctx)
	if err != nil {
		return fmt.Errorf("observer: %w", err)
	}
	o.add(found)
	return nil
}

// add makes every view read the partitions that it does not read yet.
func (o *Observer) add(found map[string]int32) {
	for _, v := range o.views {
		more := map[string]map[int32]kgo.Offset{}
		v.mu.Lock()
		for i, t := range o.topics {
			for p := int32(len(v.next[i])); p < found[t.name]; p++ {
				if more[t.name] == nil {
					more[t.name] = map[int32]kgo.Offset{}
				}
				// From the beginning, whenever it was found.
				more[t.name][p] = kgo.NewOffset().At(0)
				v.next[i] = append(v.next[i], 0)
				v.lag[i] = append(v.lag[i], 0)
			}
		}
		v.mu.Unlock()
		if len(more) > 0 {
			v.client.AddConsumePartitions(more)
		}
	}
}

// Position is how far a partition was read by every view.
type Position struct {
	Topic     string
	Partition int32
	Next      int64 // offset of the first record that some view has not seen
}

// Positions returns how far each output partition was read: below them the
// broker may drop records.
func (o *Observer) Positions() []Position {
	var ps []Position
	for i, t := range o.topics {
		lowest := []int64(nil)
		for n, v := range o.views {
			v.mu.Lock()
			if n == 0 {
				lowest = append(lowest, v.next[i]...)
			} else {
				for p := range lowest {
					if p < len(v.next[i]) {
						lowest[p] = min(lowest[p], v.next[i][p])
					} else {
						lowest[p] = 0
					}
				}
			}
			v.mu.Unlock()
		}
		for p, next := range lowest {
			ps = append(ps, Position{t.name, int32(p), next})
		}
	}
	return ps
}
