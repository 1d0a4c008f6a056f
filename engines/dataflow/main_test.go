package dataflow

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is also its own task managers.
func TestMain(m *testing.M) {
	if os.Getenv(memberEnv) != "" {
		os.Exit(memberMain())
	}
	goleak.VerifyTestMain(m)
}
