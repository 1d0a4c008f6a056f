package cluster

import (
	"context"
	"sync"
)

// Queue passes messages on in their order, without ever holding up who brings
// them.
type Queue struct {
	mu    sync.Mutex
	items []any
	wake  chan struct{}
}

// NewQueue returns an empty queue.
func NewQueue() *Queue { return &Queue{wake: make(chan struct{}, 1)} }

// Put appends a message.
func (q *Queue) Put(x any) {
	q.mu.Lock()
	q.items = append(q.items, x)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Serve calls f for each message until the context ends.
func (q *Queue) Serve(ctx context.Context, f func(any)) {
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
		q.mu.Lock()
		items := q.items
		q.items = nil
		q.mu.Unlock()
		for _, x := range items {
			f(x)
		}
	}
}
