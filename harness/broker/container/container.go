// Package container starts a real Kafka in a Docker container for package
// broker. It is apart from it so that a program that never uses Docker does not
// link its client.
package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/modules/kafka"
)

// DefaultImage is the image that the testcontainers module is made for. Any
// other must keep that module's contract: sh and bash, kafka-storage, and the
// scripts under /etc/confluent/docker.
const DefaultImage = "confluentinc/confluent-local:7.5.0"

// stopGrace is short: the image's first process is a shell, which ignores
// SIGTERM, and nothing in the container is needed again.
const stopGrace = time.Second

// dockerAnswers is how long the Docker daemon may take to answer.
const dockerAnswers = 5 * time.Second

// Starter returns what broker.Options.Container wants: a function that starts
// the image (DefaultImage if empty) and returns when Kafka runs. The first
// start may pull the image, which the context has to allow for.
func Starter(image string) func(context.Context, io.Writer) ([]string, string, func() error, error) {
	if image == "" {
		image = DefaultImage
	}
	return func(ctx context.Context, log io.Writer) ([]string, string, func() error, error) {
		return start(ctx, image, log)
	}
}

func start(ctx context.Context, image string, log io.Writer) (addresses []string, version string, stop func() error, err error) {
	if log == nil {
		log = io.Discard
	}
	tclog.SetDefault(logger{log}) // else some messages go to our standard error
	if err := dockerIsThere(ctx); err != nil {
		return nil, "", nil, err
	}
	c, err := kafka.Run(ctx, image, kafka.WithClusterID("streamduel"), testcontainers.WithLogger(logger{log}))
	if c != nil {
		stop = func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			return testcontainers.TerminateContainer(c, testcontainers.StopContext(ctx), testcontainers.StopTimeout(stopGrace))
		}
	}
	if err != nil {
		return nil, "", stop, fmt.Errorf("broker: the container of %s cannot be started: %s", image, oneLine(err))
	}
	addresses, err = c.Brokers(ctx)
	if err != nil {
		return nil, "", stop, fmt.Errorf("broker: the container of %s has no address: %s", image, oneLine(err))
	}
	return addresses, "image " + image, stop, nil
}

// dockerIsThere says in one line what is missing. The library panics when it
// finds no daemon at all.
func dockerIsThere(ctx context.Context) (err error) {
	missing := func(why any) error {
		return fmt.Errorf("broker: a container needs Docker, and no daemon answers (%s); install and start it (Debian: apt install docker.io), or use embedded or local", oneLine(fmt.Errorf("%v", why)))
	}
	defer func() {
		if p := recover(); p != nil {
			err = missing(p)
		}
	}()
	provider, err := testcontainers.NewDockerProvider(testcontainers.WithLogger(logger{io.Discard}))
	if err != nil {
		return missing(err)
	}
	defer provider.Close()
	ctx, cancel := context.WithTimeout(ctx, dockerAnswers)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- provider.Health(ctx) }()
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = errors.New("no answer")
	}
	if err != nil {
		return missing(err)
	}
	return nil
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// logger passes the library's messages on.
type logger struct{ to io.Writer }

var _ tclog.Logger = logger{}

// Printf implements the library's logger.
func (l logger) Printf(format string, v ...any) {
	fmt.Fprintf(l.to, strings.TrimRight(format, "\n")+"\n", v...)
}
