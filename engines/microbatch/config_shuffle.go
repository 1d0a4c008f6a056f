package microbatch

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// ShuffleConfig is about what lies between stages.
type ShuffleConfig struct {
	// Memory is how many bytes of shuffle outputs an executor keeps in memory; what
	// is more goes to files in the job's folder. "none" sets no limit.
	Memory Bytes `json:"memory"`
}

// Bytes is a size, or NoLimit.
type Bytes int64

// NoLimit is written "none".
const NoLimit Bytes = -1

const defaultShuffleMemory Bytes = 512 << 20

var byteUnits = []struct {
	name string
	size int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// MarshalText writes "64MiB" or "none".
func (b Bytes) MarshalText() ([]byte, error) {
	if b == NoLimit {
		return []byte("none"), nil
	}
	for _, u := range []int{2, 1, 0} {
		if u := byteUnits[u]; b != 0 && int64(b)%u.size == 0 {
			return []byte(strconv.FormatInt(int64(b)/u.size, 10) + u.name), nil
		}
	}
	return []byte(strconv.FormatInt(int64(b), 10) + "B"), nil
}

// UnmarshalText reads "64MiB", "1.5GB", "0B" and "none".
func (b *Bytes) UnmarshalText(text []byte) error {
	s, unit := string(text), int64(1)
	if s == "none" {
		*b = NoLimit
		return nil
	}
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	v *= float64(unit)
	if err != nil || v < 0 || v > 1<<40 || v != math.Trunc(v) {
		return errors.New("a size of 0 to 1024GiB, such as 64MiB, or none")
	}
	*b = Bytes(v)
	return nil
}

// UnmarshalJSON reads what UnmarshalText does, and numbers of bytes.
func (b *Bytes) UnmarshalJSON(text []byte) error {
	return b.UnmarshalText([]byte(strings.Trim(string(text), `"`)))
}
