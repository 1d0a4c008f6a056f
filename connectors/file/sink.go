package file

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"streamduel/connectors"
)

// SinkConfig describes where to write. It survives JSON.
type SinkConfig struct {
	Dir string `json:"dir"` // created if it is missing
	// FlushMillis is how long a line may stay in the process. A line that has
	// left it survives a kill of the process; one that was flushed or prepared
	// survives the machine, too. Default 5.
	FlushMillis int `json:"flushMillis,omitempty"`
}

// Sink writes each record's value as a line, into files of a folder.
//
// At most once and at least once, a subtask appends to
// <node>-<subtask>-<attempt>.txt. Exactly once, an epoch is a file of its own:
// written under a name that begins with a dot, synced by Prepare, and renamed
// to <node>-<subtask>-<attempt>-<epoch>.txt by Commit; a Transaction lists the
// files of a batch and its positions in a manifest, whose renaming is the
// commit (see Manifest).
type Sink struct{ cfg SinkConfig }

var (
	_ connectors.Sink       = (*Sink)(nil)
	_ connectors.Recoverer  = (*Sink)(nil)
	_ connectors.Transactor = (*Sink)(nil)
)

// NewSink checks the configuration and completes it with its defaults.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if cfg.Dir == "" {
		return nil, errors.New("file sink: no dir")
	}
	if cfg.FlushMillis < 0 {
		return nil, fmt.Errorf("file sink: flushMillis %d is negative", cfg.FlushMillis)
	}
	if cfg.FlushMillis == 0 {
		cfg.FlushMillis = 5
	}
	return &Sink{cfg: cfg}, nil
}

// Describe implements connectors.Sink.
func (s *Sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "file", Guarantees: []connectors.Guarantee{
		connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}, AppendOnly: true}
}

// prefix begins the names of a sink's files.
func prefix(env connectors.Env) string {
	return strings.NewReplacer("/", "_", string(filepath.Separator), "_").Replace(env.Node) + "-"
}

// open creates the folder.
func (s *Sink) open() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o777); err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	return nil
}

// Writer implements connectors.Sink.
func (s *Sink) Writer(_ context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	return s.writer(env, fmt.Sprintf("%s%d-%d", prefix(env.Env), env.Subtask, env.Attempt)), nil
}

func (s *Sink) writer(env connectors.WriterEnv, base string) *writer {
	w := &writer{s: s, env: env, base: base, staged: env.Guarantee == connectors.ExactlyOnce, stop: make(chan struct{})}
	w.wg.Go(w.flushNowAndThen)
	return w
}

// writer buffers lines and hands them to the system at the latest after
// FlushMillis, from a goroutine of its own: a closed gate waits for what is in
// flight although no further Write comes.
type writer struct {
	s      *Sink
	env    connectors.WriterEnv
	base   string
	staged bool
	stop   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	f       *os.File // nil until the epoch's first line
	path    string
	unnamed bool // the folder may not have the file's name on the disk yet
	buf     *bufio.Writer
	epoch   int
	lines   int64
	bytes   int64 // in the file and the buffer
	pending []connectors.Origin
	unsent  int64 // bytes of pending
	err     error // the first, and the last
}

// Write implements connectors.Writer.
func (w *writer) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if bytes.IndexByte(r.Value, '\n') >= 0 {
		return fmt.Errorf("file sink %s: a value with a line end in it cannot be written as a line: %.80q", w.env.Node, r.Value)
	}
	if err := w.env.Gate.Enter(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.f == nil {
		w.err = w.begin()
	}
	if w.err != nil {
		w.env.Gate.Leave(1, 0)
		return w.err
	}
	var at connectors.Origin
	if o != nil {
		at = *o
	}
	w.pending = append(w.pending, at)
	n := int64(len(r.Value)) + 1
	w.lines, w.bytes, w.unsent = w.lines+1, w.bytes+n, w.unsent+n
	w.buf.Write(r.Value)   //nolint:errcheck // the error stays and Flush returns it
	w.buf.WriteByte('\n')  //nolint:errcheck // as above
	if w.unsent > 64<<10 { // what settles has left the process
		w.send()
	}
	return w.err
}

