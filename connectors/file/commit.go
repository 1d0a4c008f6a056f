package file

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"streamduel/connectors"
)

// staged is an epoch's file that waits for its name.
type staged struct {
	Temp  string `json:"temp"`
	Final string `json:"final"`
	Lines int64  `json:"lines"`
	Bytes int64  `json:"bytes"`
}

const version = 1

var errCommittable = errors.New("file sink: not a committable of this sink")

// encode returns version, JSON and checksum.
func (p staged) encode() connectors.Committable {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // two strings and two numbers
	}
	b := append([]byte{version}, body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decodeStaged(c connectors.Committable) (p staged, err error) {
	if len(c) < 5 || c[0] != version {
		return p, errCommittable
	}
	body := c[:len(c)-4]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(c[len(c)-4:]) {
		return p, fmt.Errorf("%w: checksum does not match", errCommittable)
	}
	if err := json.Unmarshal(body[1:], &p); err != nil {
		return p, fmt.Errorf("%w: %w", errCommittable, err)
	}
	return p, p.check()
}

// check refuses names that lead out of the sink's folder.
func (p staged) check() error {
	for _, n := range []string{p.Temp, p.Final} {
		if n == "" || n != filepath.Base(n) || n == "." || n == ".." {
			return fmt.Errorf("%w: name %q", errCommittable, n)
		}
	}
	return nil
}

// publish gives files their names; done twice it does no harm. A file that is
// under neither name, or is not as long as it was, is lost.
func (s *Sink) publish(ps []staged) error {
	var lost []string
	for _, p := range ps {
		final := filepath.Join(s.cfg.Dir, p.Final)
		if err := os.Rename(filepath.Join(s.cfg.Dir, p.Temp), final); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("file sink: %w", err)
		}
		st, err := os.Stat(final)
		if err != nil || st.Size() != p.Bytes {
			lost = append(lost, p.Final)
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("file sink: %d of %d prepared files are gone or not whole, their records are lost: %s", len(lost), len(ps), strings.Join(lost, ", "))
	}
	return syncDir(s.cfg.Dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	return nil
}

// Recover implements connectors.Recoverer.
func (s *Sink) Recover(_ context.Context, env connectors.WriterEnv, cs []connectors.Committable) error {
	if err := s.open(); err != nil {
		return err
	}
	var ps []staged
	for _, c := range cs {
		if c == nil {
			continue
		}
		p, err := decodeStaged(c)
		if err != nil {
			return err
		}
		ps = append(ps, p)
	}
	if err := s.publish(ps); err != nil {
		return err
	}
	return s.sweep(env.Env)
}

// sweep removes the unpublished files of a sink.
func (s *Sink) sweep(env connectors.Env) error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	for _, e := range entries {
		if unpublished(e.Name(), prefix(env)) {
			if err := os.Remove(filepath.Join(s.cfg.Dir, e.Name())); err != nil {
				return fmt.Errorf("file sink: %w", err)
			}
		}
	}
	return nil
}

// unpublished reports whether a name is that of a file which a sink has not
// published. Its prefix may begin the names of another sink's files as well, but
// those have one number more or fewer behind it.
func unpublished(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, "."+prefix)
	numbers, ok2 := strings.CutSuffix(rest, ".tmp")
	parts := strings.Split(numbers, "-") // subtask, attempt, epoch
	if !ok || !ok2 || len(parts) != 3 {
		return false
	}
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 64); err != nil {
			return false
		}
	}
	return true
}

// lastEpoch returns the number of the last epoch of which the folder has a file
// whose name begins with base, 0 if none: a writer that is opened again within an
// attempt must not take a name that is taken.
func (s *Sink) lastEpoch(base string) (last int, err error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return 0, fmt.Errorf("file sink: %w", err)
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(strings.TrimPrefix(e.Name(), "."), base+"-")
		number, _, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(number); ok && err == nil {
			last = max(last, n)
		}
	}
	return last, nil
}

// Manifest is what a Transaction's commit writes, into .<node>-manifest.json:
// the newest batch's positions, metadata and files. Its renaming is the commit:
// files that it lists and that have no name yet get it by who opens the
// transaction next.
type Manifest struct {
	Serial    int64                                      `json:"serial"`
	Positions map[connectors.SplitID]connectors.Position `json:"positions"`
	Metadata  string                                     `json:"metadata"`
	Files     []staged                                   `json:"files"`
}

func (s *Sink) manifestPath(env connectors.Env) string {
	return filepath.Join(s.cfg.Dir, "."+prefix(env)+"manifest.json")
}

