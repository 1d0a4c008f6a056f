package runs

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// Sample is one row of series.csv: what one interval of a cell, usually
// 100 ms, looked like. NaN means unknown and is written as an empty field;
// start from [NewSample] so that nothing unknown turns into zero.
type Sample struct {
	// T is the interval's end, in seconds since the cell's start.
	T float64
	// Offered, Consumed and Visible are rates over the interval, in records
	// per second: due by the schedule, taken in by the engine, seen by a
	// read_committed reader.
	Offered, Consumed, Visible float64
	// VisibleNew is the part of Visible that comes from partitions created
	// during the run.
	VisibleNew float64
	// Lag is records due and not yet visible.
	Lag float64
	// QueuedRecords and QueuedBytes are inside the engine.
	QueuedRecords, QueuedBytes float64
	// RateLimit is what the engine allows itself, in records per second.
	RateLimit float64
	// BlockedShare is the largest share of time, 0 to 1, that a task of the
	// job could not write.
	BlockedShare float64
	// CPU is what the engine's processes used, in cores.
	CPU float64
	// RSS is their resident memory in bytes.
	RSS float64
}

// NewSample returns a row at t in which everything is unknown.
func NewSample(t float64) Sample {
	s := Sample{T: t}
	for _, c := range Columns()[1:] {
		*c.of(&s) = math.NaN()
	}
	return s
}

// Column is one column of series.csv.
type Column struct {
	Name string
	Unit string
	of   func(*Sample) *float64
}

// Of returns the column's value in s, NaN for unknown.
func (c Column) Of(s Sample) float64 { return *c.of(&s) }

var columns = []Column{
	{"t", "s", func(s *Sample) *float64 { return &s.T }},
	{"offered", "records/s", func(s *Sample) *float64 { return &s.Offered }},
	{"consumed", "records/s", func(s *Sample) *float64 { return &s.Consumed }},
	{"visible", "records/s", func(s *Sample) *float64 { return &s.Visible }},
	{"lag", "records", func(s *Sample) *float64 { return &s.Lag }},
	{"queuedRecords", "records", func(s *Sample) *float64 { return &s.QueuedRecords }},
	{"queuedBytes", "bytes", func(s *Sample) *float64 { return &s.QueuedBytes }},
	{"rateLimit", "records/s", func(s *Sample) *float64 { return &s.RateLimit }},
	{"blockedShare", "share", func(s *Sample) *float64 { return &s.BlockedShare }},
	{"cpu", "cores", func(s *Sample) *float64 { return &s.CPU }},
	{"rss", "bytes", func(s *Sample) *float64 { return &s.RSS }},
	{"visibleNew", "records/s", func(s *Sample) *float64 { return &s.VisibleNew }},
}

// Columns lists the columns in the order in which they are written; the first
// is the time.
func Columns() []Column { return slices.Clone(columns) }

// SeriesWriter appends rows to a series.csv. It is not safe for concurrent
// use.
type SeriesWriter struct {
	w    *bufio.Writer
	line []byte
	last float64
}

// NewSeriesWriter writes the header and returns the writer.
func NewSeriesWriter(w io.Writer) (*SeriesWriter, error) {
	s := &SeriesWriter{w: bufio.NewWriter(w), last: math.Inf(-1)}
	for i, c := range columns {
		if i > 0 {
			s.line = append(s.line, ',')
		}
		s.line = append(s.line, c.Name...)
	}
	return s, s.flushLine()
}

// Write appends a row. Time must not run backwards.
func (s *SeriesWriter) Write(row Sample) error {
	if !(row.T >= s.last) {
		return fmt.Errorf("series.csv: t = %v after %v", row.T, s.last)
	}
	s.last = row.T
	for i, c := range columns {
		if i > 0 {
			s.line = append(s.line, ',')
		}
		v := *c.of(&row)
		switch {
		case math.IsNaN(v):
		case math.IsInf(v, 0):
			return fmt.Errorf("series.csv: %s is infinite at t = %v", c.Name, row.T)
		case i == 0:
			s.line = strconv.AppendFloat(s.line, v, 'f', 3, 64)
		default:
			s.line = strconv.AppendFloat(s.line, math.Round(v*1e4)/1e4, 'f', -1, 64)
		}
	}
	return s.flushLine()
}

// flushLine writes the line through, so that an interrupted run keeps every
// row that it got to.
func (s *SeriesWriter) flushLine() error {
	s.line = append(s.line, '\n')
	_, err := s.w.Write(s.line)
	s.line = s.line[:0]
	return errors.Join(err, s.w.Flush())
}

// ReadSeries reads a series.csv. Columns are found by name, in any order;
// those it does not know are passed over and those that are missing are
// unknown in every row. name is for the errors, which give the line. A last
// line that was cut short by an interruption is left out.
func ReadSeries(r io.Reader, name string) ([]Sample, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1
	header, err := in.Read()
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	in.ReuseRecord = true
	at := make([]int, len(header))
	hasTime := false
	for i, h := range header {
		at[i] = slices.IndexFunc(columns, func(c Column) bool { return c.Name == h })
		hasTime = hasTime || at[i] == 0
	}
	if !hasTime {
		return nil, fmt.Errorf("%s:1: no column t", name)
	}
	fields := len(header)
	var rows []Sample
	var pending error // a bad line is forgiven only if it is the last
	for {
		record, err := in.Read()
		if err == io.EOF {
			break
		}
		if pending != nil {
			return rows, pending
		}
		if err != nil {
			pending = fmt.Errorf("%s: %w", name, err)
			continue
		}
		line, _ := in.FieldPos(0)
		if len(record) != fields {
			pending = fmt.Errorf("%s:%d: %d fields where the header has %d", name, line, len(record), fields)
			continue
		}
		row := NewSample(math.NaN())
		for i, text := range record {
			if at[i] < 0 || text == "" {
				continue
			}
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				pending = fmt.Errorf("%s:%d: %s is %q, not a number", name, line, header[i], text)
				break
			}
			*columns[at[i]].of(&row) = v
		}
		if pending == nil && math.IsNaN(row.T) {
			pending = fmt.Errorf("%s:%d: no time", name, line)
		}
		if pending == nil {
			rows = append(rows, row)
		}
	}
	return rows, nil
}
