package bench

import (
	"context"
	"errors"
	"fmt"

	"streamduel/runs"
	"streamduel/scenarios"
)

// Exit codes; scripts rely on them.
const (
	ExitOK           = 0
	ExitGate         = 1
	ExitUsage        = 2
	ExitInconclusive = 3
	ExitEnvironment  = 4
	ExitInterrupted  = 130
)

// exitError carries an exit code with its message; an empty message has been
// said already.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }
func (e *exitError) ExitCode() int { return e.code }

func usage(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Sprintf(format, args...)}
}

func environment(format string, args ...any) error {
	return &exitError{ExitEnvironment, fmt.Sprintf(format, args...)}
}

// exitCode of an error that a command returned.
func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	var problems scenarios.Problems
	if errors.As(err, &problems) {
		return ExitUsage
	}
	if errors.Is(err, context.Canceled) {
		return ExitInterrupted
	}
	return ExitEnvironment
}

// verdictCode is the exit code of a run that came to its end.
func verdictCode(v runs.Verdict) int {
	switch v {
	case runs.Pass:
		return ExitOK
	case runs.Inconclusive:
		return ExitInconclusive
	}
	return ExitGate
}
