package replay

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"unicode/utf8"

	"streamduel/workloads"
)

// maxFile bounds what load and observer each hold in memory, maxRecord what a
// broker takes.
const (
	maxFile   = 1 << 30
	maxRecord = 1 << 20
)

// maxSpan bounds times of arrival so that they are nanoseconds in 64 bits.
const maxSpan = 280 * 365 * 24 * 3600 * 1000 // milliseconds

// generator plays a file's records in their order, again from the first when
// all are used.
type generator struct {
	p       *Params
	fields  *fields
	bytes   []byte
	from    []int32 // of each record in bytes
	to      []int32
	offsets []int64
	length  int64
	last    int64 // largest event time, Unix milliseconds
}

var (
	_ workloads.Generator = (*generator)(nil)
	_ workloads.Timeline  = (*generator)(nil)
)

func newGenerator(p *Params) (*generator, error) {
	b, err := os.ReadFile(p.File)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	g := &generator{p: p, bytes: b}
	isCSV := p.format() == formatCSV
	var f *fields
	if !isCSV {
		if f, err = newFields(p, nil); err != nil {
			return nil, err
		}
	}
	at, line := 0, 1
	if bytes.HasPrefix(b, bom) {
		at = len(bom)
	}
	var first int64
	for at < len(b) {
		end, next, lines := next(b, at, isCSV)
		record, here := b[at:end], line
		from := at
		at, line = next, line+lines
		if len(bytes.TrimSpace(record)) == 0 {
			continue
		}
		wrong := func(err error) error { return fmt.Errorf("file: %s:%d: %w", p.File, here, err) }
		if isCSV && f == nil {
			if f, err = newFields(p, record); err != nil {
				return nil, err
			}
			continue
		}
		if bytes.HasPrefix(record, closingMark) {
			return nil, wrong(fmt.Errorf("a record that begins with %s is reserved", closingMark))
		}
		if len(record) > maxRecord {
			return nil, wrong(fmt.Errorf("a record of %d bytes; at most %d are allowed", len(record), maxRecord))
		}
		if err := wellFormed(record, isCSV); err != nil {
			return nil, wrong(err)
		}
		v, err := f.pick(record)
		if err != nil {
			return nil, wrong(err)
		}
		event, err := millis(v.event, p.EventTimeUnit)
		if err != nil {
			return nil, wrong(fmt.Errorf("field %q: %w", f.event, err))
		}
		arrival, err := millis(v.arrival, p.EventTimeUnit)
		if err != nil {
			return nil, wrong(fmt.Errorf("field %q: %w", f.arrival, err))
		}
		if len(g.from) == 0 {
			first, g.last = arrival, event
		}
		g.last = max(g.last, event)
		if d := arrival - first; d > maxSpan || d < -maxSpan {
			return nil, wrong(fmt.Errorf("field %q: %s is more than 280 years from the first record's time: is the unit %s right?", f.arrival, v.arrival, p.EventTimeUnit))
		}
		due := (arrival - first) * 1e6
		if n := len(g.offsets); n > 0 {
			due = max(due, g.offsets[n-1])
		} else {
			due = 0
		}
		g.offsets = append(g.offsets, due)
		g.from, g.to = append(g.from, int32(from)), append(g.to, int32(end))
	}
	n := int64(len(g.from))
	if n == 0 {
		return nil, fmt.Errorf("file: %s holds no record", p.File)
	}
	g.fields = f
	g.length = 1e9 // of a file whose records all bear one time
	if span := g.offsets[n-1]; span > 0 {
		g.length = span + max(1, span/max(1, n-1))
	}
	return g, nil
}

// wellFormed asks the library whether a record is what the format says, so that
// the job's own quick reader can rely on it.
func wellFormed(record []byte, isCSV bool) error {
	if isCSV {
		_, err := csv.NewReader(bytes.NewReader(record)).Read()
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return err
	}
	switch {
	case !utf8.Valid(record):
		return errors.New("not UTF-8")
	case !json.Valid(record):
		return errors.New("not JSON")
	}
	return nil
}

var bom = []byte("\xef\xbb\xbf")

// next finds the end of the record at a place, where the next one begins, and
// how many lines lie between. In CSV a line end within quotes is text.
func next(b []byte, at int, isCSV bool) (end, following, lines int) {
	quoted := false
	for i := at; i < len(b); i++ {
		switch b[i] {
		case '"':
			quoted = !quoted && isCSV
		case '\n':
			lines++
			if quoted {
				continue
			}
			end = i
			if end > at && b[end-1] == '\r' {
				end--
			}
			return end, i + 1, lines
		}
	}
	end = len(b)
	if end > at && b[end-1] == '\r' {
		end--
	}
	return end, len(b), lines
}

// head returns the first record of a file: of a CSV file its header.
func head(name string, isCSV bool) (record []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(bufio.NewReader(f), maxRecord))
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	b = bytes.TrimPrefix(b, bom)
	for at := 0; at < len(b); {
		end, following, _ := next(b, at, isCSV)
		if len(bytes.TrimSpace(b[at:end])) > 0 {
			return b[at:end], nil
		}
		at = following
	}
	return nil, fmt.Errorf("file: %s holds no record", name)
}

func (g *generator) Append(dst []byte, in workloads.Input) (value, key []byte) {
	return append(dst, g.record(in)...), nil
}

// record is an input's record in the file.
func (g *generator) record(in workloads.Input) []byte {
	i := in.Index % int64(len(g.from))
	return g.bytes[g.from[i]:g.to[i]]
}

// closingMark begins a closing record in any format; partition and event time
// in Unix milliseconds follow.
var closingMark = []byte(`{"sd-closing":`)

func (g *generator) Closing(dst []byte, in workloads.Input) (value, key []byte) {
	dst = append(dst, closingMark...)
	dst = strconv.AppendInt(dst, int64(in.Partition), 10)
	dst = append(dst, `,"time":`...)
	dst = strconv.AppendInt(dst, g.p.horizon().ClosingTime(g.last), 10)
	return append(dst, '}'), nil
}

func (g *generator) Offsets() []int64 { return g.offsets }
func (g *generator) Length() int64    { return g.length }
