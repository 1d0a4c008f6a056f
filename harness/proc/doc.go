// Package proc starts the harness's child processes, talks with them in JSON
// lines, and measures what they and the machine use.
//
// A child is started in a process group of its own, so that killing it takes
// its descendants along and a Ctrl-C at the terminal reaches only the parent.
// Two things end a child whose parent is gone: the kernel's parent-death signal
// where there is one (Linux), and the end of its standard input everywhere.
//
// The parent-death signal is tied to the thread that forked, not to the
// process: every child is therefore started from one thread that never ends.
package proc
