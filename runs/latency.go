package runs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The range of a latency histogram, in nanoseconds: 1 µs to one hour with
// three significant digits. What lies beyond is clipped, and whoever records
// must count it: an audit names it.
const (
	LatencyLowest  = int64(time.Microsecond)
	LatencyHighest = int64(time.Hour)
	latencyDigits  = 3
)

// Kinds of latency in a latency.hlog.
const (
	EventLatency      = "event"
	ProcessingLatency = "processing"
)

// NewHistogram returns an empty histogram of the one geometry that all
// latency logs share, for values in nanoseconds.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(LatencyLowest, LatencyHighest, latencyDigits)
}

// LatencyOf sums a histogram of nanoseconds up, in milliseconds; ok is false
// when it holds nothing.
func LatencyOf(h *hdrhistogram.Histogram) (l Latency, ok bool) {
	if h == nil || h.TotalCount() == 0 {
		return Latency{}, false
	}
	const milli = float64(time.Millisecond)
	p := h.ValueAtPercentilesSlice([]float64{50, 90, 99, 99.9})
	largest := h.Max()
	at := func(i int) float64 { return float64(min(p[i], largest)) / milli }
	return Latency{
		Count: h.TotalCount(),
		P50:   at(0), P90: at(1), P99: at(2), P999: new(at(3)),
		Max:  new(float64(largest) / milli),
		Mean: new(h.Mean() / milli),
	}, true
}

// LatencyTag is how an interval of a latency.hlog says what it holds: the
// kind and the phase, joined by a slash.
func LatencyTag(kind, phase string) string { return kind + "/" + phase }

// LatencyWriter writes a latency.hlog: the HdrHistogram interval log format
// 1.3, which other tools read too. It is not safe for concurrent use.
type LatencyWriter struct {
	w   *bufio.Writer
	log *hdrhistogram.HistogramLogWriter
}

// NewLatencyWriter writes the log's head. started is the cell's start by the
// wall clock; the intervals count from it.
func NewLatencyWriter(w io.Writer, started time.Time) (*LatencyWriter, error) {
	buffered := bufio.NewWriter(w)
	log := hdrhistogram.NewHistogramLogWriter(buffered)
	err := errors.Join(
		log.OutputLogFormatVersion(),
		log.OutputComment("Values are nanoseconds. Tags are <kind>/<phase>; times are seconds since the start of the cell."),
		log.OutputStartTime(started.UnixMilli()),
		log.OutputBaseTime(started.UnixMilli()),
		log.OutputLegend(),
		buffered.Flush(),
	)
	return &LatencyWriter{w: buffered, log: log}, err
}

// Write appends one interval, [start, end) in seconds since the cell's start.
// An empty histogram is not written. The histogram's tag and times are
// overwritten; it may be reset and used again afterwards.
func (l *LatencyWriter) Write(kind, phase string, start, end float64, h *hdrhistogram.Histogram) error {
	if h.TotalCount() == 0 {
		return nil
	}
	if kind != EventLatency && kind != ProcessingLatency {
		return fmt.Errorf("latency.hlog: kind %q; allowed are %s, %s", kind, EventLatency, ProcessingLatency)
	}
	if !nameShape.MatchString(phase) {
		return fmt.Errorf("latency.hlog: phase %q cannot be a tag", phase)
	}
	h.SetTag(LatencyTag(kind, phase))
	h.SetStartTimeMs(int64(math.Round(start * 1000)))
	h.SetEndTimeMs(int64(math.Round(end * 1000)))
	return errors.Join(l.log.OutputIntervalHistogram(h), l.w.Flush())
}

// LatencyInterval is one interval of a latency.hlog.
type LatencyInterval struct {
	Kind, Phase string
	Start, End  float64 // seconds since the cell's start
	Histogram   *hdrhistogram.Histogram
}

