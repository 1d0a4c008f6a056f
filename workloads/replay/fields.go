package replay

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"streamduel/codec/json"
)

// fields finds the fields that a job needs in a record. It is read only, so
// that all subtasks share it.
type fields struct {
	json                bool
	names               *json.Fields // the different ones of the three
	count               int          // of them
	jsonAt              [3]int       // which of them are key, event and arrival
	key, event, arrival string       // names, for errors and for JSON
	keyAt, eventAt      int          // CSV columns
	arrivalAt           int
	columns             int
	unit                string
	ids                 bool // records carry their ids
}

// picked are the values of a record's fields. They may be views of the record.
type picked struct{ key, event, arrival []byte }

// newFields finds the parameters' fields; header is a CSV file's first record.
func newFields(p *Params, header []byte) (*fields, error) {
	f := &fields{json: p.format() == formatJSON, key: p.Key, event: p.EventTime, arrival: p.ArrivalTime, unit: p.EventTimeUnit}
	if f.arrival == "" {
		f.arrival = f.event
	}
	if f.json {
		var names []string
		for i, n := range []string{f.key, f.event, f.arrival} {
			if f.jsonAt[i] = slices.Index(names, n); f.jsonAt[i] < 0 {
				f.jsonAt[i] = len(names)
				names = append(names, n)
			}
		}
		f.count = len(names)
		var err error
		f.names, err = json.NewFields(names...)
		return f, err
	}
	var names []string
	if err := columns(header, func(_ int, v []byte) { names = append(names, string(v)) }); err != nil {
		return nil, fmt.Errorf("file: %s:1: the header: %w", p.File, err)
	}
	f.columns = len(names)
	for _, c := range []struct {
		param, name string
		at          *int
	}{{"key", f.key, &f.keyAt}, {"eventTime", f.event, &f.eventAt}, {"arrivalTime", f.arrival, &f.arrivalAt}} {
		*c.at = -1
		for i, n := range names {
			if n == c.name {
				*c.at = i
			}
		}
		if *c.at < 0 {
			return nil, fmt.Errorf("%s: %s:1: the header has no field %q; it has %s", c.param, p.File, c.name, strings.Join(names, ", "))
		}
	}
	return f, nil
}

// pick finds the fields of a record.
func (f *fields) pick(record []byte) (v picked, err error) {
	if f.json {
		return f.pickJSON(record)
	}
	n := 0
	err = columns(record, func(i int, b []byte) {
		if i == f.keyAt {
			v.key = b
		}
		if i == f.eventAt {
			v.event = b
		}
		if i == f.arrivalAt {
			v.arrival = b
		}
		n++
	})
	if err == nil && n != f.columns {
		err = fmt.Errorf("%d fields, the header has %d", n, f.columns)
	}
	return v, err
}

func (f *fields) pickJSON(record []byte) (v picked, err error) {
	var at [3]json.Value
	if err := f.names.Read(record, at[:f.count]); err != nil {
		return v, err
	}
	for i, to := range [...]*[]byte{&v.key, &v.event, &v.arrival} {
		value := at[f.jsonAt[i]]
		if !value.Present() {
			return v, f.missing(value.Name(), record)
		}
		if *to, err = plain(value); err != nil {
			return v, err
		}
	}
	if k := at[f.jsonAt[0]].Raw(); k[0] == '{' || k[0] == '[' {
		return v, fmt.Errorf("field %q: %.40s is no key; allowed are text, numbers, true, false and null", f.key, k)
	}
	return v, nil
}

// plain returns the text of a value: of a string what it stands for, of anything
// else its bytes.
func plain(v json.Value) ([]byte, error) {
	if v.Raw()[0] == '"' {
		return v.Text()
	}
	return v.Raw(), nil
}

func (f *fields) missing(name string, record []byte) error {
	has, _ := fieldNames(record)
	return fmt.Errorf("no field %q; the record has %s", name, strings.Join(has, ", "))
}

// fieldNames lists the fields of a JSON object.
func fieldNames(record []byte) (names []string, err error) {
	s := json.Scan(record)
	for {
		n, _, ok := s.Next()
		if !ok {
			return names, s.Err()
		}
		names = append(names, string(n))
	}
}

var crlf = []byte("\r\n")

var errQuote = errors.New("a quoted field does not end")

// columns calls f for each field of a CSV record (RFC 4180). A field with
// doubled quotes is copied, others are views.
func columns(b []byte, f func(i int, v []byte)) error {
	for i := 0; ; i++ {
		if len(b) == 0 || b[0] != '"' {
			n := bytes.IndexByte(b, ',')
			if n < 0 {
				f(i, b)
				return nil
			}
			f(i, b[:n])
			b = b[n+1:]
			continue
		}
		end, doubled := 1, false
		for {
			n := bytes.IndexByte(b[end:], '"')
			if n < 0 {
				return errQuote
			}
			end += n + 1
			if end == len(b) || b[end] != '"' {
				break
			}
			doubled = true
			end++
		}
		v := b[1 : end-1]
		if doubled {
			v = bytes.ReplaceAll(v, []byte(`""`), []byte(`"`))
		}
		if bytes.Contains(v, crlf) { // as encoding/csv reads it
			v = bytes.ReplaceAll(v, crlf, crlf[1:])
		}
		f(i, v)
		if end == len(b) {
			return nil
		}
		if b[end] != ',' {
			return errors.New("text behind a quoted field")
		}
		b = b[end+1:]
	}
}

func errTime(b []byte, unit string) error { return fmt.Errorf("%q is no Unix time in %s", b, unit) }

// millis reads a time as Unix milliseconds, cutting off what is finer.
func millis(b []byte, unit string) (int64, error) {
	if unit == unitRFC3339 {
		t, err := time.Parse(time.RFC3339Nano, unsafe.String(unsafe.SliceData(b), len(b)))
		if err != nil {
			return 0, fmt.Errorf("%q is no time such as 2006-01-02T15:04:05Z", b)
		}
		return t.UnixMilli(), nil
	}
	digits, negative := b, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	var v, fraction int64
	n := 0
	for n < len(digits) && digits[n]-'0' <= 9 {
		v = v*10 + int64(digits[n]-'0')
		n++
	}
	if n == 0 || n > 18 {
		if !(n == 19 && unit == unitNs && v > 0) {
			return 0, errTime(b, unit)
		}
	}
	rest := digits[n:]
	exact := true // whether nothing finer than the unit follows
	scale := int64(100)
	if len(rest) > 0 {
		if rest[0] != '.' || len(rest) == 1 {
			return 0, errTime(b, unit)
		}
		for _, c := range rest[1:] {
			if c -= '0'; c > 9 {
				return 0, errTime(b, unit)
			}
			fraction += int64(c) * scale
			if scale == 0 && c > 0 || unit != unitS && c > 0 {
				exact = false
			}
			scale /= 10
		}
	}
	switch unit {
	case unitS:
		if v > 1<<62/1000 {
			return 0, errTime(b, unit)
		}
		v = v*1000 + fraction
	case unitUs:
		exact = exact && v%1000 == 0
		v /= 1000
	case unitNs:
		exact = exact && v%1_000_000 == 0
		v /= 1_000_000
	}
	if negative {
		if v = -v; !exact {
			v-- // towards the past, as for times after 1970
		}
	}
	return v, nil
}
