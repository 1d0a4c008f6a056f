package bench_test

import (
	"os"

	"streamduel/bench"
	"streamduel/workloads"
)

// A user's own program: its workload can be named in scenario files and by
// --workload, and the program is the command. examples/fraud is a whole one.
func Example() {
	mine := &workloads.Workload{Name: "mine" /* Params, Generator, Pipeline, Accounting */}
	workloads.Register(mine)
	os.Exit(bench.Main(os.Args[1:]))
}