// readManifest returns nil if there is none yet.
func (s *Sink) readManifest(env connectors.Env) (*Manifest, error) {
	b, err := os.ReadFile(s.manifestPath(env))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("file sink: %w", err)
	}
	return decodeManifest(b)
}

// decodeManifest checks the checksum in the first line and reads the rest.
func decodeManifest(b []byte) (*Manifest, error) {
	var sum uint32
	if len(b) < 9 || b[8] != '\n' {
		return nil, errors.New("file sink: manifest is damaged: no checksum")
	}
	if _, err := fmt.Sscanf(string(b[:8]), "%08x", &sum); err != nil || sum != crc32.ChecksumIEEE(b[9:]) {
		return nil, errors.New("file sink: manifest is damaged: checksum does not match")
	}
	m := new(Manifest)
	if err := json.Unmarshal(b[9:], m); err != nil {
		return nil, fmt.Errorf("file sink: manifest is damaged: %w", err)
	}
	for _, p := range m.Files {
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Manifest) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("file sink: manifest: %w", err)
	}
	return append(fmt.Appendf(nil, "%08x\n", crc32.ChecksumIEEE(body)), body...), nil
}

// Transaction implements connectors.Transactor. Nothing fences an older process
// here: the engine's attempt file does.
func (s *Sink) Transaction(_ context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	env.Guarantee = connectors.ExactlyOnce
	t := &transaction{s: s, env: env, writers: make(map[int]*writer)}
	m, err := s.readManifest(env.Env)
	if err != nil {
		return nil, err
	}
	if m != nil {
		t.last = m
		if err := s.publish(m.Files); err != nil {
			return nil, err
		}
	}
	return t, s.sweep(env.Env)
}

type transaction struct {
	s    *Sink
	env  connectors.WriterEnv
	last *Manifest // committed
	next *Manifest // prepared

	mu      sync.Mutex
	writers map[int]*writer
}

// Committed implements connectors.Transaction.
func (t *transaction) Committed(context.Context) (map[connectors.SplitID]connectors.Position, string, bool, error) {
	if t.last == nil {
		return nil, "", false, nil
	}
	return t.last.Positions, t.last.Metadata, true, nil
}

// Begin implements connectors.Transaction.
func (t *transaction) Begin(context.Context) error { return nil }

// Writer implements connectors.Transaction.
func (t *transaction) Writer(subtask int) connectors.Writer {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writers[subtask]
	if w == nil {
		w = t.s.writer(t.env, fmt.Sprintf("%s%d-%d", prefix(t.env.Env), subtask, t.env.Attempt))
		t.writers[subtask] = w
	}
	return taskWriter{w}
}

// taskWriter is a writer whose epoch the transaction ends.
type taskWriter struct{ *writer }

func (w taskWriter) Close() error { return nil }

// Prepare implements connectors.Transaction.
func (t *transaction) Prepare(ctx context.Context, positions map[connectors.SplitID]connectors.Position, metadata string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = &Manifest{Serial: 1, Positions: make(map[connectors.SplitID]connectors.Position), Metadata: metadata}
	if t.last != nil {
		t.next.Serial = t.last.Serial + 1
		for id, p := range t.last.Positions {
			t.next.Positions[id] = p
		}
	}
	for id, p := range positions {
		t.next.Positions[id] = p
	}
	for _, w := range t.writers {
		c, err := w.Prepare(ctx)
		if err != nil {
			return err
		}
		if c != nil {
			p, err := decodeStaged(c)
			if err != nil {
				return err
			}
			t.next.Files = append(t.next.Files, p)
		}
	}
	return nil
}

// Commit implements connectors.Transaction.
func (t *transaction) Commit(context.Context) error {
	if t.next == nil {
		return errors.New("file sink: commit of a transaction that is not prepared")
	}
	b, err := t.next.encode()
	if err != nil {
		return err
	}
	path := t.s.manifestPath(t.env.Env)
	if err := writeSynced(path+".new", b); err != nil {
		return fmt.Errorf("%w: %w", connectors.ErrRetriable, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	if err := syncDir(t.s.cfg.Dir); err != nil {
		return err
	}
	t.last, t.next = t.next, nil
	return t.s.publish(t.last.Files)
}

func writeSynced(path string, b []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	return nil
}

// Abort implements connectors.Transaction.
func (t *transaction) Abort(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, w := range t.writers {
		errs = append(errs, w.Abort(ctx))
	}
	if t.next != nil { // prepared files are nobody's any more
		for _, p := range t.next.Files {
			errs = append(errs, os.Remove(filepath.Join(t.s.cfg.Dir, p.Temp)))
		}
		t.next = nil
	}
	return errors.Join(errs...)
}

// Close implements connectors.Transaction.
func (t *transaction) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, w := range t.writers {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}
