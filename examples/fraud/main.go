// Command fraud is a user's own job under the benchmark: it lives in a module of
// its own, registers one workload and is then the whole command.
//
//	go run . run steady
//	go run . run crash-mid-commit --guarantee exactly-once
package main

import (
	"os"

	"streamduel/bench"
	"streamduel/workloads"
)

func main() {
	workloads.Register(fraud())
	os.Exit(bench.Main(os.Args[1:]))
}
