package scenarios

import (
	"fmt"
	"reflect"
	"strings"
)

// recordBytes is how a workload's parameters call the length of its records, where
// they can be of any.
const recordBytes = "recordBytes"

// validateRecordSize gives load.recordSize to the workload, which makes the records.
func (d *decoder) validateRecordSize(s *Scenario) {
	const path = "load.recordSize"
	if !d.given(path) || d.failed[path] {
		return
	}
	if s.Load.RecordSize < 1 || s.Load.RecordSize > 1<<20 {
		d.complain(path, "1B to 1MiB")
		return
	}
	if _, known := d.vocab.Workloads[s.Workload.Name]; !known {
		return // which is complained about
	}
	v := reflect.ValueOf(s.Workload.Params)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	var index []int
	if v.Kind() == reflect.Struct {
		index = structFields(v.Type(), nil)[recordBytes]
	}
	switch {
	case index == nil || !v.FieldByIndex(index).CanInt():
		d.complain(path, fmt.Sprintf("only for a workload with a parameter %s: how long those of %s are is its own to say", recordBytes, s.Workload.Name))
		return
	case d.given("workload.params." + recordBytes):
		d.complain(path, "given twice: workload.params."+recordBytes+" is the same")
		return
	}
	v.FieldByIndex(index).SetInt(int64(s.Load.RecordSize))
	if checked, ok := s.Workload.Params.(interface{ Validate() error }); ok {
		if err := checked.Validate(); err != nil {
			d.complain(path, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
}
