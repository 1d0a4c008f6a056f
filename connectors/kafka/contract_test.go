package kafka

import (
	"fmt"
	"testing"

	"streamduel/connectors"
	"streamduel/connectors/connectorstest"
)

// TestContract runs the checks that every connector should pass.
func TestContract(t *testing.T) {
	f := setup(t)
	in := f.topic(3)
	var values []string
	for p, n := range []int{40, 7, 0} {
		f.produce(in, int32(p), 0, n)
		for i := range n {
			values = append(values, fmt.Sprintf("%d:%d", p, i))
		}
	}
	t.Run("source", func(t *testing.T) {
		connectorstest.Source(t, func(*testing.T) connectors.Source { return f.source(SourceConfig{Topics: []string{in}, Group: in}) }, values...)
	})
	t.Run("sink", func(t *testing.T) {
		out := f.topic(1)
		connectorstest.Sink(t, func(*testing.T) connectors.Sink { return f.sink(SinkConfig{Topic: out, Group: out}) },
			func(*testing.T) []string { return f.decided(out) }, splitID(in, 0), splitID(in, 1))
	})
}

// decided returns what a reader of committed records sees in a topic, sorted,
// as soon as no transaction is on its way to its end. One may be open.
func (f *fixture) decided(topic string) []string {
	f.t.Helper()
	for {
		ending, err := f.adm.ListTransactions(f.ctx, nil, []string{"PrepareCommit", "PrepareAbort"})
		if err != nil {
			f.t.Fatal(err)
		}
		if len(ending.TransactionalIDs()) == 0 {
			return f.readCommitted(topic)
		}
		if (&backoff{}).wait(f.ctx) != nil {
			f.t.Fatalf("topic %s: a transaction does not end", topic)
		}
	}
}