// intervalLine is a line of the log: tag, start, length, largest value and
// the histogram.
var intervalLine = regexp.MustCompile(`^Tag=([^,]+),([^,]+),([^,]+),([^,]+),(\S+)$`)

// ReadLatencies reads a latency.hlog. name is for the errors, which give the
// line. A last line that was cut short by an interruption is left out.
//
// The library's own reader is not used: it passes over what it cannot parse,
// and a report must not draw from a damaged file in silence.
func ReadLatencies(r io.Reader, name string) ([]LatencyInterval, error) {
	var all []LatencyInterval
	in := bufio.NewReader(r)
	for line := 1; ; line++ {
		text, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			if text != "" {
				// No end of line: the write was cut short, unless it parses.
				if i, ok, err := parseInterval(text); err == nil && ok {
					all = append(all, i)
				}
			}
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
		i, ok, err := parseInterval(text)
		if err != nil {
			return all, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		if ok {
			all = append(all, i)
		}
	}
}

// parseInterval parses a line; ok is false for comments, the legend and empty
// lines.
func parseInterval(text string) (i LatencyInterval, ok bool, err error) {
	text = strings.TrimRight(text, "\r\n")
	if text == "" || text[0] == '#' || text[0] == '"' {
		return i, false, nil
	}
	m := intervalLine.FindStringSubmatch(text)
	if m == nil {
		return i, false, errors.New("not an interval: Tag=<kind>/<phase>,<start>,<length>,<max>,<histogram> expected")
	}
	i.Kind, i.Phase, ok = strings.Cut(m[1], "/")
	if !ok {
		return i, false, fmt.Errorf("tag %q: <kind>/<phase> expected", m[1])
	}
	start, err1 := strconv.ParseFloat(m[2], 64)
	length, err2 := strconv.ParseFloat(m[3], 64)
	if err := errors.Join(err1, err2); err != nil {
		return i, false, err
	}
	i.Start, i.End = start, start+length
	if i.Histogram, err = hdrhistogram.Decode([]byte(m[5])); err != nil {
		return i, false, fmt.Errorf("histogram: %w", err)
	}
	return i, true, nil
}

// MergeLatencies sums the intervals of one kind and phase up; an empty phase
// takes all of them. It returns nil when there is none.
func MergeLatencies(intervals []LatencyInterval, kind, phase string) *hdrhistogram.Histogram {
	var sum *hdrhistogram.Histogram
	for _, i := range intervals {
		if i.Kind != kind || phase != "" && i.Phase != phase {
			continue
		}
		if sum == nil {
			sum = NewHistogram()
		}
		sum.Merge(i.Histogram)
	}
	return sum
}

// LatencyBin is the latency of what became visible in one bin of time.
type LatencyBin struct {
	Start, End float64 // seconds since the cell's start
	Latency
}

// BinLatencies gives the latency over time: the intervals of one kind, of all
// phases, gathered in bins of width seconds. Bins without a sample are left
// out, so that a line drawn through them breaks where nothing became visible.
// An interval belongs to the bin in which its middle lies.
func BinLatencies(intervals []LatencyInterval, kind string, width float64) []LatencyBin {
	if !(width > 0) {
		return nil
	}
	byBin := map[int]*hdrhistogram.Histogram{}
	for _, i := range intervals {
		if i.Kind != kind {
			continue
		}
		bin := int(math.Floor((i.Start + i.End) / 2 / width))
		if byBin[bin] == nil {
			byBin[bin] = NewHistogram()
		}
		byBin[bin].Merge(i.Histogram)
	}
	bins := make([]LatencyBin, 0, len(byBin))
	for bin, h := range byBin {
		if l, ok := LatencyOf(h); ok {
			bins = append(bins, LatencyBin{Start: float64(bin) * width, End: float64(bin+1) * width, Latency: l})
		}
	}
	slices.SortFunc(bins, func(a, b LatencyBin) int { return int(math.Copysign(1, a.Start-b.Start)) })
	return bins
}
