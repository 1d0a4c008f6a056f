package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/harness/proc"
)

// Kind is where the broker comes from.
type Kind string

// The four kinds.
const (
	Embedded  Kind = "embedded"  // kfake in a child process
	Local     Kind = "local"     // a real Kafka by Java and Maven
	Container Kind = "container" // a real Kafka by Docker
	External  Kind = "external"  // brokers that the user names
)

// Options say which broker to start.
type Options struct {
	Kind      Kind
	Addresses []string // of External
	Dir       string   // existing folder for data and logs of Local
	Port      int      // of Embedded and Local; 0 takes a free one
	Prefix    string   // put before topic names on External brokers; unique to the run
	Log       io.Writer
	// MemoryLimit of the embedded broker's heap in bytes; 0 takes 900 MiB.
	MemoryLimit int64
	// Command starts the embedded broker; nil takes our own binary with the
	// argument "broker".
	Command []string
	// Container starts a container; it is given so that whoever never uses
	// Docker does not link its client. See package broker/container.
	Container func(ctx context.Context, log io.Writer) (addresses []string, version string, stop func() error, err error)
	// CacheDir keeps the jars of Local; empty takes the user's cache folder.
	CacheDir string
}

// ParseKind reads the --broker flag: a kind's name or HOST:PORT[,…].
func ParseKind(flag string) (Kind, []string, error) {
	switch k := Kind(flag); k {
	case Embedded, Local, Container:
		return k, nil, nil
	}
	addresses := strings.Split(flag, ",")
	for _, a := range addresses {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			return "", nil, fmt.Errorf("broker %q: allowed are embedded, container, local or HOST:PORT[,…]", flag)
		}
	}
	return External, addresses, nil
}

// Broker is a running Kafka that takes the run's topics.
type Broker struct {
	kind      Kind
	addresses []string
	version   string
	prefix    string
	child     *proc.Child
	stop      func() error
	client    *kgo.Client
	admin     *kadm.Client

	mu     sync.Mutex
	topics []string // created and not deleted
}

// reachable is how long a broker may take to answer its first request.
const reachable = 5 * time.Second

