package fetch

import (
	"sync"

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
	buffers [][]*exchange.Buffer
	lent    int
	dropped bool
}

// NewStore returns an empty store, which gives buffers back through release.
func NewStore(release func(*exchange.Buffer)) *Store {
	return &Store{release: release, outputs: map[Key]*output{}}
}

// Put keeps a task's output of a batch in place of an older one.
func (s *Store) Put(k Key, batch int64, buffers [][]*exchange.Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(k)
	s.outputs[k] = &output{store: s, batch: batch, buffers: buffers}
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
	for _, bs := range o.buffers {
		for _, b := range bs {
			o.store.release(b)
		}
	}
	o.buffers = nil
}

// Lend returns views of a partition's part of an output; ok is false when it is
// not here. Every view has to be released.
func (s *Store) Lend(k Key, batch int64, down int) (views []*exchange.Buffer, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.outputs[k]
	if o == nil || o.batch != batch || down >= len(o.buffers) {
		return nil, false
	}
	for _, b := range o.buffers[down] {
		views = append(views, exchange.View(b, o))
	}
	o.lent += len(views)
	return views, true
}

// Take implements exchange.Owner: a view has been released.
func (o *output) Take(*exchange.Buffer) {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if o.lent--; o.lent == 0 && o.dropped {
		o.free()
	}
}