// begin opens the file. REQUIRES: w.mu.
func (w *writer) begin() error {
	name, flags := w.base+".txt", os.O_APPEND|os.O_CREATE|os.O_WRONLY
	if w.staged {
		if w.epoch == 0 {
			last, err := w.s.lastEpoch(w.base)
			if err != nil {
				return err
			}
			w.epoch = last
		}
		w.epoch++
		name, flags = fmt.Sprintf(".%s-%d.tmp", w.base, w.epoch), os.O_EXCL|os.O_CREATE|os.O_WRONLY
	}
	w.path = filepath.Join(w.s.cfg.Dir, name)
	f, err := os.OpenFile(w.path, flags, 0o666)
	if err != nil {
		return fmt.Errorf("file sink %s: %w", w.env.Node, err)
	}
	w.unnamed = !w.staged
	w.f, w.lines, w.bytes = f, 0, 0
	if w.buf == nil {
		w.buf = bufio.NewWriterSize(f, 128<<10)
	}
	w.buf.Reset(f)
	return nil
}

// send hands the buffer to the system and settles its lines. REQUIRES: w.mu.
func (w *writer) send() {
	if len(w.pending) == 0 {
		return
	}
	err := w.buf.Flush()
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("file sink %s: %w", w.env.Node, err)
	}
	n := int64(len(w.pending))
	if err != nil {
		w.env.Gate.Leave(n, 0)
	} else {
		if w.env.Acked != nil {
			for _, o := range w.pending {
				w.env.Acked(o)
			}
		}
		w.env.Gate.Leave(n, n)
	}
	w.pending, w.unsent = w.pending[:0], 0
}

func (w *writer) flushNowAndThen() {
	t := time.NewTicker(time.Duration(w.s.cfg.FlushMillis) * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			w.mu.Lock()
			w.send()
			w.mu.Unlock()
		case <-w.stop:
			return
		}
	}
}

// Flush implements connectors.Writer: what was written is on the disk.
func (w *writer) Flush(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sync()
}

// sync sends and syncs. REQUIRES: w.mu.
func (w *writer) sync() error {
	w.send()
	if w.err == nil && w.f != nil {
		if err := w.f.Sync(); err != nil {
			w.err = fmt.Errorf("file sink %s: %w", w.env.Node, err)
		}
	}
	if w.err == nil && w.unnamed { // a file without a name is as good as none
		w.err = syncDir(w.s.cfg.Dir)
		w.unnamed = false
	}
	return w.err
}

// Prepare implements connectors.Writer.
func (w *writer) Prepare(context.Context) (connectors.Committable, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.sync(); err != nil || !w.staged || w.f == nil {
		return nil, err
	}
	p := staged{Temp: filepath.Base(w.path), Final: fmt.Sprintf("%s-%d.txt", w.base, w.epoch), Lines: w.lines, Bytes: w.bytes}
	if err := w.f.Close(); err != nil {
		w.err = fmt.Errorf("file sink %s: %w", w.env.Node, err)
		return nil, w.err
	}
	w.f = nil
	// The folder's entry must survive, too, or the committable names nothing.
	if err := syncDir(w.s.cfg.Dir); err != nil {
		return nil, err
	}
	return p.encode(), nil
}

// Commit implements connectors.Writer.
func (w *writer) Commit(_ context.Context, c connectors.Committable) error {
	if c == nil {
		return nil
	}
	p, err := decodeStaged(c)
	if err != nil {
		return err
	}
	return w.s.publish([]staged{p})
}

// Release implements connectors.Writer: a file needs no id.
func (w *writer) Release(connectors.Committable) {}

// Abort implements connectors.Writer.
func (w *writer) Abort(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.staged || w.f == nil {
		return nil
	}
	w.send()
	err := errors.Join(w.f.Close(), os.Remove(w.path))
	w.f, w.err = nil, nil
	if err != nil {
		return fmt.Errorf("file sink %s: %w", w.env.Node, err)
	}
	return nil
}

// InFlight implements connectors.Writer.
func (w *writer) InFlight() (records, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int64(len(w.pending)), w.unsent
}

// Close implements connectors.Writer.
func (w *writer) Close() error {
	close(w.stop)
	w.wg.Wait()
	if w.staged {
		return w.Abort(context.Background())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send()
	if w.f == nil {
		return w.err
	}
	return errors.Join(w.err, w.f.Close())
}
