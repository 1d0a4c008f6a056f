// Package workloads holds what a measured job is: a schema, a generator that
// makes its input, a pipeline that both engines run, and the accounting by
// which an observer judges the output without having seen the engine.
//
// A workload is a value of type Workload, registered by name. A user's own
// program registers its own and calls bench.Main.
package workloads

import (
	"fmt"
	"iter"
	"path/filepath"
	"reflect"
	"sort"
	"sync"

	"streamduel/connectors"
	"streamduel/pipeline"
)

// Workload is everything the harness must know of a job.
type Workload struct {
	Name string
	Doc  string // one sentence for `bench list`
	// Params returns a pointer to a new parameter struct with its defaults set.
	// Its JSON names are the scenario's field names; if it has a method
	// Validate() error, that is called after decoding.
	Params func() any
	// Generator makes the load process's input. It is used by one goroutine.
	Generator func(params any, seed uint64) (Generator, error)
	// Pipeline builds the job. It must build the same graph each time.
	Pipeline func(params any, io IO) (*pipeline.Graph, error)
	// Accounting tells the ledger how to judge the output.
	Accounting func(params any, seed uint64) (Accounting, error)
	// NeedsOrigin: the payload holds no id, so every input must carry
	// connectors.OriginHeader, closing records too.
	NeedsOrigin bool
	// EchoesOrigin: outputs that answer one input name it by
	// connectors.OriginHeader, so the job must carry origins to its sinks.
	EchoesOrigin bool
	// SamplesOrigin: outputs answer one input and name it in their payload, so
	// that the origin is wanted for the processing latency only: a sample of the
	// outputs carries it. An aggregate has no single origin and sets neither.
	SamplesOrigin bool
	// Bad lists the kinds of bad input that the generator can make, which then is
	// a Spoiler; empty for none.
	Bad []BadKind
	// NoBad says why there can be none, to whom asks for some: "every value is good".
	NoBad string
}

// Rebaser is implemented by parameters that name files: Rebase resolves
// relative paths against the folder of the scenario file. It is called before
// the parameters are used or sent to another process, and best before they are
// validated, because Validate looks at files of absolute name only. Calling it
// again changes nothing.
type Rebaser interface{ Rebase(dir string) }

// Resolve is what Rebase does to a path: it becomes absolute, beginning at dir.
func Resolve(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	joined := filepath.Join(dir, path)
	if absolute, err := filepath.Abs(joined); err == nil {
		return absolute
	}
	return joined
}

// Timeline is implemented by generators whose records have due times of their
// own, so that a load can follow them instead of a rate. Record i stands at
// Offsets()[i mod n] + (i div n)·Length.
type Timeline interface {
	// Offsets returns when each record is due after the first one, in
	// nanoseconds at speed 1; they never fall. The slice is the generator's.
	Offsets() []int64
	// Length is the time in nanoseconds after which the records begin again: the
	// last offset and one mean step. It is above 0.
	Length() int64
}

// IO is where a job's input and output live.
type IO struct {
	Brokers []string
	Input   Topics
	Output  string // topic of results
	Late    string // topic of late records
	// Open makes the job's source and sinks; the worker supplies it, so that
	// workloads know no connector implementation.
	Source func(t Topics) connectors.Source
	Sink   func(topic string) connectors.Sink
}

// Topics names a source's topics: a list, or a pattern that new topics may
// match later.
type Topics struct {
	Names   []string `json:"names,omitempty"`
	Pattern string   `json:"pattern,omitempty"`
}

// String names the topics.
func (t Topics) String() string {
	if t.Pattern != "" {
		return fmt.Sprintf("topics like %q", t.Pattern)
	}
	return fmt.Sprintf("topics %q", t.Names)
}

// Input identifies one generated record. The load process makes it from its
// plan; the observer makes it again from the same plan, so that nothing but
// (partition, sequence) has to travel for a record to be known exactly.
type Input struct {
	Index     int64 // number in the whole load, from 0, in schedule order
	Partition int32 // global partition number: that of its topic, plus those of the topics before it
	Sequence  int64 // number within its partition, from 0; the record's Kafka offset
	Scheduled int64 // monotonic nanoseconds at which it is due
	EventTime int64 // Unix milliseconds: the schedule on the wall clock
}

// Generator makes records. The same seed and input always give the same bytes,
// whatever was made before.
type Generator interface {
	// Append appends the record's payload to dst and returns the extended
	// slice. key is nil or aliases memory valid until the next call.
	Append(dst []byte, in Input) (value, key []byte)
	// Closing appends the closing record of a partition: its event time lies
	// past every window, delay and lateness; oracle and counts leave it out.
	Closing(dst []byte, in Input) (value, key []byte)
}

