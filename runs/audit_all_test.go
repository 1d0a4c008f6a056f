package runs

import (
	"reflect"
	"testing"
)

// fill gives every field a value: 1, or an entry "steady" of a map.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Map:
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("steady"), e)
	case reflect.Int64:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Bool:
		v.SetBool(true)
	default:
	}
}

// TestEveryFigureIsWithheld: a figure that a group names and that stays would make
// the summary invalid, and the run with it.
func TestEveryFigureIsWithheld(t *testing.T) {
	for _, group := range Groups() {
		c := testCell("c")
		v := reflect.ValueOf(&c).Elem()
		for _, name := range []string{"Start", "Records", "BadInput", "LatencyMillis", "Throughput", "Pressure", "Steps", "Growth", "Crash", "Cost", "State"} {
			fill(v.FieldByName(name))
		}
		c.BadInput.Samples = []BadSample{{Split: "in/0"}}
		if !c.hasGroup(group) {
			t.Fatalf("%s: not in a full cell", group)
		}
		shared := c
		c.Audits = []Audit{{Name: "x", Detail: "wrong", Remedy: "mend it", Voids: []string{group}}}
		c.Withhold()
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", group, err)
		}
		c.each(func(path string, _ float64) {
			if FigureGroup(path) == group {
				t.Errorf("%s: %s is still there", group, path)
			}
		})
		if !shared.hasGroup(group) {
			t.Errorf("%s: a copy lost its figures", group)
		}
		if !*c.BadInput.Failed || len(c.BadInput.Samples) != 1 {
			t.Errorf("%s: what bad input did to the job went too: %+v", group, c.BadInput)
		}
	}
}
