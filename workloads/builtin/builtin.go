// Package builtin registers the workloads that come with the program. Importing
// it is enough; package bench does. It is apart from package workloads because
// the workloads import that one.
package builtin

import (
	"streamduel/workloads"
	"streamduel/workloads/keyedcount"
	"streamduel/workloads/keyedsum"
	"streamduel/workloads/passthrough"
	"streamduel/workloads/replay"
	"streamduel/workloads/wordcount"
	"streamduel/workloads/ysb"
)

func init() {
	for _, w := range []*workloads.Workload{
		keyedcount.Workload(),
		keyedsum.Workload(),
		passthrough.Workload(),
		replay.Workload(),
		wordcount.Workload(),
		ysb.Workload(),
	} {
		workloads.Register(w)
	}
}
