//go:build kafka

package load

import (
	"testing"

	"streamduel/harness/broker"
)

// TestOnRealKafka needs Java 17, and Maven with a network the first time:
//
//	go test -tags kafka -run RealKafka ./harness/load
func TestOnRealKafka(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Kind: broker.Local, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	everyRecordIsAsPlanned(t, b, true)
}
