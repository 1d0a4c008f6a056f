package engines

import (
	"sync/atomic"

	"streamduel/connectors"
	"streamduel/pipeline"
)

// badSamples is how many records of bad input an engine tells of; the others it
// only counts.
const badSamples = 10

// badBytes is how much of such a record's value an event shows.
const badBytes = 120

// BadInput tells of a record that could not be used: one of the first few.
type BadInput struct {
	Source   string              `json:"source"`
	Split    connectors.SplitID  `json:"split"`
	Position connectors.Position `json:"position"`
	Reason   string              `json:"reason"`
	Value    []byte              `json:"value"` // its beginning
}

// Kind names the event.
func (BadInput) Kind() string { return "badInput" }

// BadInputs counts a job's bad input. What is read again counts again.
type BadInputs struct {
	count atomic.Int64
	emit  func(Event)
}

// NewBadInputs returns a count whose samples go to emit.
func NewBadInputs(emit func(Event)) *BadInputs { return &BadInputs{emit: emit} }

// Take is a pipeline.TaskConfig's BadInput. It may be called by any goroutine.
func (b *BadInputs) Take(r *pipeline.BadRecord) {
	if b.count.Add(1) > badSamples {
		return
	}
	value := r.Record.Value[:min(len(r.Record.Value), badBytes)]
	b.emit(BadInput{Source: r.Source, Split: r.Split, Position: r.Position, Reason: r.Reason, Value: append([]byte(nil), value...)})
}

// Count returns how many there were.
func (b *BadInputs) Count() int64 { return b.count.Load() }
