package sample

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"streamduel/codec"
	"streamduel/codec/gen/sample/other"
	"streamduel/state"
)

// Everything a codec promises, for one value: it appends behind what is there,
// says its size, finds its own end, refuses what is cut off, and a clone
// survives the input.
func roundTrip[T any](t interface{ Fatalf(string, ...any) }, c interface {
	codec.Codec[T]
	state.Isolator[T]
	Size(T) int
}, v T) {
	b := c.Append([]byte("prefix"), v)
	if !bytes.HasPrefix(b, []byte("prefix")) || len(b)-6 != c.Size(v) {
		t.Fatalf("%s: %d bytes, Size says %d", c.ID(), len(b)-6, c.Size(v))
	}
	b = b[6:]
	input := append(bytes.Clone(b), "behind"...)
	got, n, err := c.Decode(input)
	if err != nil || n != len(b) || !reflect.DeepEqual(got, v) {
		t.Fatalf("%s: %+v came back as %+v, %d bytes of %d, %v", c.ID(), v, got, n, len(b), err)
	}
	clone, isolated := c.Clone(got), c.Isolate(got)
	clear(input)
	if !reflect.DeepEqual(clone, v) || !reflect.DeepEqual(isolated, v) {
		t.Fatalf("%s: the clone of %+v changed with its input: %+v, %+v", c.ID(), v, clone, isolated)
	}
	for cut := range b {
		if _, _, err := c.Decode(b[:cut:cut]); !errors.Is(err, codec.ErrShort) {
			t.Fatalf("%s: %+v cut to %d of %d bytes: %v", c.ID(), v, cut, len(b), err)
		}
	}
}

func drawPoint(t *rapid.T) other.Point {
	return other.Point{X: rapid.Float64().Draw(t, "x"), Y: rapid.Float64().Draw(t, "y")}
}

func drawEverything(t *rapid.T) (v Everything) {
	n := rapid.Int64().Draw(t, "n")
	s := rapid.String().Draw(t, "s")
	some := rapid.IntRange(0, 3).Draw(t, "some")
	v.base = base{uint32(n), n}
	v.B, v.I8, v.I16, v.I32, v.I64, v.I = n&1 == 0, int8(n), small(n), int32(n), n, int(n)
	v.U8, v.U16, v.U32, v.U64, v.U = colour(n), uint16(n), uint32(n), uint64(n), uint(n)
	v.F32, v.F64 = rapid.Float32().Draw(t, "f32"), rapid.Float64().Draw(t, "f64")
	v.V, v.V16, v.UV = int(n>>(n&63)), small(n), uint64(n)>>(n&63)
	v.S, v.View = name(s), name(s)
	v.T = time.Unix(n>>16, n&1023).UTC()
	v.D = time.Duration(n)
	v.Matrix[1][2] = v.F32
	v.unsorted[1] = name(s)
	v.Other = drawPoint(t)
	for i := range some {
		v.Vs, v.Ints, v.Names = append(v.Vs, n>>i), append(v.Ints, n+int64(i)), append(v.Names, name(s))
		v.Grid = append(v.Grid, append([]string(nil), s))
	}
	if some > 0 {
		v.Bs, v.ViewB = []byte("bytes"+s), []byte("view"+s)
		v.ByName = map[name]*base{name(s): {1, n}, "nil": nil}
		v.Ages = map[string]int32{s: int32(n), "other": 1}
		v.Ids = map[uint64]bool{uint64(n): true}
		p := drawPoint(t)
		v.Point = &p
		yes := true
		deep := &yes
		v.Opt, v.OptS, v.Deep = &n, &s, &deep
		v.Box = map[int32][]Line{int32(n): {{s, 1, true}, {"", -1, false}}, -1: nil}
	} else {
		v.Bs, v.ViewB = nil, []byte("view")
	}
	return v
}

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, EverythingCodec{}, drawEverything(t))
		s, n := rapid.String().Draw(t, "text"), rapid.Int64().Draw(t, "number")
		roundTrip(t, numberCodec{}, number{Label: s, Value: n})
		roundTrip(t, eventCodec{}, event{[]byte("ad" + s), n, n + 1, int32(n), colour(n)})
		at := time.Unix(n>>30, 0).UTC()
		roundTrip(t, OrderCodec{}, Order{ID: n, Customer: s, Lines: []Line{{s, 1, true}}, Discount: 1, At: &at})
	})
}

