package report

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"streamduel/runs"
)

// absent is shown where a figure does not apply or was not measured.
const absent = "–"

// count writes an exact integer with separators.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// significant writes v with three significant digits, without an exponent.
func significant(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 99.95:
		return count(int64(math.Round(v)))
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.0995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a >= 0.00995:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// millis writes a time given in milliseconds.
func millis(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "never"
	case v >= 999.5:
		return seconds(v / 1000)
	}
	return significant(v) + " ms"
}

// seconds writes a time given in seconds; an infinite one never came.
func seconds(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "never"
	case v == 0:
		return "0 s"
	case v < 0.9995:
		return significant(v*1000) + " ms"
	}
	return significant(v) + " s"
}

func rate(v float64) string { return significant(v) + "/s" }

func size(v float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for v >= 999.5 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return significant(v) + " " + units[i]
}

func percent(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/10, 'f', -1, 64) + " %"
}

// timesWord writes a ratio in a sentence.
func timesWord(v float64) string { return significant(v) + " times" }

func plainCount(v float64) string { return count(int64(math.Round(v))) }

// estimate writes a median with its interval where there is one.
func estimate(e runs.Estimate, format func(float64) string) string {
	if e.N == 0 {
		return absent
	}
	median := format(e.Median)
	if !e.HasInterval {
		return median
	}
	low, high := format(e.Low), format(e.High)
	if unit := unitOf(median); unit != "" && unit == unitOf(low) && unit == unitOf(high) {
		return strings.TrimSuffix(median, unit) + " [" + strings.TrimSuffix(low, unit) + " to " + strings.TrimSuffix(high, unit) + "]" + unit
	}
	return median + " [" + low + " to " + high + "]"
}

// unitOf is what follows the number in a formatted figure.
func unitOf(s string) string { return strings.TrimLeft(s, "−0123456789.,e+-") }

// formatOf returns how a figure is written, from its path.
func formatOf(path string) func(float64) string {
	last := path[strings.LastIndexByte(path, '.')+1:]
	switch {
	case last == "count" || last == "hit" || last == "created":
		return plainCount
	case strings.HasPrefix(path, "latencyMillis."), strings.Contains(path, "Millis"):
		return millis
	case strings.HasPrefix(path, "throughput."), last == "sinkRecordsPerSecond":
		return rate
	case strings.HasSuffix(last, "Seconds"):
		return seconds
	case last == "allocBytesPerRecord" || last == "bytesPerKey":
		return func(v float64) string { return significant(v) + " B" }
	case strings.HasSuffix(last, "Bytes"), strings.HasSuffix(last, "BytesPeak"), strings.HasSuffix(last, "BytesMax"):
		return size
	case last == "pointsOff":
		return func(v float64) string { return significant(v) + " points" }
	case last == "share" || last == "oldPartitionsDip" || last == "predictionError" || strings.HasSuffix(last, "Share"):
		return percent
	case last == "cpuSecondsPerMillion":
		return func(v float64) string { return significant(v) + " s" }
	case last == "reached" || last == "failed":
		return func(v float64) string {
			if v == 0 {
				return "no"
			}
			return "yes"
		}
	}
	return plainCount
}

// list joins words as a sentence does.
func list(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// plural writes a count and its noun.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		return count(n) + " " + noun + "es"
	}
	return count(n) + " " + noun + "s"
}

// sentence makes the first letter large and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:]
}

// oneLine keeps text that came from outside on one line of a report.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
