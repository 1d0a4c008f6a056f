package printer

import (
	"errors"
	"strings"
	"testing"

	"streamduel/connectors"
)

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestPrints(t *testing.T) {
	var out strings.Builder
	gate := connectors.NewGate()
	acked := 0
	env := connectors.WriterEnv{Env: connectors.Env{Gate: gate}, Subtask: 3, Guarantee: connectors.AtLeastOnce, Acked: func(connectors.Origin) { acked++ }}
	w, err := New(&out).Writer(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []connectors.Record{{Value: []byte("a")}, {Key: []byte("k"), Value: []byte("b")}} {
		if err := w.Write(t.Context(), &r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != "3> a\n3> k\tb\n" || acked != 2 {
		t.Fatalf("%q %d", out.String(), acked)
	}
	w, err = New(broken{}).Writer(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), &connectors.Record{}, nil); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatal(err)
	}
	if wr, ac, in := gate.Counts(); wr != 3 || ac != 2 || in != 0 {
		t.Fatal(wr, ac, in)
	}
	env.Guarantee = connectors.ExactlyOnce
	if _, err := New(&out).Writer(t.Context(), env); err == nil {
		t.Fatal("exactly-once by printing")
	}
}