// What is read of a view refers to the input, what is read of the rest does not.
func TestOnlyViewsAlias(t *testing.T) {
	v := Everything{S: "string", View: "a view", Bs: []byte("bytes"), ViewB: []byte("view")}
	b := EverythingCodec{}.Append(nil, v)
	got, _, err := EverythingCodec{}.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if got.S != "string" || string(got.Bs) != "bytes" {
		t.Errorf("%q, %q changed with the input", got.S, got.Bs)
	}
	if got.View == "a view" || string(got.ViewB) == "view" {
		t.Error("the views are copies")
	}
}

func TestVersions(t *testing.T) {
	if v := (OrderCodec{}).Version(); v != 3 {
		t.Errorf("Order has version %d", v)
	}
	if v := (OrderV2Codec{}).Version(); v != 2 {
		t.Errorf("OrderV2 has version %d", v)
	}
	if v := (LineCodec{}).Version(); v != 2 {
		t.Errorf("Line has version %d", v)
	}
}

// readAs reads what one codec wrote with another.
func readAs[W, R any](t *testing.T, w codec.Codec[W], v W, r codec.Codec[R]) R {
	t.Helper()
	old := codec.Reading(r, w.ID())
	if old == nil {
		t.Fatalf("%s does not read %s", r.ID(), w.ID())
	}
	if old.ID() != w.ID() {
		t.Errorf("a reader of %s says that it is one of %s", w.ID(), old.ID())
	}
	b := w.Append(nil, v)
	_, decode := codec.Functions(old) // as state does
	got, n, err := decode(append(bytes.Clone(b), "behind"...))
	if err != nil || n != len(b) {
		t.Fatalf("%d bytes of %d, %v", n, len(b), err)
	}
	for cut := range b {
		if _, _, err := decode(b[:cut:cut]); err == nil {
			t.Errorf("cut to %d of %d bytes it was read", cut, len(b))
		}
	}
	return got
}

func TestOlderVersionsAreRead(t *testing.T) {
	v1 := OrderV1{7, 100, "ann", []string{"a", "b"}, []LineV1{{"pen", 2}}}
	got := readAs(t, OrderV1Codec{}, v1, OrderCodec{})
	want := Order{ID: 7, Customer: "ann", Lines: []Line{{Item: "pen", Count: 2}}, Currency: "EUR, or so", Discount: 0.5, Patience: 90 * time.Second, Urgent: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("version 1 was read as %+v, want %+v", got, want)
	}
	v2 := OrderV2{8, "bob", []string{"c"}, []LineV1{{"ink", 1}}, "USD", 0.25}
	got = readAs(t, OrderV2Codec{}, v2, OrderCodec{})
	want = Order{ID: 8, Customer: "bob", Lines: []Line{{Item: "ink", Count: 1}}, Currency: "USD", Discount: 0.25, Patience: 90 * time.Second, Urgent: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("version 2 was read as %+v, want %+v", got, want)
	}
	// A struct that did not change holds one that did.
	box := readAs(t, BoxV1Codec{}, BoxV1{true, LineV1{"pen", 1}, map[string]LineV1{"x": {"ink", 2}}}, BoxCodec{})
	if want := (Box{true, Line{"pen", 1, false}, map[string]Line{"x": {"ink", 2, false}}}); !reflect.DeepEqual(box, want) {
		t.Errorf("%+v, want %+v", box, want)
	}
	// And so do codecs made of others.
	list := readAs(t, codec.Slice[LineV1](LineV1Codec{}), []LineV1{{"a", 1}, {"b", 2}}, codec.Slice[Line](LineCodec{}))
	if want := []Line{{"a", 1, false}, {"b", 2, false}}; !reflect.DeepEqual(list, want) {
		t.Errorf("%+v, want %+v", list, want)
	}
}

