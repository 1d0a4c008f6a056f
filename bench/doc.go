// Package bench is the command: everything that stands between a person (or a
// CI job) and the harness. It reads arguments and variables, loads scenarios,
// shows progress, prints results and turns the verdict into an exit code.
//
// It is a package and not a main so that a user's own program can be the
// command:
//
//	func main() {
//		workloads.Register(myWorkload)
//		os.Exit(bench.Main(os.Args[1:]))
//	}
//
// Such a program is also its own broker, load and worker process: the harness
// re-executes the running binary with a hidden command (broker, load, worker),
// so that the workload is known in each of them.
//
// # Exit codes
//
//	0    all gates passed
//	1    a gate failed, or a worker did
//	2    the command or a file is wrong
//	3    inconclusive: a self-audit failed, so the figures prove nothing
//	4    the environment failed: broker, disk, port
//	130  interrupted; partial results are kept and readable
//
// # Streams
//
// Progress goes to standard error, results to standard output. With --json
// standard output holds summary.json and nothing else.
//
// # How it is put together
//
// [Run] is a function of a context, an [Env] and arguments, and touches the
// environment, the clock and the terminal only through the Env. What it calls
// (harness, report, child processes) is gathered in one value, parts, which
// the tests replace.
package bench
