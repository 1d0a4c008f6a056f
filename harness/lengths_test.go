package harness

import (
	"testing"

	"streamduel/scenarios"
	"streamduel/workloads"
	_ "streamduel/workloads/builtin"
	"streamduel/workloads/idrecord"
)

// TestALoopHasRecordsOfTheCellsLength: a cell with records of a kilobyte was set
// beside a loop with records of a hundred bytes.
func TestALoopHasRecordsOfTheCellsLength(t *testing.T) {
	cell := func(name string, change func(params any)) *scenarios.Cell {
		params := workloads.Lookup(name).Params()
		change(params)
		return &scenarios.Cell{Scenario: &scenarios.Scenario{Load: scenarios.Load{Rate: 1000}, Workload: scenarios.Workload{Name: name, Params: params}}}
	}
	none := func(any) {}
	r := &run{}
	r.o.Cells = []*scenarios.Cell{
		cell("keyed-count", none), cell("pass-through", none), cell("ysb", none),
		cell("keyed-count", func(p any) { p.(*idrecord.Params).RecordBytes = 1000 }),
		cell("keyed-count", none),
	}
	all := r.paces()
	if len(all) != 3 || all[0].Bytes != 100 || all[1].Bytes < 200 || all[1].Bytes > 300 || all[2].Bytes != 1000 {
		t.Errorf("%v", all)
	}
	if l := r.loadOf(r.o.Cells[3]); l.RecordBytes != 1000 {
		t.Errorf("%+v", l)
	}
}