// Accounting says how outputs are matched with inputs.
type Accounting struct {
	Kind AccountingKind
	// Parse reads one output record. late is set for records of the late topic.
	// It must not keep r. It is called for every output: no allocation.
	Parse func(r *connectors.Record, late bool, row *Row) error
	// Oracle returns a new single-threaded evaluation of the input. It is nil for
	// workloads without one: then only copies are judged, and losses where every
	// input has an output that names it. Gates on what cannot be known then are
	// not judged, and say so.
	Oracle func() Oracle
}

// PerInput reports whether every input has one output that names it, unless the
// oracle filters it out. What the crash catalogue predicts in copies holds for
// such outputs only.
func (a Accounting) PerInput() bool { return a.Kind == OneToOne || a.Kind == Running }

// AccountingKind is how duplicates and losses of a workload are counted.
type AccountingKind string

// The kinds of accounting.
const (
	OneToOne AccountingKind = "one-to-one" // every input gives one output that carries its id
	// Matches: an output carries the id of the one input that brought it about,
	// and which inputs do is the oracle's to say: alarms, what a filter passes.
	// Without an oracle copies are known and losses are not.
	Matches AccountingKind = "matches"
	Delta   AccountingKind = "delta"   // outputs are increments; their sum a key is judged
	Running AccountingKind = "running" // outputs are running values; the last a key is judged
	Windows AccountingKind = "windows" // one final row a (key, window)
)

// Row is one parsed output.
type Row struct {
	// HasID: the row names the one input that it answers (OneToOne, and Running
	// workloads with one output an input).
	HasID     bool
	Partition int32
	Sequence  int64

	Key    []byte // grouping key; aliases the record. Empty for pure pass-through.
	Window int64  // start of the window in Unix milliseconds (Windows)
	Value  int64  // count or sum: the increment (Delta), the running value (Running), the final one (Windows)
	IDHash uint64 // sum of HashID over the contributing inputs, as the pipeline computed it
	// HasHash: the row carries IDHash.
	HasHash bool

	// Closing: the row shows the effect of the closing record of Partition and
	// is left out of the counts.
	Closing bool
}

// Oracle evaluates the input plainly. Inputs arrive in schedule order.
type Oracle interface {
	// Add takes one input and the payload that was sent for it, and calls emit
	// for each contribution: the (key, window) that the input belongs to and by
	// how much it raises the value. Inputs that are filtered out emit nothing.
	// late is true for inputs that the job sent to the late topic.
	Add(in Input, payload []byte, late bool, emit func(key []byte, window int64, value int64))
}

// HashID is the 64-bit hash of an input's id that aggregates carry summed up,
// so that a copy and a loss cannot cancel out. It is splitmix64's finalizer
// (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
func HashID(partition int32, sequence int64) uint64 {
	z := uint64(partition)<<48 ^ uint64(sequence) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

var registry = struct {
	sync.Mutex
	m map[string]*Workload
}{m: map[string]*Workload{}}

// Register adds a workload; one that lacks something, or a second one of the same
// name, is a programming error and panics with what is wrong.
func Register(w *Workload) {
	registry.Lock()
	defer registry.Unlock()
	if why := w.incomplete(); why != "" {
		panic(fmt.Sprintf("workloads: %q cannot be registered: %s", w.Name, why))
	}
	if registry.m[w.Name] != nil {
		panic(fmt.Sprintf("workloads: %q is registered twice: give yours another Name", w.Name))
	}
	registry.m[w.Name] = w
}

// incomplete says what a workload lacks, "" for nothing.
func (w *Workload) incomplete() string {
	switch {
	case w.Name == "":
		return "it has no Name, by which scenarios call it"
	case w.Params == nil:
		return "it has no Params: a function that returns a pointer to a new struct with the defaults"
	case w.Generator == nil:
		return "it has no Generator, which makes the load's records"
	case w.Pipeline == nil:
		return "it has no Pipeline, which builds the job"
	case w.Accounting == nil:
		return "it has no Accounting, by which its output is judged"
	}
	if t := reflect.TypeOf(w.Params()); t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return fmt.Sprintf("its Params return %v, but scenarios are decoded into a pointer to a struct", t)
	}
	return ""
}

// Lookup returns the workload of that name, or nil.
func Lookup(name string) *Workload {
	registry.Lock()
	defer registry.Unlock()
	return registry.m[name]
}

// All yields the registered workloads by name.
func All() iter.Seq[*Workload] {
	registry.Lock()
	defer registry.Unlock()
	var ws []*Workload
	for _, w := range registry.m {
		ws = append(ws, w)
	}
	sort.Slice(ws, func(i, j int) bool { return ws[i].Name < ws[j].Name })
	return func(yield func(*Workload) bool) {
		for _, w := range ws {
			if !yield(w) {
				return
			}
		}
	}
}
