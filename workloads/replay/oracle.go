package replay

import (
	"encoding/csv"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"

	"streamduel/workloads"
)

// oracle evaluates records with the library's readers.
type oracle struct {
	p     *Params
	names []string // CSV
}

func newOracle(p *Params, header []byte) *oracle {
	o := &oracle{p: p}
	if header != nil {
		o.names, _ = csv.NewReader(strings.NewReader(string(header))).Read()
	}
	return o
}

func (o *oracle) Add(_ workloads.Input, payload []byte, late bool, emit func(key []byte, window, value int64)) {
	if late {
		return
	}
	key, at, ok := o.fields(payload)
	if !ok {
		return
	}
	var start int64
	if w := o.p.Window.Milliseconds(); w > 0 {
		if start = at - at%w; at%w < 0 {
			start -= w
		}
	}
	emit([]byte(key), start, 1)
}

func (o *oracle) fields(payload []byte) (key string, at int64, ok bool) {
	var written string
	if o.names != nil {
		r := csv.NewReader(strings.NewReader(string(payload)))
		values, err := r.Read()
		if err != nil || len(values) != len(o.names) {
			return "", 0, false
		}
		key, written = values[slices.Index(o.names, o.p.Key)], values[slices.Index(o.names, o.p.EventTime)]
	} else {
		var m map[string]json.RawMessage
		if json.Unmarshal(payload, &m) != nil {
			return "", 0, false
		}
		key, written = text(m[o.p.Key]), text(m[o.p.EventTime])
	}
	per := map[string]int64{unitS: 1, unitMs: 1e3, unitUs: 1e6, unitNs: 1e9}[o.p.EventTimeUnit]
	if per == 0 {
		t, err := time.Parse(time.RFC3339, written)
		return key, t.UnixMilli(), err == nil
	}
	t, ok := new(big.Rat).SetString(written)
	if !ok {
		return "", 0, false
	}
	t.Mul(t, big.NewRat(1000, per))
	return key, new(big.Int).Div(t.Num(), t.Denom()).Int64(), true // Div rounds down
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"' {
		return s
	}
	return string(raw)
}
