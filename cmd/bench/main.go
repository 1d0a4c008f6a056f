// Command bench runs two stream engines through the same scenarios and draws
// the comparison; see package bench.
package main

import (
	"os"

	"streamduel/bench"
)

func main() { os.Exit(bench.Main(os.Args[1:])) }
