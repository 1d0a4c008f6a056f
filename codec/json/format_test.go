package json

import (
	"errors"
	"testing"
)

type order struct {
	ID    int64    `json:"id"`
	Lines []string `json:"lines"`
}

func TestFormat(t *testing.T) {
	f := Format[order]()
	b, err := f.Append([]byte("before"), order{7, []string{"a"}})
	if err != nil || string(b) != `before{"id":7,"lines":["a"]}` {
		t.Errorf("%s, %v", b, err)
	}
	v, err := f.Parse([]byte(` {"id":8,"more":true} `))
	if err != nil || v.ID != 8 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := StrictFormat[order]().Parse([]byte(` {"id":9} `)); err != nil || v.ID != 9 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := Format[chan int]().Append(nil, nil); err == nil {
		t.Error("a channel was written")
	}
}

func TestFormatsNameThePlace(t *testing.T) {
	for text, want := range map[string]string{
		`{"id":1`:                     "json: byte 7: unexpected end of JSON input",
		`{"id":1,}`:                   "json: byte 9: invalid character '}' looking for beginning of object key string",
		`{"id":"x"}`:                  `json: byte 9, field "id": string does not fit into int64`,
		`{"id":1.5}`:                  `json: byte 9, field "id": number 1.5 does not fit into int64`,
		`{"lines":[1]}`:               `json: byte 11, field "lines": number does not fit into string`,
		`{"id":1}x`:                   "json: byte 9: invalid character 'x' after top-level value",
		``:                            "json: byte 0: unexpected end of JSON input",
		`{"id":99999999999999999999}`: `json: byte 26, field "id": number 99999999999999999999 does not fit into int64`,
	} {
		_, err := Format[order]().Parse([]byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
	for _, text := range []string{`{"id":1,"x":2}`, `{"id":1}x`, `{"id":1} {"id":2}`, `{"id":`, `{"id":"x"}`, ``} {
		_, err := StrictFormat[order]().Parse([]byte(text))
		var e *Error
		if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzFormat(f *testing.F) {
	f.Add([]byte(`{"id":1,"lines":["a"]}`))
	f.Add([]byte(`{"id":1}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, x := range []struct {
			name  string
			parse func([]byte) (order, error)
		}{{"any", Format[order]().Parse}, {"strict", StrictFormat[order]().Parse}} {
			v, err := x.parse(b)
			if err != nil {
				var e *Error
				if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) {
					t.Fatalf("%s: %q: %v", x.name, b, err)
				}
				continue
			}
			out, err := Format[order]().Append(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := x.parse(out); err != nil || again.ID != v.ID || len(again.Lines) != len(v.Lines) {
				t.Fatalf("%s: %q: %+v came back as %+v, %v", x.name, b, v, again, err)
			}
		}
	})
}