func TestWhatIsNotReadIsRefused(t *testing.T) {
	for what, id := range map[string]string{
		"a newer version":        "sample.Order/4#0123456789+sample.Line/2#0123456789",
		"another type":           LineCodec{}.ID(),
		"other fields":           "sample.Order/1#0123456789",
		"a newer part":           OrderV1Codec{}.ID()[:len(OrderV1Codec{}.ID())-len(LineV1Codec{}.ID())] + "sample.Line/3#0123456789",
		"nonsense":               "sample.Order/x#",
		"nothing":                "",
		"a type twice":           OrderV1Codec{}.ID() + "+" + LineV1Codec{}.ID(),
		"an encoding of numbers": codec.Int64{}.ID(),
	} {
		if c := codec.Reading[Order](OrderCodec{}, id); c != nil {
			t.Errorf("%s is read: %s", what, id)
		}
	}
	if codec.Reading[OrderV1](OrderV1Codec{}, OrderCodec{}.ID()) != nil {
		t.Error("the first version reads the third")
	}
}

// A snapshot of the first version is restored by a job with the third, as a
// value, in a list and in broadcast state; the way back is refused by name.
func TestStateEvolves(t *testing.T) {
	cfg := state.SetConfig{Job: "orders", Parallelism: 1, MaxParallelism: 8}
	v1 := OrderV1{7, 100, "ann", []string{"a"}, []LineV1{{"pen", 2}}}
	snapshot := snapshotOf(t, cfg, codec.Codec[OrderV1](OrderV1Codec{}), v1)
	got, err := restored(t, cfg, codec.Codec[Order](OrderCodec{}), snapshot)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d orders, %v", len(got), err)
	}
	for _, o := range got {
		if o.ID != 7 || o.Customer != "ann" || o.Currency != "EUR, or so" || o.Lines[0] != (Line{"pen", 2, false}) {
			t.Errorf("%+v", o)
		}
	}
	// What was restored is written in the newest version.
	again := snapshotOf(t, cfg, codec.Codec[Order](OrderCodec{}), got[0])
	if _, err := restored(t, cfg, codec.Codec[OrderV1](OrderV1Codec{}), again); !errors.Is(err, state.ErrCodec) {
		t.Errorf("the first version reads a snapshot of the third: %v", err)
	}
}

func handles[T any](t *testing.T, cfg state.SetConfig, c codec.Codec[T]) (*state.Set, state.Value[string, T], state.List[string, T], *state.Broadcast[string, T]) {
	t.Helper()
	s := state.NewSetOf(cfg)
	value, err1 := state.NewValue(s, "op", "value", codec.Codec[string](codec.String{}), c)
	list, err2 := state.NewKeyedList(s, "op", "list", codec.Codec[string](codec.String{}), c)
	broadcast, err3 := state.NewBroadcast(s, "op", "broadcast", codec.Codec[string](codec.String{}), c)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return s, value, list, broadcast
}

func snapshotOf[T any](t *testing.T, cfg state.SetConfig, c codec.Codec[T], v T) []byte {
	t.Helper()
	s, value, list, broadcast := handles(t, cfg, c)
	value.Set("k", v)
	list.Add("k", v)
	broadcast.Put("k", v)
	return s.Snapshot(nil, true)
}

func restored[T any](t *testing.T, cfg state.SetConfig, c codec.Codec[T], snapshot []byte) (got []T, err error) {
	t.Helper()
	s, value, list, broadcast := handles(t, cfg, c)
	if err := s.Restore(snapshot); err != nil {
		return nil, err
	}
	if v, ok := value.Get("k"); ok {
		got = append(got, v)
	}
	got = append(got, list.Get("k")...)
	if v, ok := broadcast.Get("k"); ok {
		got = append(got, v)
	}
	return got, nil
}

