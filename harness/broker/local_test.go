//go:build kafka

// Needs Java 17, and Maven with a network the first time:
//
//	go test -tags kafka ./harness/broker
package broker

import (
	"strings"
	"testing"
	"time"
)

func TestLocal(t *testing.T) {
	began := time.Now()
	b := start(t, Options{Kind: Local, Dir: t.TempDir(), Log: t.Output()})
	t.Logf("%s after %v", b.Version(), time.Since(began))
	exercise(t, b)
	if u, ok := b.Usage(); !ok || u.CPU == 0 || u.RSS == 0 {
		t.Errorf("usage %+v, %v", u, ok)
	}
}

func TestLocalBusyPort(t *testing.T) {
	b := start(t, Options{Kind: Embedded})
	_, port, _ := strings.Cut(b.Brokers()[0], ":")
	if _, err := freePorts(atoi(port)); err == nil || !strings.Contains(err.Error(), port+" is in use") {
		t.Errorf("a busy port: %v", err)
	}
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}
