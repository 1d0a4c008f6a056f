package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// Source reads Kafka topics partition by partition.
type Source struct{ cfg SourceConfig }

var _ connectors.Source = (*Source)(nil)

// NewSource checks the configuration and completes it with its defaults.
func NewSource(cfg SourceConfig) (*Source, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	return &Source{cfg: cfg}, nil
}

// Describe implements connectors.Source.
func (s *Source) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "kafka", Replayable: true, Bounded: s.cfg.Bounded}
}

// Enumerator implements connectors.Source.
func (s *Source) Enumerator(ctx context.Context, env connectors.Env) (connectors.Enumerator, error) {
	cl, err := s.client(ctx, env)
	if err != nil {
		return nil, err
	}
	return newEnumerator(s.cfg, env, cl), nil
}

// Reader implements connectors.Source. Every reader has a client of its own: a
// broker answers the requests of one connection in order, so a fetch that waits
// for data would hold up another reader's.
func (s *Source) Reader(ctx context.Context, env connectors.Env) (connectors.Reader, error) {
	cl, err := s.client(ctx, env)
	if err != nil {
		return nil, err
	}
	return newReader(s.cfg, env, cl), nil
}

func (s *Source) client(ctx context.Context, env connectors.Env) (*kgo.Client, error) {
	return openClient(ctx, s.cfg.Brokers, waits(env, s.cfg.PatienceMillis), "streamduel-"+env.Job+"-"+env.Node, s.cfg.ClientOptions,
		kgo.RetryTimeout(s.cfg.patience()))
}

// waits returns for how long a client that is opened waits for a broker.
func waits(env connectors.Env, millis int) time.Duration {
	if !env.Patient {
		return 0
	}
	return time.Duration(millis) * time.Millisecond
}

// openClient opens a client and makes sure that a broker answers, within patience.
func openClient(ctx context.Context, brokers []string, patience time.Duration, id string, user []kgo.Opt, opts ...kgo.Opt) (*kgo.Client, error) {
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID(id),
		kgo.DisableClientMetrics(),
		// A client that has just learnt that it must look again looks again at
		// once, not after the default of seconds.
		kgo.MetadataMinAge(20 * time.Millisecond),
	}, opts...)
	cl, err := kgo.NewClient(append(opts, user...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	var bo backoff
	for end := time.Now().Add(patience); ; {
		err := cl.Ping(ctx)
		if err == nil {
			return cl, nil
		}
		if !time.Now().Before(end) || bo.wait(ctx) != nil {
			cl.Close()
			return nil, fmt.Errorf("kafka: no broker of %v answers: %w", brokers, err)
		}
	}
}
