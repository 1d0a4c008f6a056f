package runs

import (
	"encoding/json"
	"fmt"
	"math"
)

// Elapsed is a figure that may never have come about: a number, or [Never].
// JSON has no infinity, so Never is written as the text "never"; in a gate it
// compares as +Inf, and so fails every upper bound.
type Elapsed float64

// Never is the time of something that did not happen while the run watched.
// It is a measurement, not an absence.
var Never = Elapsed(math.Inf(1))

// IsNever says whether e is [Never].
func (e Elapsed) IsNever() bool { return math.IsInf(float64(e), 1) }

// MarshalJSON writes a number, or "never". NaN and -Inf are errors: they are
// mistakes of whoever computed them.
func (e Elapsed) MarshalJSON() ([]byte, error) {
	if e.IsNever() {
		return []byte(`"never"`), nil
	}
	return json.Marshal(float64(e))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Elapsed) UnmarshalJSON(data []byte) error {
	if string(data) == `"never"` {
		*e = Never
		return nil
	}
	var v float64
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("a time is a number or \"never\", not %s", data)
	}
	*e = Elapsed(v)
	return nil
}
