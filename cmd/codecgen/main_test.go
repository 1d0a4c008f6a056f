package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	const sample = "../../codec/gen/sample"
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{nil, exitUsage, "say which types"},
		{[]string{"-type", "a", "b"}, exitUsage, "say which types"},
		{[]string{"-nonsense"}, exitUsage, "flag provided but not defined"},
		{[]string{"-h"}, exitOK, "struct types"},
		{[]string{"-type", "nothing", "-dir", sample}, exitRefused, "package sample has no type nothing"},
		{[]string{"-type", "Line", "-dir", sample, "-check"}, exitRefused, "not up to date"},
		{[]string{"-type", "Line", "-dir", sample, "-o", "absent/file.go"}, exitRefused, "absent/file.go"},
		{[]string{"-type", "channel", "-dir", "../../codec/gen/testdata/refused"}, exitRefused, "refused.go:8: field C of channel"},
	} {
		var stderr bytes.Buffer
		if code := run(c.args, &stderr); code != c.code || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q: code %d, want %d, and %q in\n%s", c.args, code, c.code, c.stderr, stderr.String())
		}
	}
}
