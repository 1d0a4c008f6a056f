// Command codecgen writes codecs for struct types at compile time:
//
//	//go:generate go run streamduel/cmd/codecgen -type Order,position
//
// See package streamduel/codec/gen for what it encodes, the fields' tags and how
// a type gets a new version.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"streamduel/codec/gen"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// Exit codes.
const (
	exitOK      = 0
	exitRefused = 1 // a type has no codec, or the file is not up to date
	exitUsage   = 2
)

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("codecgen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	types := flags.String("type", "", "struct types, separated by commas")
	dir := flags.String("dir", ".", "folder of their package")
	output := flags.String("o", "codecs_gen.go", "file to write, in that folder")
	check := flags.Bool("check", false, "write nothing; fail when the file is not what would be written")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	names := strings.FieldsFunc(*types, func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "codecgen: say which types: codecgen -type Order,position")
		return exitUsage
	}
	source, err := gen.Generate(*dir, names)
	if err != nil {
		fmt.Fprintf(stderr, "codecgen: %v\n", err)
		return exitRefused
	}
	path := filepath.Join(*dir, *output)
	if *check {
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, source) {
			fmt.Fprintf(stderr, "codecgen: %s is not up to date; run go generate\n", path)
			return exitRefused
		}
		return exitOK
	}
	if err := os.WriteFile(path, source, 0o644); err != nil {
		fmt.Fprintf(stderr, "codecgen: %v\n", err)
		return exitRefused
	}
	return exitOK
}