// Whatever decodes is written back as something that decodes to the same.
func FuzzDecode(f *testing.F) {
	at := time.Unix(1, 2).UTC()
	f.Add(OrderCodec{}.Append(nil, Order{ID: 1, Customer: "x", Lines: []Line{{"y", 2, true}}, At: &at}))
	f.Add(OrderV1Codec{}.Append(nil, OrderV1{1, 2, "x", []string{"a"}, []LineV1{{"y", 2}}}))
	f.Add(EverythingCodec{}.Append(nil, Everything{Vs: []int64{1, -1}, Ages: map[string]int32{"a": 1}, ByName: map[name]*base{"b": {1, 2}}, Grid: [][]string{{"x"}, nil}}))
	f.Add(eventCodec{}.Append(nil, event{ad: []byte("ad")}))
	old := codec.Reading[Order](OrderCodec{}, OrderV1Codec{}.ID())
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, EverythingCodec{}, b)
		again(t, eventCodec{}, b)
		again(t, numberCodec{}, b)
		if v, ok := again(t, OrderCodec{}, b); ok && !math.IsNaN(v.Discount) { // a NaN is not equal to itself
			roundTrip(t, OrderCodec{}, v)
		}
		if v, n, err := old.Decode(b); err == nil {
			if n > len(b) {
				t.Fatalf("%d bytes of %d", n, len(b))
			}
			again(t, OrderCodec{}, OrderCodec{}.Append(nil, v))
		}
	})
}

func again[T any](t *testing.T, c interface {
	codec.Codec[T]
	Size(T) int
}, b []byte) (v T, ok bool) {
	v, n, err := c.Decode(b)
	if err != nil {
		return v, false
	}
	if n > len(b) {
		t.Fatalf("%s: %d bytes of %d", c.ID(), n, len(b))
	}
	// Compared by their bytes: a NaN is not equal to itself. Maps have no order,
	// and may have lost keys that came twice: compared by their sizes.
	w := c.Append(nil, v)
	x, m, err := c.Decode(w)
	if err != nil || m != len(w) || m != c.Size(v) || c.Size(x) != c.Size(v) {
		t.Fatalf("%s: %d bytes of %d, sizes %d and %d, %v", c.ID(), m, len(w), c.Size(v), c.Size(x), err)
	}
	return v, true
}

// handWritten is the codec of event as one would write it.
var handWritten = codec.Struct("event/1", func(dst []byte, e event) []byte {
	dst = codec.BytesView{}.Append(dst, e.ad)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.time))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.sequence))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.partition))
	return append(dst, byte(e.kind))
}, func(src []byte) (e event, n int, err error) {
	if e.ad, n, err = (codec.BytesView{}).Decode(src); err != nil {
		return e, n, err
	}
	if len(src) < n+21 {
		return e, n, codec.ErrShort
	}
	b := src[n:]
	e.time, e.sequence = int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	e.partition, e.kind = int32(binary.LittleEndian.Uint32(b[16:])), colour(b[20])
	return e, n + 21, nil
}, func(e event) event { e.ad = bytes.Clone(e.ad); return e })

// combined is the same out of pairs.
var combined = codec.Convert("event/1",
	codec.PairOf(codec.Codec[[]byte](codec.BytesView{}), codec.PairOf(codec.PairOf(codec.Codec[int64](codec.Int64{}), codec.Codec[int64](codec.Int64{})), codec.PairOf(must[int32](), must[uint8]()))),
	func(e event) wire {
		return wire{First: e.ad, Second: rest{First: codec.Pair[int64, int64]{First: e.time, Second: e.sequence}, Second: codec.Pair[int32, uint8]{First: e.partition, Second: uint8(e.kind)}}}
	},
	func(w wire) (event, error) {
		r := w.Second
		return event{w.First, r.First.First, r.First.Second, r.Second.First, colour(r.Second.Second)}, nil
	})

