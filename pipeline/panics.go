package pipeline

import (
	"bytes"
	"fmt"
	"path"
	"runtime/debug"
	"strings"
)

// DescribePanic says in one line what a recovered panic was: at which record, if
// that is known (Task.At), and in which line of which file, as PanicPlace has it.
func DescribePanic(value any, at, place string) string {
	text := "panic"
	if at != "" {
		text += " at " + at
	}
	text = fmt.Sprintf("%s: %v", text, value)
	if place != "" {
		text += " (" + place + ")"
	}
	return text
}

// PanicPlace names file and line of the function that panicked, as its folder and
// name: "orders/job.go:88". It is called by the deferred function that recovers
// the panic; empty where the stack does not tell.
func PanicPlace() string { return panicPlace(debug.Stack()) }

// panicPlace finds the first frame behind that of panic which is not the
// runtime's: a nil map or a bad index panics in there.
func panicPlace(stack []byte) string {
	_, below, found := bytes.Cut(stack, []byte("\npanic("))
	if !found {
		return ""
	}
	lines := strings.Split(string(below), "\n") // panic's arguments, its file, then two lines a frame
	for i := 2; i+1 < len(lines); i += 2 {
		if strings.HasPrefix(lines[i], "runtime.") || strings.HasPrefix(lines[i], "panic(") {
			continue
		}
		file, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		return path.Join(path.Base(path.Dir(file)), path.Base(file))
	}
	return ""
}
