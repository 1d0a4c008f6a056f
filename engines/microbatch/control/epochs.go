package control

import "fmt"

// Epochs is the coordinator of continuous processing: it numbers the epochs whose
// markers go to the tasks, takes in what the tasks report of them, and tells which
// are complete. An epoch is complete when every task has reported it and the one
// before is complete, so epochs are committed in order. T is what a task reports.
type Epochs[T any] struct {
	tasks   int
	backlog int
	next    int64 // to be begun
	oldest  int64 // that is not complete
	reports map[int64]map[int]T
}

// Epoch is a complete one with the reports of all tasks, by task.
type Epoch[T any] struct {
	Number  int64
	Reports []T
}

// NewEpochs returns a coordinator of so many tasks. At most backlog epochs may be
// under way at once.
func NewEpochs[T any](tasks, backlog int) *Epochs[T] {
	return &Epochs[T]{tasks: tasks, backlog: backlog, reports: map[int64]map[int]T{}}
}

// Begin returns the number of the epoch that the next marker ends. It fails when
// tasks are so far behind that the backlog is full.
func (e *Epochs[T]) Begin() (int64, error) {
	if n := e.next - e.oldest; n >= int64(e.backlog) {
		return 0, fmt.Errorf("%d epochs wait for their tasks, epoch %d the longest", n, e.oldest)
	}
	e.next++
	return e.next - 1, nil
}

// Waiting returns how many epochs are begun and not complete.
func (e *Epochs[T]) Waiting() int { return int(e.next - e.oldest) }

// Report takes in what a task says of an epoch and returns the epochs that are
// complete by it, in order. A report of an epoch that was not begun, or a second
// one, is an error: a task that counts wrong must not make progress durable.
func (e *Epochs[T]) Report(task int, epoch int64, report T) (complete []Epoch[T], err error) {
	if task < 0 || task >= e.tasks || epoch < e.oldest || epoch >= e.next {
		return nil, fmt.Errorf("task %d of %d reports epoch %d, of %d to %d", task, e.tasks, epoch, e.oldest, e.next-1)
	}
	of := e.reports[epoch]
	if of == nil {
		of = make(map[int]T, e.tasks)
		e.reports[epoch] = of
	}
	if _, twice := of[task]; twice {
		return nil, fmt.Errorf("task %d reports epoch %d twice", task, epoch)
	}
	of[task] = report
	for len(e.reports[e.oldest]) == e.tasks {
		done := Epoch[T]{Number: e.oldest, Reports: make([]T, e.tasks)}
		for k, r := range e.reports[e.oldest] {
			done.Reports[k] = r
		}
		delete(e.reports, e.oldest)
		e.oldest++
		complete = append(complete, done)
	}
	return complete, nil
}
