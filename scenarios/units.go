package scenarios

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time with its unit, such as "500ms" or "1m30s".
type Duration time.Duration

const maxDuration = 30 * 24 * time.Hour

// Std gives the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Seconds gives the length in seconds.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }

// String writes the duration as a scenario file would.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the duration as a scenario file would.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "500ms", "2s", "1m30s", "0s". A number without a unit, a
// negative length and one above 30 days are errors.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := parseDuration(string(text))
	if err == nil {
		*d = Duration(v)
	}
	return err
}

func parseDuration(s string) (time.Duration, error) {
	const want = "a duration of 0s to 720h with its unit, such as 500ms, 2s or 1m30s"
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return 0, fmt.Errorf("%s; the unit is missing", want)
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 || v > maxDuration {
		return 0, fmt.Errorf("%s", want)
	}
	return v, nil
}

// Rate counts records per second.
type Rate float64

const maxRate = 1e9

// PerSecond gives the plain number.
func (r Rate) PerSecond() float64 { return float64(r) }

// String writes the rate as a scenario file would, "5000/s".
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s" }

// MarshalText writes the rate as a scenario file would.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "5000/s", "10k/s", "1.5M/s" and "600/min". The rate must
// be above 0 and at most 1G/s.
func (r *Rate) UnmarshalText(text []byte) error {
	const want = "a rate above 0 with its unit, such as 5000/s, 10k/s or 600/min"
	s := string(text)
	per := 1.0
	number, found := strings.CutSuffix(s, "/s")
	if !found {
		if number, found = strings.CutSuffix(s, "/min"); found {
			per = 60
		}
	}
	v, ok := parseNumber(number)
	switch {
	case !found && ok && v > 0:
		return fmt.Errorf("%s; the unit is missing", want)
	case !found || !ok || v <= 0 || v/per > maxRate:
		return fmt.Errorf("%s", want)
	}
	*r = Rate(v / per)
	return nil
}

// parseNumber reads a plain decimal with an optional k, M or G (powers of 1000).
func parseNumber(s string) (float64, bool) {
	scale := 1.0
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'k':
			scale, s = 1e3, s[:n-1]
		case 'M':
			scale, s = 1e6, s[:n-1]
		case 'G':
			scale, s = 1e9, s[:n-1]
		}
	}
	if s == "" || strings.ContainsAny(s, "xXpPiInN_") {
		return 0, false // no hexadecimal, no Inf, no NaN, no underscores
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, false
	}
	return v * scale, true
}

// Bytes is a size.
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{ // longest suffix first
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
}

// String writes the size with the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalText writes the size as a scenario file would.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads "100B", "32KiB", "1.5MB" and a bare number of bytes, from
// 0 to 1 TiB.
func (b *Bytes) UnmarshalText(text []byte) error {
	const want = "a size of 0 to 1024GiB, such as 100B, 32KiB or 1MB"
	s, unit := string(text), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.ContainsAny(s, "xXpPiInN_") {
		return fmt.Errorf("%s", want)
	}
	v *= float64(unit)
	if v < 0 || v > 1<<40 || v != math.Trunc(v) {
		return fmt.Errorf("%s", want)
	}
	*b = Bytes(v)
	return nil
}

// SinkRate is the limit of a throttle: a rate for the whole job, or a share of
// the offered load.
type SinkRate struct {
	Rate    Rate    // 0 if Percent is set
	Percent float64 // above 0, at most 100; 0 if Rate is set
}

// Of gives the limit in records per second under an offered load.
func (s SinkRate) Of(offered Rate) Rate {
	if s.Percent > 0 {
		return offered * Rate(s.Percent) / 100
	}
	return s.Rate
}

// IsZero reports whether no limit was given.
func (s SinkRate) IsZero() bool { return s == SinkRate{} }

// String writes the limit as a scenario file would.
func (s SinkRate) String() string {
	if s.Percent > 0 {
		return strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"
	}
	return s.Rate.String()
}

// MarshalText writes the limit as a scenario file would.
func (s SinkRate) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "2000/s" or "40%".
func (s *SinkRate) UnmarshalText(text []byte) error {
	const want = "a rate above 0 such as 2000/s, or a share of the load above 0% and at most 100% such as 40%"
	if number, ok := strings.CutSuffix(string(text), "%"); ok {
		v, ok := parseNumber(number)
		if !ok || v <= 0 || v > 100 {
			return fmt.Errorf("%s", want)
		}
		*s = SinkRate{Percent: v}
		return nil
	}
	var r Rate
	if err := r.UnmarshalText(text); err != nil {
		return fmt.Errorf("%s", want)
	}
	*s = SinkRate{Rate: r}
	return nil
}

// Percent is a share in percent, above 0 and at most 100.
type Percent float64

// String writes the share as a scenario file would, "5%".
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// MarshalText writes the share as a scenario file would.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads "5%" and "0.1%".
func (p *Percent) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	v, valid := parseNumber(number)
	if !ok || !valid || v <= 0 || v > 100 {
		return errors.New("a share above 0% and at most 100%, such as 2%")
	}
	*p = Percent(v)
	return nil
}