type (
	rest = codec.Pair[codec.Pair[int64, int64], codec.Pair[int32, uint8]]
	wire = codec.Pair[[]byte, rest]
)

func must[T any]() codec.Codec[T] {
	c, ok := codec.Of[T]()
	if !ok {
		panic("no codec")
	}
	return c
}

// The three write the same bytes.
func TestGeneratedIsWhatOneWouldWrite(t *testing.T) {
	v := event{[]byte("ad"), 1, 2, 3, 4}
	a, b, c := eventCodec{}.Append(nil, v), handWritten.Append(nil, v), combined.Append(nil, v)
	if !bytes.Equal(a, b) || !bytes.Equal(a, c) {
		t.Errorf("generated % x\nby hand   % x\ncombined  % x", a, b, c)
	}
	got, n, err := combined.Decode(a)
	if err != nil || n != len(a) || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v, %d, %v", got, n, err)
	}
}

func TestCodingDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 128)
	v := event{[]byte("ad"), 1, 2, 3, 4}
	for _, c := range []codec.Codec[event]{eventCodec{}, handWritten, combined} {
		if n := testing.AllocsPerRun(100, func() {
			buf = c.Append(buf[:0], v)
			if _, _, err := c.Decode(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a record", c.ID(), n)
		}
	}
}

// An event there and back, and what libraries by reflection take for it.
func BenchmarkEvent(b *testing.B) {
	v := event{[]byte("1a2b3c4d-4b5a-6978-8796-a5b4c3d2e1f0"), 1_700_000_000_123, 123456, 3, 1}
	for _, x := range []struct {
		name  string
		codec codec.Codec[event]
	}{{"generated", eventCodec{}}, {"by-hand", handWritten}, {"combined", combined}} {
		appendTo, decode := codec.Functions(x.codec)
		b.Run(x.name, func(b *testing.B) {
			buf := make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				buf = appendTo(buf[:0], v)
				if _, _, err := decode(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	type exported struct {
		Ad             []byte
		Time, Sequence int64
		Partition      int32
		Kind           uint8
	}
	w := exported{v.ad, v.time, v.sequence, v.partition, uint8(v.kind)}
	b.Run("encoding-gob", func(b *testing.B) {
		var stream bytes.Buffer
		enc, dec := gob.NewEncoder(&stream), gob.NewDecoder(&stream)
		var got exported
		b.ReportAllocs()
		for b.Loop() {
			if err := errors.Join(enc.Encode(w), dec.Decode(&got)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		var got exported
		b.ReportAllocs()
		for b.Loop() {
			text, err := json.Marshal(w)
			if err != nil {
				b.Fatal(err)
			}
			if err := json.Unmarshal(text, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What lies in memory as it is encoded says so, and nothing else does.
func TestForms(t *testing.T) {
	if codec.FormOf(codec.Codec[reading](readingCodec{})) != codec.FormOf(codec.Codec[int64](codec.Int64{})) {
		t.Error("a struct of numbers without gaps is opaque")
	}
	for name, form := range map[string]codec.Form{
		"gapped":     codec.FormOf(codec.Codec[gapped](gappedCodec{})),
		"event":      codec.FormOf(codec.Codec[event](eventCodec{})),
		"Line":       codec.FormOf(codec.Codec[Line](LineCodec{})),
		"Everything": codec.FormOf(codec.Codec[Everything](EverythingCodec{})),
	} {
		if form != codec.Opaque {
			t.Errorf("%s has form %d", name, form)
		}
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return // the encoding is not the memory here
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		v := reading{at: n, value: rapid.Float64().Draw(t, "value"), sensor: uint32(n), cell: [2]small{small(n), small(n >> 16)}, base: pair{int(n), -int(n)}}
		roundTrip(t, readingCodec{}, v)
		memory := unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))
		if got := (readingCodec{}).Append(nil, v); !bytes.Equal(got, memory) {
			t.Errorf("encoded % x, in memory % x", got, memory)
		}
	})
}
