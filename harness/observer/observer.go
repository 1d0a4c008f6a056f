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
	Dead    string // topic of dead letters; empty for none
	// Committed and Uncommitted take the rows of the two isolation levels; nil
	// leaves a level out. Each is told from a goroutine of its own.
	Committed, Uncommitted *ledger.Ledger
	// Parse is the workload's [workloads.Accounting.Parse], here called from
	// both goroutines. If nil, each ledger's own is used.
	Parse func(r *connectors.Record, late bool, row *workloads.Row) error

	// Pace is the least time between two fetches of the read_committed view from
	// one broker, UncommittedPace of the other one. Zero takes the default, a negative value
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

// lookPause is the least time between two looks at the brokers' metadata.
const lookPause = 20 * time.Millisecond

// Observer reads until it is closed.
type Observer struct {
	cfg    Config
	topics []topic
	views  []*view
	client *kgo.Client   // for everything but fetches
	look   chan struct{} // capacity 1: a partition has no leader that answers
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	growing sync.Mutex // taken before a view's
	closed  bool       // no more nodes may be started

	mu  sync.Mutex // taken after a view's
	err error
}

type topic struct {
	name string
	late bool
	dead bool
}

// Start opens the clients and begins to read. The topics must exist; those of
// late records and dead letters may come later.
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
	o := &Observer{cfg: cfg, topics: []topic{{name: cfg.Output}}, look: make(chan struct{}, 1)}
	if cfg.Late != "" {
		o.topics = append(o.topics, topic{name: cfg.Late, late: true})
	}
	if cfg.Dead != "" {
		o.topics = append(o.topics, topic{name: cfg.Dead, dead: true})
	}
	if cfg.Committed != nil {
		o.views = append(o.views, newView(o, Committed, cfg.Committed, cfg.Pace))
	}
	if cfg.Uncommitted != nil {
		o.views = append(o.views, newView(o, Uncommitted, cfg.Uncommitted, cfg.UncommittedPace))
	}
	if len(o.views) == 0 {
		return nil, errors.New("observer: no ledger to tell")
	}
	var err error
	o.client, err = kgo.NewClient(
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("streamduel-observer"),
		kgo.DisableClientMetrics(),
	)
	if err != nil {
		return nil, fmt.Errorf("observer: %w", err)
	}
	// The first look is taken before anything is written, so that a broker
	// that cannot be reached is an error here and not a silence later.
	found, err := o.metadata(ctx)
	if err == nil && found.topic(cfg.Output) == nil {
		err = fmt.Errorf("topic %q does not exist", cfg.Output)
	}
	if err != nil {
		o.client.Close()
		return nil, fmt.Errorf("observer: %w", err)
	}
	o.ctx, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	o.apply(found)
	o.done.Go(func() { o.discover(o.ctx) })
	return o, nil
}

// Close ends the reading. The ledgers hold what was seen.
func (o *Observer) Close() error {
	o.growing.Lock()
	o.closed = true
	o.growing.Unlock()
	o.cancel()
	o.done.Wait()
	o.client.Close()
	return o.Err()
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
				for _, p := range v.parts[i] {
					lowest = append(lowest, p.next)
				}
			} else {
				for p := range lowest {
					if p < len(v.parts[i]) {
						lowest[p] = min(lowest[p], v.parts[i][p].next)
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
