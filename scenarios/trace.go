package scenarios

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// TracePoint is one line of a trace: from At on, the rate moves in a straight
// line to that of the next point.
type TracePoint struct {
	At   time.Duration
	Rate Rate
}

// ReadTrace reads a trace file: lines "seconds,recordsPerSecond" with times
// that never fall; blank lines and lines that begin with # are skipped.
func ReadTrace(path string) ([]TracePoint, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no such file: lines of seconds,recordsPerSecond")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	return parseTrace(f)
}

func parseTrace(r io.Reader) ([]TracePoint, error) {
	var out []TracePoint
	sc := bufio.NewScanner(r)
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		at, rate, ok := strings.Cut(text, ",")
		seconds, err1 := strconv.ParseFloat(strings.TrimSpace(at), 64)
		perSecond, err2 := strconv.ParseFloat(strings.TrimSpace(rate), 64)
		if !ok || err1 != nil || err2 != nil || !(seconds >= 0 && seconds <= maxDuration.Seconds()) || !(perSecond >= 0 && perSecond <= maxRate) {
			return nil, fmt.Errorf("line %d of it is %q, not seconds,recordsPerSecond", line, text)
		}
		p := TracePoint{time.Duration(seconds * float64(time.Second)), Rate(perSecond)}
		if n := len(out); n > 0 && p.At < out[n-1].At {
			return nil, fmt.Errorf("line %d of it is earlier than the line before", line)
		}
		out = append(out, p)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("holds no line seconds,recordsPerSecond")
	}
	return out, nil
}
