package replay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"streamduel/workloads"
)

// Params are the workload's parameters.
type Params struct {
	// File is read by the load and by the observer, which make its records; of
	// a CSV file the worker reads the header.
	File   string `json:"file"`
	Format string `json:"format"` // jsonl or csv; empty: by the file's name
	// Key names the field by which records are counted.
	Key string `json:"key"`
	// EventTime names the field with a record's own time, EventTimeUnit says how
	// it is written.
	EventTime     string `json:"eventTime"`
	EventTimeUnit string `json:"eventTimeUnit"`
	// ArrivalTime names a field, in the same unit, by which a load that follows
	// the file's own times is scheduled; empty takes EventTime. A time before
	// that of an earlier record counts as the earlier one's: the file's order is
	// the order of arrival.
	ArrivalTime string `json:"arrivalTime"`
	// Delay of the watermark behind the largest event time.
	Delay time.Duration `json:"delay"`
	// Window, if set, makes the job count per key and tumbling window of event
	// time instead of running on; records that are late go to the late topic.
	Window time.Duration `json:"window"`
}

// Units of event time.
const (
	unitS       = "s"
	unitMs      = "ms"
	unitUs      = "us"
	unitNs      = "ns"
	unitRFC3339 = "rfc3339"
)

var units = []string{unitS, unitMs, unitUs, unitNs, unitRFC3339}

const (
	formatJSON = "jsonl"
	formatCSV  = "csv"
)

// format is the file's, by name where none was given; empty if unknown.
func (p *Params) format() string {
	if p.Format != "" {
		return p.Format
	}
	switch strings.ToLower(filepath.Ext(p.File)) {
	case ".jsonl", ".ndjson", ".json":
		return formatJSON
	case ".csv":
		return formatCSV
	}
	return ""
}

// Rebase implements workloads.Rebaser.
func (p *Params) Rebase(dir string) {
	if p.File != "" && !filepath.IsAbs(p.File) {
		p.File = workloads.Resolve(dir, p.File)
	}
}

// Validate says what is allowed where a parameter is impossible. Of the file it
// looks at the first record; the others are checked when they are read. A
// relative file name is not followed: it does not say yet where it begins (see
// Rebase).
func (p *Params) Validate() error {
	var errs []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	if p.File == "" {
		errs = append(errs, errors.New("file: the name of a JSON-lines or CSV file"))
	}
	switch f := p.format(); {
	case p.File != "" && f == "":
		errs = append(errs, errors.New("format: jsonl or csv; the file's name does not say which"))
	case f != "":
		check(f == formatJSON || f == formatCSV, "format: jsonl or csv")
	}
	if filepath.IsAbs(p.File) {
		info, err := os.Stat(p.File)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("file: an existing file (%w)", err))
		case !info.Mode().IsRegular():
			errs = append(errs, errors.New("file: a file, not a folder or device"))
		case info.Size() > maxFile:
			errs = append(errs, fmt.Errorf("file: at most %d bytes", maxFile))
		case len(errs) == 0 && p.Key != "" && p.EventTime != "":
			errs = append(errs, p.checkFields()...)
		}
	}
	check(p.Key != "", "key: the name of the field to count by")
	check(p.EventTime != "", "eventTime: the name of the field with a record's time")
	check(slices.Contains(units, p.EventTimeUnit), "eventTimeUnit: one of %s", strings.Join(units, ", "))
	whole := func(d time.Duration) bool { return d >= 0 && d%time.Millisecond == 0 && d <= 366*24*time.Hour }
	check(whole(p.Delay), "delay: whole milliseconds from 0s to 8784h")
	check(whole(p.Window), "window: whole milliseconds from 0s (a running count) to 8784h")
	return errors.Join(errs...)
}

// checkFields looks for the named fields in the file's first record.
func (p *Params) checkFields() (errs []error) {
	first, err := head(p.File, p.format() == formatCSV)
	if err != nil {
		return []error{err}
	}
	var names []string
	if p.format() == formatCSV {
		err = columns(first, func(_ int, v []byte) { names = append(names, string(v)) })
	} else {
		names, err = fieldNames(first)
	}
	if err != nil {
		return []error{fmt.Errorf("file: the first record of %s is no %s (%w)", p.File, p.format(), err)}
	}
	for _, f := range []struct{ param, name string }{{"key", p.Key}, {"eventTime", p.EventTime}, {"arrivalTime", p.ArrivalTime}} {
		if f.name != "" && !slices.Contains(names, f.name) {
			errs = append(errs, fmt.Errorf("%s: one of the fields of %s, which are %s", f.param, p.File, strings.Join(names, ", ")))
		}
	}
	return errs
}

func (p *Params) horizon() workloads.Horizon {
	return workloads.Horizon{After: p.Window, Delay: p.Delay}
}
