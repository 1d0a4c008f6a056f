package microbatch

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"streamduel/connectors"
	"streamduel/engines/cluster"
	"streamduel/engines/microbatch/schedule"
)

// TestRows: what is written comes out as it was, nil apart from empty, over more
// than one message.
func TestRows(t *testing.T) {
	at := schedule.Attempt{Job: 1<<40 + 3, Stage: 2, Task: 9, N: 1}
	print := func(sink int, r connectors.Record, o *connectors.Origin) string {
		return fmt.Sprintf("%d %#v %#v %q %d %v", sink, r.Key, r.Value, r.Headers, r.Timestamp, o)
	}
	var got []string
	buf := newRowBuffer(at, func(m cluster.Message) error {
		r := rowReader{b: append([]byte(nil), m.Body...)}
		if a, err := r.attempt(); err != nil || a != at {
			t.Errorf("%v, %v", a, err)
		}
		for len(r.b) > 0 {
			sink, rec, o, err := r.next()
			if err != nil {
				return err
			}
			got = append(got, print(sink, *rec, o))
		}
		return nil
	})
	var want []string
	write := func(sink int, rec connectors.Record, o *connectors.Origin) {
		if err := (rowWriter{out: buf, sink: sink}).Write(context.Background(), &rec, o); err != nil {
			t.Fatal(err)
		}
		want = append(want, print(sink, rec, o))
	}
	write(0, connectors.Record{Value: []byte("v")}, nil)
	write(1, connectors.Record{Key: []byte{}, Headers: []connectors.Header{{Key: "h", Value: []byte("x")}, {Key: "", Value: nil}}, Timestamp: -5}, nil)
	big := make([]byte, 100<<10)
	for range 5 {
		write(0, connectors.Record{Key: big}, nil)
	}
	if err := buf.flush(); err != nil {
		t.Fatal(err)
	}
	for i := range min(len(want), len(got)) {
		if got[i] != want[i] {
			t.Errorf("row %d:\n%.200s\nwant\n%.200s", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
}

func TestRowsWithOrigin(t *testing.T) {
	o := connectors.Origin{Partition: -1, Sequence: 7, Scheduled: -3, Intake: 1 << 60}
	var got connectors.Origin
	buf := newRowBuffer(schedule.Attempt{}, func(m cluster.Message) error {
		r := rowReader{b: m.Body}
		if _, err := r.attempt(); err != nil {
			return err
		}
		_, _, p, err := r.next()
		got = *p
		return err
	})
	w := rowWriter{out: buf}
	if err := w.Write(context.Background(), &connectors.Record{}, &o); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(context.Background()); err != nil || !reflect.DeepEqual(got, o) {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzRows: whatever comes, it is refused or read to its end.
func FuzzRows(f *testing.F) {
	buf := newRowBuffer(schedule.Attempt{Job: 1}, func(m cluster.Message) error { f.Add(m.Body); return nil })
	w := rowWriter{out: buf}
	o := connectors.Origin{Sequence: 1}
	_ = w.Write(context.Background(), &connectors.Record{Key: []byte("k"), Headers: []connectors.Header{{Key: "h"}}}, &o)
	_ = w.Flush(context.Background())
	f.Fuzz(func(t *testing.T, b []byte) {
		r := rowReader{b: b}
		if _, err := r.attempt(); err != nil {
			return
		}
		for len(r.b) > 0 {
			if _, _, _, err := r.next(); err != nil {
				return
			}
		}
	})
}
