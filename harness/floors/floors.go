// Package floors measures, within a run and on the run's own broker, what this
// machine gives to programs that do nothing else: a bare consume → produce loop
// on the client library, a bare exchange between two goroutines, and bare
// decoding. An engine's figure is read as a ratio to its floor, which survives
// a noisy or slow machine where an absolute figure does not.
//
// The client loop is measured twice over. At saturation its requests carry
// thousands of records each, so it says what the library can do at most. A cell
// offers records at a rate of its own, and most of what it spends at that rate
// goes into requests that carry few: its figures are therefore read against the
// paced loop, which passes records on as they come at the cell's rate, between
// the cell's own generator and observer ([MeasurePaced]).
//
// Every loop runs in a process of its own, so that the processor time is its
// own. The loops are written by hand and share no code with the engines.
package floors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"streamduel/harness/broker"
	"streamduel/harness/proc"
	"streamduel/runs"
)

// Options say what to measure.
type Options struct {
	Broker     *broker.Broker
	RecordSize int // bytes of a record's value; 0 takes 100
	Partitions int // of the input and of the output; 0 takes 4
	// Records of the client loop; 0 takes 400,000. What is done within Limit
	// counts.
	Records int
	Limit   time.Duration // for one call; 0 takes 15 s
	Quick   bool          // shorter windows and fewer attempts, for checks
	Log     io.Writer
	// Command starts the process; nil takes our own binary. The argument
	// "floors" or "load" follows.
	Command []string

	drain time.Duration // see pacedDrain
}

func (o *Options) defaults() {
	if o.RecordSize <= 0 {
		o.RecordSize = 100
	}
	if o.Partitions <= 0 {
		o.Partitions = 4
	}
	if o.Records <= 0 {
		o.Records = 400_000
	}
	if o.Limit <= 0 {
		o.Limit = 15 * time.Second
	}
	if o.drain <= 0 {
		o.drain = pacedDrain
	}
}

// spec starts a child process of ours.
func (o Options) spec(name, arg string, line func(proc.Line)) proc.Spec {
	s := proc.Spec{Name: name, Args: []string{arg}, Stderr: o.Log, OnLine: line}
	if len(o.Command) > 0 {
		s.Path, s.Args = o.Command[0], append(slices.Clone(o.Command[1:]), arg)
	}
	return s
}

// delete deletes topics; what is left goes with the broker.
func (o Options) delete(ctx context.Context, topics ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = o.Broker.DeleteTopics(ctx, topics...)
}

// topic names of the client loop; deleted afterwards.
const (
	inputTopic  = "floor-in"
	outputTopic = "floor-out"
)

// Measure measures the floors. Nothing else should run meanwhile.
func Measure(ctx context.Context, o Options) (*runs.Floors, error) {
	o.defaults()
	j := job{Brokers: o.Broker.Brokers(), Input: o.Broker.Topic(inputTopic), Output: o.Broker.Topic(outputTopic),
		RecordSize: o.RecordSize, Partitions: o.Partitions, Records: o.Records, Quick: o.Quick}
	// A third for the client loop and at most half as much for filling its
	// input leave room for the rest.
	j.LoopMillis = (o.Limit / 3).Milliseconds()
	ctx, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	for _, topic := range []string{inputTopic, outputTopic} {
		if err := o.Broker.CreateTopic(ctx, topic, j.Partitions, nil); err != nil {
			return nil, err
		}
	}
	defer o.delete(ctx, inputTopic, outputTopic)
	lines := make(chan proc.Line, 16)
	c, err := proc.Start(o.spec("floors", "floors", func(l proc.Line) {
		select {
		case lines <- l:
		default:
		}
	}))
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Stop(time.Second) }() // what it measured is known by then
	if err := c.Send(j); err != nil {
		return nil, err
	}
	for {
		select {
		case l := <-lines:
			if l.Event != "floors" {
				continue
			}
			f := new(runs.Floors)
			return f, l.Decode(f)
		case <-ctx.Done():
			return nil, fmt.Errorf("floors: not measured within %v: %w", o.Limit, ctx.Err())
		case <-c.Done():
			select {
			case l := <-lines:
				if l.Event == "floors" {
					f := new(runs.Floors)
					return f, l.Decode(f)
				}
			default:
			}
			if s := c.Complaint(); s != "" {
				return nil, errors.New(s)
			}
			return nil, errors.New("floors: the process ended without a result")
		}
	}
}

// job is the first line of the floors process's input.
type job struct {
	Brokers    []string `json:"brokers"`
	Input      string   `json:"input"`
	Output     string   `json:"output"`
	Partitions int      `json:"partitions"`
	RecordSize int      `json:"recordSize"`
	Records    int      `json:"records"`
	LoopMillis int64    `json:"loopMillis"`
	Quick      bool     `json:"quick,omitempty"`
	// Paced asks for the loop that passes records on as they come, until
	// standard input ends.
	Paced        bool  `json:"paced,omitempty"`
	CommitMillis int64 `json:"commitMillis,omitempty"`
}

// Main runs the floors process: it measures once, prints one event and ends.
func Main(ctx context.Context, in io.Reader, out, errs io.Writer) int {
	s := proc.NewServer(in, out)
	var j job
	if err := s.Job(&j); err != nil {
		fmt.Fprintln(errs, "floors:", err)
		return 2
	}
	ctx = s.Commands(ctx, func([]byte) {})
	if j.Paced {
		if err := pacedLoop(ctx, j, s); err != nil {
			fmt.Fprintln(errs, "floors: paced loop:", err)
			return 4
		}
		return 0
	}
	var f runs.Floors
	var err error
	if f.ClientLoop, err = clientLoop(ctx, j); err != nil {
		if ctx.Err() != nil {
			return 0
		}
		fmt.Fprintln(errs, "floors: client loop:", err)
		return 4
	}
	limit := enough
	if j.Quick {
		limit = enoughQuick
	}
	f.Exchange = fastest(limit, func() sample { return exchangeLoop(exchangeRecords, j.RecordSize) })
	f.Decode = fastest(limit, func() sample { return decodeLoop(decodeRecords) })
	s.Emit("floors", f)
	return 0
}

// sample is one measurement.
type sample struct {
	records int64
	wall    time.Duration
	cpu     time.Duration
}

func (s sample) floor() *runs.Floor {
	rate := float64(s.records) / s.wall.Seconds()
	f := &runs.Floor{RecordsPerSecond: &rate}
	if s.cpu > 0 {
		cpu := s.cpu.Seconds() / (float64(s.records) / 1e6)
		f.CPUSecondsPerMillion = &cpu
	}
	return f
}

// The loops without a broker run up to attempts times, within a second or so
// each. The fastest counts: a floor is what the machine can do, and whatever
// else ran can only slow it.
const (
	attempts    = 5
	enough      = time.Second
	enoughQuick = 300 * time.Millisecond
)

func fastest(limit time.Duration, run func() sample) *runs.Floor {
	began := time.Now()
	best := run()
	for k := 1; k < attempts && time.Since(began) < limit; k++ {
		if s := run(); s.wall < best.wall {
			best = s
		}
	}
	return best.floor()
}
