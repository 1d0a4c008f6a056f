package cluster

import (
	"context"
	"errors"
	"testing"
)

// TestCalls: answers find those that asked, whatever their order, and a peer's end
// is the answer to whatever is open.
func TestCalls(t *testing.T) {
	var here, there *Calls
	asked := make(chan Envelope, 2)
	here = NewCalls(func(m Message) error {
		e, mine, err := there.Receive(m)
		if mine {
			asked <- e
		}
		return err
	})
	there = NewCalls(func(m Message) error { _, _, err := here.Receive(m); return err })
	go func() {
		first, second := <-asked, <-asked
		for _, e := range []Envelope{second, first} {
			var n int
			if err := e.Decode(&n); err != nil {
				there.Answer(e.Call, nil, err)
				continue
			}
			if n == 13 {
				there.Answer(e.Call, nil, errors.New("unlucky"))
				continue
			}
			there.Answer(e.Call, n*n, nil)
		}
	}()
	failed := make(chan error, 1)
	go func() { failed <- here.Call(t.Context(), "square", 13, nil) }()
	var got int
	if err := here.Call(t.Context(), "square", 7, &got); err != nil || got != 49 {
		t.Errorf("%d, %v", got, err)
	}
	if err := <-failed; err == nil || err.Error() != "unlucky" {
		t.Error(err)
	}

	gone := errors.New("gone")
	go func() { failed <- here.Call(context.Background(), "square", 1, nil) }()
	<-asked
	here.End(gone)
	if err := <-failed; !errors.Is(err, gone) {
		t.Error(err)
	}
	if err := here.Call(t.Context(), "square", 1, nil); !errors.Is(err, gone) {
		t.Error(err)
	}
}
