package pipelinetest

import (
	"encoding/binary"
	"fmt"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
)

// Input is a typed source of a test: its values need no codec, because a record
// carries only which one it is. Its name is the source operator's.
type Input[T any] struct {
	name   string
	values []stamped[T]
	kept   []T // by Kept
}

type stamped[T any] struct {
	value T
	time  int64
}

// NewInput returns an input.
func NewInput[T any](name string) *Input[T] { return &Input[T]{name: name} }

// Stream reads the input in a job, with event time.
func (in *Input[T]) Stream(g *pipeline.Graph) *pipeline.Stream[T] {
	src := pipeline.From(g, in.name, Source{Name: in.name}, func(r *connectors.Record) (int, error) {
		i := binary.BigEndian.Uint64(r.Value)
		if i >= uint64(len(in.values)) {
			return 0, fmt.Errorf("pipelinetest: input %q has no value %d", in.name, i)
		}
		return int(i), nil
	}, pipeline.EventTime(func(i int) int64 { return in.values[i].time }, pipeline.Watermarks{}))
	return pipeline.Map(src, in.name+" values", func(i int) T { return in.values[i].value })
}

// At is a step that gives the input's partition 0 values with an event time.
func (in *Input[T]) At(time int64, values ...T) Step { return in.From(0, time, values...) }

// From is At for another partition; a source's subtask reads every nth.
func (in *Input[T]) From(partition int32, time int64, values ...T) Step {
	s := Step{source: in.name, partition: partition}
	for _, v := range values {
		s.records = append(s.records, connectors.Record{
			Value: binary.BigEndian.AppendUint64(nil, uint64(len(in.values))), Offset: int64(len(in.values)),
		})
		in.values = append(in.values, stamped[T]{v, time})
	}
	return s
}

// Kept is a codec for an input's type in tests: an exchange or a snapshot holds
// the number of a value that is kept in memory. It tests a job's operators where
// the codec of its own type is not the question.
func Kept[T any](in *Input[T]) codec.Codec[T] {
	return codec.Struct("pipelinetest kept/1", func(d []byte, v T) []byte {
		in.kept = append(in.kept, v)
		return codec.Int64{}.Append(d, int64(len(in.kept)-1))
	}, func(b []byte) (v T, n int, err error) {
		i, n, err := codec.Int64{}.Decode(b)
		if err != nil {
			return v, n, err
		}
		if i < 0 || i >= int64(len(in.kept)) {
			return v, n, fmt.Errorf("pipelinetest: input %q has kept no value %d", in.name, i)
		}
		return in.kept[i], n, nil
	}, nil)
}

// Text writes a stream to a sink as text, as fmt.Sprint has it.
func Text[T any](s *pipeline.Stream[T], name string) {
	pipeline.To(s, name, Sink{Name: name}, func(v T, r *connectors.Record) { r.Value = fmt.Append(r.Value, v) })
}

// Output is a typed sink of a test.
type Output[T any] struct{ values []T }

// To writes a stream to the output under a sink operator's name. Values that
// are views of a buffer need keep to copy them; nil keeps them as they are.
func (out *Output[T]) To(s *pipeline.Stream[T], name string, keep func(T) T) {
	pipeline.To(s, name, Sink{Name: name}, func(v T, _ *connectors.Record) {
		if keep != nil {
			v = keep(v)
		}
		out.values = append(out.values, v)
	})
}

// Take returns what has come out since the last call.
func (out *Output[T]) Take() []T {
	vs := out.values
	out.values = nil
	return vs
}
