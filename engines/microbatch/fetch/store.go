package fetch

import (
	"io"
	"sync"

	"streamduel/engines/microbatch/spill"
	"streamduel/exchange"
)

// Key names the output of one map task for one edge.
type Key struct {
	Generation int64 `json:"generation"` // of the job's tasks
	Stage      int   `json:"stage"`
	Out        int   `json:"out"` // which of the stage's outgoing edges
	Up         int   `json:"up"`  // the map task
}

// Store holds map outputs. It is safe for concurrent use.
type Store struct {
	release func(*exchange.Buffer)
	mu      sync.Mutex
	outputs map[Key]*output
}

// output is what a map task has written in a batch, by downstream partition.
type output struct {
	store   *Store
	batch   int64
	parts   []spill.Part
	lent    int // views, and loans
	dropped bool
}

// NewStore returns an empty store, which gives buffers back through release.
func NewStore(release func(*exchange.Buffer)) *Store {
	return &Store{release: release, outputs: map[Key]*output{}}
}

// Put keeps a task's output of a batch in place of an older one.
func (s *Store) Put(k Key, batch int64, parts []spill.Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(k)
	s.outputs[k] = &output{store: s, batch: batch, parts: parts}
}

// Drop forgets the outputs that match.
func (s *Store) Drop(match func(Key) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.outputs {
		if match(k) {
			s.drop(k)
		}
	}
}

func (s *Store) drop(k Key) {
	o := s.outputs[k]
	if o == nil {
		return
	}
	delete(s.outputs, k)
	if o.dropped = true; o.lent == 0 {
		o.free()
	}
}

func (o *output) free() {
	for _, p := range o.parts {
		for _, b := range p.Buffers {
			o.store.release(b)
		}
		for _, x := range p.Segments {
			x.Release()
		}
	}
	o.parts = nil
}

// Loan is a partition's part of an output, to be read once, which it has to be.
type Loan struct {
	of       *output
	segments []*spill.Segment
	views    []*exchange.Buffer
	reader   *spill.Reader
}

// Lend lends a partition's part of an output; ok is false when it is not here.
func (s *Store) Lend(k Key, batch int64, down int) (l *Loan, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.outputs[k]
	if o == nil || o.batch != batch || down >= len(o.parts) {
		return nil, false
	}
	l = &Loan{of: o, segments: o.parts[down].Segments}
	for _, b := range o.parts[down].Buffers {
		l.views = append(l.views, exchange.View(b, o))
	}
	o.lent += len(l.views) + 1
	return l, true
}

// Read gives what was lent to f, which releases it, and closes the loan. What lies in
// a file is read into the buffers that into brings, which may wait.
func (l *Loan) Read(into func() (*exchange.Buffer, error), f func(*exchange.Buffer) error) error {
	defer l.close()
	for {
		b, err := l.next(into)
		if err == io.EOF { //nolint:errorlint // it is next's
			return nil
		}
		if err == nil {
			err = f(b)
		}
		if err != nil {
			return err
		}
	}
}

// next returns the next buffer; io.EOF is behind the last.
func (l *Loan) next(into func() (*exchange.Buffer, error)) (*exchange.Buffer, error) {
	for len(l.segments) > 0 {
		if l.reader == nil {
			l.reader = l.segments[0].Read()
		}
		b, err := into()
		if err != nil {
			return nil, err
		}
		err = l.reader.Next(b)
		if err == nil {
			return b, nil
		}
		b.Release()
		if err != io.EOF { //nolint:errorlint // the reader returns it as it is
			return nil, err
		}
		l.reader.Close()
		l.reader, l.segments = nil, l.segments[1:]
	}
	if len(l.views) == 0 {
		return nil, io.EOF
	}
	v := l.views[0]
	l.views = l.views[1:]
	return v, nil
}

// close gives back what was not read.
func (l *Loan) close() {
	for _, v := range l.views {
		v.Release()
	}
	if l.views = nil; l.reader != nil {
		l.reader.Close()
		l.reader = nil
	}
	l.of.back()
}

// Take implements exchange.Owner: a view has been released.
func (o *output) Take(*exchange.Buffer) { o.back() }

func (o *output) back() {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if o.lent--; o.lent == 0 && o.dropped {
		o.free()
	}
}
