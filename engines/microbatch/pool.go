package microbatch

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// pool is the executor: so many tasks run at once, in the order in which they
// were handed over (FIFO by stage).
type pool struct {
	work chan func()
	wait sync.WaitGroup
}

func newPool(cores int) *pool {
	p := &pool{work: make(chan func())}
	for range cores {
		p.wait.Go(func() {
			for f := range p.work {
				f()
			}
		})
	}
	return p
}

func (p *pool) close() {
	close(p.work)
	p.wait.Wait()
}

// panicked is a panic in a task or in the driver. It is never retried: it is a
// bug, and its stack is the first thing that is wanted.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n\n%s", p.value, p.stack) }

// guard runs f and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return f()
}
