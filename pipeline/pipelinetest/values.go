package pipelinetest

import (
	"encoding/binary"
	"fmt"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
)

// Input is a typed source of a test: its values need no codec, because a record
// carries only which one it is. Its name is the source operator's. Its watermarks
// are those that the test gives: by hand in a Host, by marks in an engine.
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
	src := pipeline.From(g, in.name, Source{Name: in.name}, func(r *connectors.Record) (taken, error) {
		if r.Headers != nil {
			return taken{mark: true, at: int64(binary.BigEndian.Uint64(r.Value))}, nil
		}
		i := binary.BigEndian.Uint64(r.Value)
		if i >= uint64(len(in.values)) {
			return taken{}, fmt.Errorf("pipelinetest: input %q has no value %d", in.name, i)
		}
		return taken{value: int(i), at: in.values[i].time}, nil
	},
		pipeline.EventTime(func(v taken) int64 {
			if v.mark {
				return 0 // the end of time is no event time
			}
			return v.at
		}, pipeline.Watermarks{BeforeEpoch: true}),
		pipeline.Punctuated(func(v taken, _ int64) (int64, bool) { return v.at, v.mark }))
	return pipeline.FlatMap(src.Codec(takenCodec), in.name+" values", func(v taken, emit func(T)) {
		if !v.mark {
			emit(in.values[v.value].value)
		}
	})
}

// taken is a record of an input: which value it is, or a mark.
type taken struct {
	value int
	mark  bool
	at    int64 // its event time, or the watermark
}

var takenCodec = codec.Struct("pipelinetest.taken/1", func(dst []byte, v taken) []byte {
	return codec.Int64{}.Append(codec.Bool{}.Append(codec.Int64{}.Append(dst, int64(v.value)), v.mark), v.at)
}, func(src []byte) (v taken, n int, err error) {
	if len(src) < 17 {
		return v, 0, codec.ErrShort
	}
	i, _, _ := codec.Int64{}.Decode(src)
	v.value = int(i)
	v.mark, _, _ = codec.Bool{}.Decode(src[8:])
	v.at, _, _ = codec.Int64{}.Decode(src[9:])
	return v, 17, nil
}, nil)

// Mark is a record that gives the split of an Input in which it lies a
// watermark, and nothing else.
func Mark(watermark int64) connectors.Record {
	return connectors.Record{Value: binary.BigEndian.AppendUint64(nil, uint64(watermark)), Headers: []connectors.Header{{Key: "mark"}}}
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
