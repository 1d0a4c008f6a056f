package json

import (
	"bytes"
	stdjson "encoding/json"
	"testing"
	"time"

	"github.com/buger/jsonparser"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fastjson"
)

// The event of the Yahoo streaming benchmark, of which a job needs three fields.
var ysbEvent = []byte(`{"user_id":"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0","page_id":"9a8b7c6d-4b5a-6978-8796-a5b4c3d2e1f0","ad_id":"1a2b3c4d-4b5a-6978-8796-a5b4c3d2e1f0",` +
	`"ad_type":"banner","event_type":"view","event_time":"1700000000123","ip_address":"1.2.3.4"}`)

// A way to take out the three fields.
type extractor struct {
	name   string
	strict bool // refuses what encoding/json refuses
	read   func(b []byte) (ad, kind []byte, at int64, err error)
}

func extractors() []extractor {
	fields := MustFields("ad_id", "event_type", "event_time")
	var parser fastjson.Parser
	buffer := bytes.NewBuffer(nil)
	decoder := jsontext.NewDecoder(buffer)
	return []extractor{
		{"codec-json", true, func(b []byte) (ad, kind []byte, at int64, err error) {
			var v [3]Value
			if err = fields.Read(b, v[:]); err != nil {
				return
			}
			if ad, err = v[0].Text(); err != nil {
				return
			}
			if kind, err = v[1].Text(); err != nil {
				return
			}
			at, err = v[2].QuotedInt()
			return
		}},
		{"buger-jsonparser", false, func(b []byte) (ad, kind []byte, at int64, err error) {
			err = jsonparser.ObjectEach(b, func(name, value []byte, _ jsonparser.ValueType, _ int) error {
				switch string(name) {
				case "ad_id":
					ad = value
				case "event_type":
					kind = value
				case "event_time":
					at, err = jsonparser.ParseInt(value)
				}
				return err
			})
			return
		}},
		{"valyala-fastjson", false, func(b []byte) (ad, kind []byte, at int64, err error) {
			v, err := parser.ParseBytes(b)
			if err != nil {
				return
			}
			ad, kind = v.GetStringBytes("ad_id"), v.GetStringBytes("event_type")
			at, err = jsonparser.ParseInt(v.GetStringBytes("event_time"))
			return
		}},
		{"jsontext", true, func(b []byte) (ad, kind []byte, at int64, err error) {
			buffer.Reset()
			buffer.Write(b)
			decoder.Reset(buffer, jsontext.AllowDuplicateNames(true))
			if _, err = decoder.ReadToken(); err != nil {
				return
			}
			for decoder.PeekKind() == '"' {
				name, err := decoder.ReadValue()
				if err != nil {
					return ad, kind, at, err
				}
				var into *[]byte
				time := false
				switch string(name) {
				case `"ad_id"`:
					into = &ad
				case `"event_type"`:
					into = &kind
				case `"event_time"`:
					time = true
				}
				v, err := decoder.ReadValue()
				if err != nil {
					return ad, kind, at, err
				}
				// Values without escapes; a view is good until the buffer moves.
				if into != nil {
					*into = v[1 : len(v)-1]
				} else if time {
					if at, err = jsonparser.ParseInt(v[1 : len(v)-1]); err != nil {
						return ad, kind, at, err
					}
				}
			}
			_, err = decoder.ReadToken()
			return
		}},
		{"encoding-json", true, func(b []byte) (ad, kind []byte, at int64, err error) {
			var e struct {
				Ad   string `json:"ad_id"`
				Kind string `json:"event_type"`
				Time int64  `json:"event_time,string"`
			}
			err = stdjson.Unmarshal(b, &e)
			return []byte(e.Ad), []byte(e.Kind), e.Time, err
		}},
	}
}

// What the libraries that are about as fast let through is why this package has
// a scanner of its own.
func TestLibrariesAreLooser(t *testing.T) {
	loose := map[string]bool{}
	for _, text := range []string{
		`{"ad_id":"a","event_type":"view","event_time":"1","price":01}`,
		`{"ad_id":"a","event_type":"view","event_time":"1","price":1.}`,
		`{"ad_id":"a","event_type":"view","event_time":"1","note":"\q"}`,
		`{"ad_id":"a","event_type":"view","event_time":"1",}`,
		`{"ad_id":"a","event_type":"view","event_time":"1"}{"ad_id":"b"`,
		`{"ad_id":"a","event_type":"view","event_time":"1","nested":{"x":}}`,
	} {
		if stdjson.Valid([]byte(text)) {
			t.Fatalf("%s is JSON", text)
		}
		for _, x := range extractors() {
			_, _, _, err := x.read([]byte(text))
			switch {
			case err != nil:
			case x.name == "jsontext": // it stops at the object's end
			case x.strict:
				t.Errorf("%s accepts %s", x.name, text)
			default:
				loose[x.name] = true
			}
		}
	}
	if len(loose) != 2 {
		t.Errorf("only %v accept broken text: choose again", loose)
	}
}

func BenchmarkYSB(b *testing.B) {
	for _, x := range extractors() {
		b.Run(x.name, func(b *testing.B) {
			ad, kind, at, err := x.read(ysbEvent)
			if err != nil || string(ad) != "1a2b3c4d-4b5a-6978-8796-a5b4c3d2e1f0" || string(kind) != "view" || at != 1700000000123 {
				b.Fatalf("%q %q %d %v", ad, kind, at, err)
			}
			b.SetBytes(int64(len(ysbEvent)))
			b.ReportAllocs()
			// The fastest of short stretches is what the code costs; the mean
			// is that and what else the machine does.
			fastest, stretch, begun := time.Duration(1<<62), 0, time.Now()
			for b.Loop() {
				if _, _, _, err := x.read(ysbEvent); err != nil {
					b.Fatal(err)
				}
				if stretch++; stretch == 1000 {
					now := time.Now()
					fastest, stretch, begun = min(fastest, now.Sub(begun)), 0, now
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			if fastest < 1<<62 {
				b.ReportMetric(1000/fastest.Seconds(), "events/s-best")
			}
		})
	}
}
