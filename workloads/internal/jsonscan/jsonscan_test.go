package jsonscan

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// Whatever the library reads as an object, the scanner reads the same way.
func FuzzAgainstLibrary(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":"x\"y\\" } `, `{"a":{"b":[1,"]"]},"c":null,"d":-1.5e9,"e":true}`,
		`{"a":1}x`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1]`, `{"a":"`, "{\"\\u0061\":\"\\n\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New(b)
		var names, values [][]byte
		for {
			n, v, ok := s.Next()
			if !ok {
				break
			}
			names, values = append(names, n), append(values, v)
		}
		if !utf8.Valid(b) || !json.Valid(b) || b[bytes.IndexFunc(b, func(r rune) bool { return r > ' ' })] != '{' {
			return // it may accept more, and must only not panic
		}
		if s.Err() != nil {
			t.Fatalf("%q: %v", b, s.Err())
		}
		d := json.NewDecoder(bytes.NewReader(b))
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
		for i := range names {
			name, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				t.Fatal(err)
			}
			got, err := Text(append(append([]byte{'"'}, names[i]...), '"'))
			if err != nil || string(got) != name {
				t.Fatalf("%q: name %q, the library says %q", b, got, name)
			}
			if !bytes.Equal(values[i], raw) {
				t.Fatalf("%q: value %q, the library says %q", b, values[i], raw)
			}
		}
		if d.More() {
			t.Fatalf("%q: %d fields, the library has more", b, len(names))
		}
	})
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{`"a"`: "a", `"a\nb"`: "a\nb", `12`: "12", `null`: "null", `""`: "", `"é\u00e9"`: "éé"} {
		if got, err := Text([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}
