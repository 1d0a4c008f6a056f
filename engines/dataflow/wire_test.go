package dataflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/state"
)

// TestMessagesTravelWhole: whatever coordinator and subtasks say arrives at the
// other process as it was. A field that is added and forgotten in wire.go is
// found by its zero value here.
func TestMessagesTravelWhole(t *testing.T) {
	wm := int64(3)
	source := &enumeration{views: map[connectors.SplitID]*splitView{}}
	for _, m := range []any{
		assign{{connectors.Assignment{Split: connectors.Split{ID: "in/1", Partition: 1}, From: 2, Until: 9}, &wm, nil}},
		trigger{barrier{id: 1, started: 2}, true}, durable{1, 2}, abortCheckpoint{1}, drain{},
		trigger{barrier{id: 1, started: 2, unaligned: true}, true}, overtake{1},
	} {
		w, err := mailOf(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := over(t, w).message(source)
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := got.(assign); ok {
			if a[0].view == nil || *a[0].watermark != wm {
				t.Errorf("%+v", a)
			}
			a[0].view, a[0].watermark = nil, &wm
		}
		same(t, got, m)
	}
	if _, err := mailOf(restart{}); err == nil {
		t.Error("what is not known was sent")
	}
	task := &task{}
	for _, m := range []any{
		ack{
			task, 1, []checkpoints.Split{{ID: "in/1", Partition: 1, Position: 5, Until: new(connectors.Position), Watermark: &wm}}, &checkpoints.State{Operator: "a", File: "f", Bytes: 1},
			&checkpoints.Channels{Operator: "b"}, []checkpoints.Sink{{Operator: "c", Committables: []connectors.Committable{{1, 2}}}}, engines.SubtaskCheckpoint{Sync: 1},
		},
		declined{task, 1, remoteError{text: "no"}}, committed{task, 1}, finished{task},
		crashed{task, remoteError{"gone", true}},
	} {
		_, w, err := tellOf(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := over(t, w).message(task)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, m)
	}
	if !errors.Is(refusalOf(1, fmt.Errorf("here: %w", state.ErrSuperseded)).err(), state.ErrSuperseded) {
		t.Error("an attempt that was superseded is not known as such")
	}
}

func over[T any](t *testing.T, v T) (got T) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v has become %+v", want, got)
	}
	v := reflect.ValueOf(want)
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%T: a value without field %s tells nothing of it", want, v.Type().Field(i).Name)
		}
	}
}

func TestRingEvents(t *testing.T) {
	var c ringEvents
	overtaking := barrier{id: 7, started: 9, unaligned: true, overtaken: []checkpoints.Frames{{Flags: 3, Records: 300, Data: make([]byte, 200)}, {Records: 1, Data: []byte("x")}}}
	for _, e := range []any{barrier{id: 7, started: 9}, overtaking, watermark{-5}, idleness{true}, idleness{false}, end{}} {
		b, err := c.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decode(b); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v has become %+v, %v", e, got, err)
		}
	}
	if _, err := c.Append(nil, 7); err == nil {
		t.Error("a number was sent")
	}
	whole, _ := c.Append(nil, overtaking)
	for n := range whole {
		if got, err := c.Decode(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes were understood as %+v", n, len(whole), got)
		}
	}
	for _, b := range []string{"", "\x09aaaaaaaabbbbbbbb"} {
		if _, err := c.Decode([]byte(b)); err == nil {
			t.Errorf("%q was understood", b)
		}
	}
}
