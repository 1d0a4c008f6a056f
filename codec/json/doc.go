// Package json takes named fields out of JSON objects and writes JSON objects,
// both without building a tree, without reflection and without allocating per
// record.
//
// A job that needs three fields of an event names them once and reads them from
// each record:
//
//	var fields = json.MustFields("ad_id", "event_type", "event_time")
//
//	func decode(r *connectors.Record) (event, error) {
//		var f [3]json.Value
//		if err := fields.Read(r.Value, f[:]); err != nil {
//			return event{}, err
//		}
//		…
//	}
//
// The whole record is checked, what is not asked for too: text is accepted
// exactly where encoding/json.Valid accepts it and it is an object (fuzzed
// against it), nested no deeper than MaxDepth. The checks of libraries that are
// about as fast are looser: they take `{"price":01}`, `{"price":1,}` or what
// follows a record's end. An error names the byte, and the field where there is
// one.
//
// Two differences from encoding/json: names are matched exactly, not in any
// case, and text that is not UTF-8 is handed on as it is. The last of several
// fields of one name counts, as there. Format is encoding/json itself, for jobs
// that want the whole value in a struct and can afford reflection.
package json
