//go:build docker

// Needs a Docker daemon, and an image: the module's own, or another one that
// KAFKA_IMAGE names.
//
//	go test -tags docker ./harness/broker/container
package container

import (
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/harness/broker"
)

func TestContainer(t *testing.T) {
	began := time.Now()
	b, err := broker.Start(t.Context(), broker.Options{
		Kind: broker.Container, Container: Starter(os.Getenv("KAFKA_IMAGE")), Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s at %v after %v", b.Version(), b.Brokers(), time.Since(began))
	if err := b.CreateTopic(t.Context(), "in", 2, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Client().ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := b.Grow(t.Context(), "in", 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestMissingImage(t *testing.T) {
	_, err := broker.Start(t.Context(), broker.Options{Kind: broker.Container, Container: Starter("local/no-such-image:1")})
	if err == nil {
		t.Fatal("a container of an image that does not exist")
	}
	t.Log(err)
}
