//go:build !docker

package container

import (
	"io"
	"strings"
	"testing"
)

// TestWithoutDocker is left out where the other tests have made the library
// remember a daemon.
func TestWithoutDocker(t *testing.T) {
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	_, _, stop, err := Starter("")(t.Context(), io.Discard)
	if err == nil {
		t.Fatal("a container without Docker")
	}
	if stop != nil {
		t.Error("there is something to stop")
	}
	if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, "needs Docker") || !strings.Contains(s, "use embedded or local") {
		t.Errorf("the message is %q", s)
	}
}