// Start starts the broker, or connects to it, and returns when it answers.
// Errors are one line and say what to do.
func Start(ctx context.Context, o Options) (*Broker, error) {
	b := &Broker{kind: o.Kind}
	var err error
	switch o.Kind {
	case Embedded:
		err = b.startEmbedded(ctx, o)
	case Local:
		err = b.startLocal(ctx, o)
	case Container:
		if o.Container == nil {
			return nil, errors.New("broker: this program was built without containers; use embedded, local or HOST:PORT")
		}
		b.addresses, b.version, b.stop, err = o.Container(ctx, o.Log)
	case External:
		b.addresses, b.prefix = o.Addresses, o.Prefix
	default:
		return nil, fmt.Errorf("broker: unknown kind %q", o.Kind)
	}
	if err == nil {
		err = b.connect(ctx)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Broker) startEmbedded(ctx context.Context, o Options) error {
	s := proc.Spec{Name: "broker", Args: []string{"broker"}, Stderr: o.Log}
	if len(o.Command) > 0 {
		s.Path, s.Args = o.Command[0], o.Command[1:]
	}
	lines := make(chan proc.Line, 1)
	s.OnLine = func(l proc.Line) {
		if l.Event == "ready" {
			select {
			case lines <- l:
			default:
			}
		}
	}
	var err error
	if b.child, err = proc.Start(s); err != nil {
		return err
	}
	limit := o.MemoryLimit
	if limit == 0 {
		limit = 900 << 20
	}
	if err := b.child.Send(job{Port: o.Port, MemoryLimit: limit}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case l := <-lines:
		var r ready
		if err := l.Decode(&r); err != nil {
			return fmt.Errorf("broker: ready line: %w", err)
		}
		b.addresses, b.version = []string{r.Address}, r.Version
		return nil
	case <-b.child.Done():
		return errors.New(orElse(b.child.Complaint(), "broker: ended before it was ready"))
	case <-ctx.Done():
		return fmt.Errorf("broker: not ready: %w", ctx.Err())
	}
}

func orElse(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

func (b *Broker) connect(ctx context.Context) error {
	var err error
	b.client, err = kgo.NewClient(
		kgo.SeedBrokers(b.addresses...),
		kgo.ClientID("streamduel-harness"),
		kgo.DialTimeout(reachable),
		kgo.RequestRetries(10),
		kgo.RetryTimeout(10*time.Second),
		kgo.MetadataMinAge(50*time.Millisecond),
	)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	b.admin = kadm.NewClient(b.client)
	b.admin.SetTimeoutMillis(10_000)
	ping, cancel := context.WithTimeout(ctx, reachable)
	defer cancel()
	// A connection that is accepted and never answered is not bound by the
	// context, so the wait for it is.
	answer := make(chan error, 1)
	go func() { answer <- b.client.Ping(ping) }()
	select {
	case err = <-answer:
	case <-ping.Done():
		err = ping.Err()
		client := b.client
		b.client, b.admin = nil, nil
		go client.Close()
	}
	if err != nil {
		return fmt.Errorf("broker: %s does not answer within %v (%w); is it running and reachable from here?",
			strings.Join(b.addresses, ","), reachable, cause(err))
	}
	if b.version == "" {
		if vs, err := b.admin.ApiVersions(ping); err == nil {
			vs.Each(func(v kadm.BrokerApiVersions) { b.version = "Kafka " + v.VersionGuess() })
		}
	}
	return nil
}

// cause cuts a client's error down to what the system said.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Kind returns where the broker comes from.
func (b *Broker) Kind() Kind { return b.kind }

// Brokers returns the addresses to connect to.
func (b *Broker) Brokers() []string { return slices.Clone(b.addresses) }

// Version names the product and its version.
func (b *Broker) Version() string { return b.version }

// Client is the harness's own connection.
func (b *Broker) Client() *kgo.Client { return b.client }

// Admin is the harness's own connection for administration.
func (b *Broker) Admin() *kadm.Client { return b.admin }

// Usage is what the broker's process has used; ok is false when it is not a
// process of ours.
func (b *Broker) Usage() (u proc.Usage, ok bool) {
	if b.child == nil {
		return proc.Usage{}, false
	}
	return b.child.Usage(), true
}

// Done is closed when the broker's process has ended; it is nil, and blocks for
// ever, for a broker that is not a process of ours.
func (b *Broker) Done() <-chan struct{} {
	if b.child == nil {
		return nil
	}
	return b.child.Done()
}

// Stats asks the embedded broker what it holds; ok is false for others.
func (b *Broker) Stats(ctx context.Context) (s Stats, ok bool, err error) {
	if b.kind != Embedded {
		return s, false, nil
	}
	l, err := b.child.Call(ctx, func(id int64) any {
		return map[string]any{"id": id, "stats": struct{}{}}
	})
	if err == nil {
		err = l.Decode(&s)
	}
	return s, true, err
}

// Topic returns the name that a topic has on the broker.
func (b *Broker) Topic(name string) string { return b.prefix + name }

// CreateTopic makes a topic with one replica; configs may be nil. It returns
// when the topic can be used.
func (b *Broker) CreateTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	name = b.Topic(name)
	cfg := map[string]*string{}
	if b.kind == Local || b.kind == Container {
		// Deleted records leave the disk as fast as a real broker allows.
		size, delay := "16777216", "1000"
		cfg["segment.bytes"], cfg["file.delete.delay.ms"] = &size, &delay
	}
	for k, v := range configs {
		cfg[k] = &v
	}
	replicas := int16(1)
	if b.kind == External {
		replicas = -1 // the cluster's own default
	}
	r, err := b.admin.CreateTopic(ctx, int32(partitions), replicas, cfg, name)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return fmt.Errorf("broker: topic %s cannot be created: %w", name, cause(err))
	}
	b.mu.Lock()
	b.topics = append(b.topics, name)
	b.mu.Unlock()
	return b.await(ctx, name, partitions)
}

// Grow raises a topic's number of partitions to total. It returns when the
// broker has acknowledged it; clients learn of it in their own time.
func (b *Broker) Grow(ctx context.Context, name string, total int) error {
	name = b.Topic(name)
	r, err := b.admin.UpdatePartitions(ctx, total, name)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		return fmt.Errorf("broker: topic %s cannot grow to %d partitions: %w", name, total, cause(err))
	}
	return nil
}

// await polls until all partitions have a leader, which takes a real broker a
// moment.
func (b *Broker) await(ctx context.Context, name string, partitions int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ts, err := b.admin.ListEndOffsets(ctx, name)
		if err == nil && ts.Error() == nil && len(ts[name]) >= partitions {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("broker: topic %s is not ready: %w", name, ctx.Err())
		}
	}
}

// DeleteTopics deletes topics of this run; one that does not exist is no error.
func (b *Broker) DeleteTopics(ctx context.Context, names ...string) error {
	for i := range names {
		names[i] = b.Topic(names[i])
	}
	return b.deleteTopics(ctx, names)
}

func (b *Broker) deleteTopics(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	rs, err := b.admin.DeleteTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("broker: topics cannot be deleted: %w", cause(err))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range rs.Sorted() {
		if r.Err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			err = fmt.Errorf("broker: topic %s cannot be deleted: %w", r.Topic, r.Err)
			continue
		}
		b.topics = slices.DeleteFunc(b.topics, func(t string) bool { return t == r.Topic })
	}
	return err
}

// Close ends the broker if it is ours. On external brokers it deletes the
// topics that the run made; what could not be deleted is the error.
func (b *Broker) Close() error {
	var err error
	if b.kind == External && b.admin != nil && len(b.topics) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = b.deleteTopics(ctx, slices.Clone(b.topics))
		cancel()
	}
	if b.client != nil {
		b.client.Close()
	}
	if b.stop != nil {
		err = errors.Join(err, b.stop())
	}
	if b.child != nil {
		_ = b.child.Stop(2 * time.Second) // how it ended does not matter any more
	}
	return err
}
