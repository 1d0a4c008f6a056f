package replay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/workloads"
	"streamduel/workloads/internal/trial"
)

func clicks(change func(*Params)) *Params {
	p := Workload().Params().(*Params)
	p.File, p.Key, p.EventTime = "testdata/clicks.jsonl", "who", "at"
	if change != nil {
		change(p)
	}
	return p
}

func visits(change func(*Params)) *Params {
	return clicks(func(p *Params) {
		p.File, p.Key, p.EventTime, p.EventTimeUnit = "testdata/visits.csv", "name", "when", unitRFC3339
		if change != nil {
			change(p)
		}
	})
}

func TestGeneratorIsPure(t *testing.T) {
	trial.CheckDeterminism(t, Workload(), clicks(nil))
	trial.CheckDeterminism(t, Workload(), visits(nil))
}

func TestRecordsAreTheFilesBytesInItsOrder(t *testing.T) {
	var got []string
	for _, in := range trial.Inputs(t, Workload(), visits(nil), trial.Options{Records: 5, Partitions: 1}) {
		got = append(got, string(in.Payload))
	}
	want := []string{
		"1,2026-01-01T00:00:00Z,ann,plain",
		"2,2026-01-01T00:00:01.5Z,\"bob \"\"b\"\" b\",\"two\r\nlines, and a comma\"",
		"3,2026-01-01T01:00:01+01:00,ann,",
		"4,2026-01-01T00:00:09Z,\"\",\"\"",
		"1,2026-01-01T00:00:00Z,ann,plain", // and again
		`{"sd-closing":0,"time":1767225609001}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTimelineFollowsTheFile(t *testing.T) {
	for _, c := range []struct {
		p      *Params
		want   []int64 // milliseconds
		length int64
	}{
		{clicks(nil), []int64{0, 4000, 4000, 4000, 12000, 12000, 31000, 31000}, 31_000_000_000 + 31_000_000_000/7},
		{visits(nil), []int64{0, 1500, 1500, 9000}, 12_000_000_000},
	} {
		g, err := Workload().Generator(c.p, 1)
		if err != nil {
			t.Fatal(err)
		}
		l := g.(workloads.Timeline)
		var got []int64
		for _, o := range l.Offsets() {
			got = append(got, o/1e6)
		}
		if !slices.Equal(got, c.want) || l.Length() != c.length {
			t.Errorf("%s: offsets %v, length %d; want %v, %d", c.p.File, got, l.Length(), c.want, c.length)
		}
	}
}

// One output an input, named by its header, whose counts are 1 … n per key.
func TestRunningCount(t *testing.T) {
	for i, o := range []trial.Options{
		{Records: 8, Partitions: 1},
		{Records: 400, Parallelism: 2, Order: 1},
		{Records: 400, Parallelism: 3, Order: 2, Partitions: 4, Unchained: true, Buffers: 1},
		{Records: 400, Order: 3, Restart: 5},
	} {
		for _, p := range []*Params{clicks(nil), visits(nil), clicks(func(p *Params) { p.Key = "page" })} {
			t.Run(fmt.Sprint(i, p.File, p.Key), func(t *testing.T) {
				o.Origins = true
				res := trial.Run(t, Workload(), p, o)
				expected, keyOf := trial.Evaluate(t, Workload(), p, o, res.Inputs, nil)
				seen, counts := map[trial.ID]bool{}, map[string]int64{}
				for _, r := range res.Rows {
					if r.Closing {
						continue
					}
					id := trial.ID{Partition: r.Partition, Sequence: r.Sequence}
					key := string(r.Key)
					if !r.HasID || seen[id] || keyOf[id] != key || r.Value != counts[key]+1 {
						t.Fatalf("%+v: seen %v, key should be %q, count before %d", r, seen[id], keyOf[id], counts[key])
					}
					seen[id] = true
					counts[key]++
				}
				if len(seen) != o.Records || len(expected) != len(counts) {
					t.Errorf("%d outputs, %d keys; the oracle says %d, %d", len(seen), len(counts), o.Records, len(expected))
				}
				trial.CheckClosings(t, res.Rows, len(res.Inputs)-o.Records)
			})
		}
	}
}

func TestKeysAreWhatTheFileMeans(t *testing.T) {
	o := trial.Options{Records: 8, Partitions: 1}
	for _, c := range []struct {
		p    *Params
		want string
	}{
		{clicks(nil), "ann:4 bob:2 null:1 7.50:1"},
		{clicks(func(p *Params) { p.Key = "page" }), `/:5 /a:1 /b"\:1 /late:1`},
		{visits(nil), `ann:4 bob "b" b:2 :2`},
		{visits(func(p *Params) { p.Key = "note" }), "plain:2 two\nlines, and a comma:2 :4"},
	} {
		cells, _ := trial.Evaluate(t, Workload(), c.p, o, trial.Inputs(t, Workload(), c.p, o), nil)
		got := map[string]int64{}
		for cell, e := range cells {
			got[cell.Key] = e.Value
		}
		n := 0
		for k, v := range got {
			if !strings.Contains(c.want, fmt.Sprintf("%s:%d", k, v)) {
				t.Errorf("%s: %q has %d, want %s", c.p.File, k, v, c.want)
			}
			n += int(v)
		}
		if n != 8 {
			t.Errorf("%s: %d counted", c.p.File, n)
		}
	}
}

// Windows of 10 s and no delay, in the file's order: the last record is late
// because the watermark stands at 31 s, and with a minute's delay none is.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		delay time.Duration
		late  int
	}{{0, 1}, {time.Minute, 0}} {
		p := clicks(func(p *Params) { p.Window, p.Delay = 10*time.Second, c.delay })
		o := trial.Options{Records: 8, Partitions: 1, Origins: true, BatchSize: 1}
		res := trial.Run(t, Workload(), p, o)
		late := map[trial.ID]bool{}
		for _, r := range res.Late {
			late[trial.ID{Partition: r.Partition, Sequence: r.Sequence}] = true
		}
		if len(late) != c.late || len(res.Late) != c.late {
			t.Errorf("delay %v: %d late, want %d", c.delay, len(late), c.late)
		}
		expected, _ := trial.Evaluate(t, Workload(), p, o, res.Inputs, late)
		rows := 0
		for _, r := range res.Rows {
			if r.Closing {
				continue
			}
			rows++
			if e := expected[trial.Cell{Key: string(r.Key), Window: r.Window}]; e.Value != r.Value || e.Hash != r.IDHash {
				t.Errorf("delay %v: %+v, the oracle says %+v", c.delay, r, e)
			}
		}
		if rows != len(expected) {
			t.Errorf("delay %v: %d rows, the oracle says %d", c.delay, rows, len(expected))
		}
		trial.CheckClosings(t, res.Rows, 1)
	}
}

// Escapes and doubled quotes are copied, the rest is not.
func TestTheJobDoesNotAllocate(t *testing.T) {
	for _, window := range []time.Duration{0, time.Hour} {
		trial.CheckAllocations(t, Workload(), clicks(func(p *Params) {
			p.File, p.Window, p.Delay = "testdata/plain.jsonl", window, time.Hour
		}), true)
	}
}

func TestMillis(t *testing.T) {
	for _, c := range []struct{ in, unit, want string }{
		{"0", unitMs, "0"}, {"1500000000123", unitMs, "1500000000123"}, {"-1", unitMs, "-1"},
		{"1500000000", unitS, "1500000000000"}, {"1500000000.5", unitS, "1500000000500"}, {"1500000000.12399", unitS, "1500000000123"},
		{"-1.5", unitS, "-1500"}, {"-1.5001", unitS, "-1501"},
		{"1999", unitUs, "1"}, {"-1999", unitUs, "-2"}, {"-2000", unitUs, "-2"}, {"1500000000123456789", unitNs, "1500000000123"},
		{"12.7", unitMs, "12"}, {"-12.7", unitMs, "-13"},
		{"1970-01-01T00:00:01.5Z", unitRFC3339, "1500"}, {"1970-01-01T01:00:00+01:00", unitRFC3339, "0"},
		{"", unitMs, "!"}, {"x", unitMs, "!"}, {"1x", unitMs, "!"}, {"1.", unitS, "!"}, {"1.x", unitS, "!"}, {"-", unitMs, "!"},
		{"12345678901234567890", unitMs, "!"}, {"1e9", unitS, "!"}, {"yesterday", unitRFC3339, "!"},
	} {
		v, err := millis([]byte(c.in), c.unit)
		got := fmt.Sprint(v)
		if err != nil {
			got = "!"
		}
		if got != c.want {
			t.Errorf("%q in %s: %s (%v), want %s", c.in, c.unit, got, err, c.want)
		}
	}
}

// The job's reader and the oracle's agree on every well-formed record.
func FuzzFieldsAgainstOracle(f *testing.F) {
	f.Add([]byte(`{"at": 17.25, "who": "a\nb", "x": [1, {"at": 2}]}`), true)
	f.Add([]byte(`1,-17,"a ""quoted"" b",x`), false)
	f.Add([]byte("1,5,\"a\r\nb\",\"\""), false)
	f.Fuzz(func(t *testing.T, b []byte, isJSON bool) {
		p := clicks(func(p *Params) { p.EventTimeUnit = unitS })
		var header []byte
		if !isJSON {
			p.File, header = "x.csv", []byte("id,at,who,note")
		}
		if wellFormed(b, !isJSON) != nil {
			return
		}
		if end, _, _ := next(b, 0, !isJSON); end != len(b) {
			return // more than one record
		}
		fs, err := newFields(p, header)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fs.decode(&connectors.Record{Value: b})
		if err != nil || got.closing {
			return
		}
		key, at, ok := newOracle(p, header).fields(b)
		if !ok || key != got.key || at != got.time {
			t.Fatalf("%q: key %q at %d; the oracle says %q at %d, %v", b, got.key, got.time, key, at, ok)
		}
	})
}

func TestErrorsNameFileLineAndField(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, text, want string }{
		{"a.jsonl", `{"at": 1, "who": "x"}` + "\n" + `{"at": 2}`, `a.jsonl:2: no field "who"; the record has at`},
		{"b.jsonl", "\n\n{\"at\": \"soon\", \"who\": 1}", `b.jsonl:3: field "at": "soon" is no Unix time in ms`},
		{"c.jsonl", `{"at": 1, "who": {}}`, `c.jsonl:1: field "who": {} is no key`},
		{"d.jsonl", `{"at": 1, "who": 1}` + "\nhello", "d.jsonl:2: not JSON"},
		{"e.jsonl", "\n", "e.jsonl holds no record"},
		{"f.jsonl", `{"sd-closing":1,"at":1,"who":2}`, "f.jsonl:1: a record that begins with"},
		{"g.jsonl", "[1]", "g.jsonl:1: json: byte 0: an object begins"},
		{"h.jsonl", "{\"at\":1,\"who\":\"\xff\"}", "h.jsonl:1: not UTF-8"},
		{"i.csv", "at,whom\n1,2\n", `key: ` + dir + `/i.csv:1: the header has no field "who"; it has at, whom`},
		{"j.csv", "at,who\n1,a\n2,b,c\n", "j.csv:3: 3 fields, the header has 2"},
		{"k.csv", "at,who\n1,\"a\n\nb\"\nx,b\n", `k.csv:5: field "at": "x" is no Unix time in ms`},
		{"l.csv", "at,who\n1,a\"b\n", `l.csv:2: bare " in non-quoted`},
		{"m.jsonl", `{"at": 1, "who": 1}` + "\n" + `{"at": 99999999999999999, "who": 1}`, "m.jsonl:2: field \"at\": 99999999999999999 is more than 280 years"},
	} {
		name := filepath.Join(dir, c.name)
		if err := os.WriteFile(name, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := newGenerator(clicks(func(p *Params) { p.File = name }))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
	}
}

func TestValidateNamesTheField(t *testing.T) {
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Params){
		"file: the name of a JSON-lines or CSV file":   func(p *Params) { p.File = "" },
		"file: an existing file":                       func(p *Params) { p.File = here + "/none.csv" },
		"file: a file, not a folder":                   func(p *Params) { p.File, p.Format = here, formatCSV },
		"format: jsonl or csv":                         func(p *Params) { p.Format = "xml" },
		"format: jsonl or csv; the file's name":        func(p *Params) { p.File = "clicks.log" },
		"key: the name":                                func(p *Params) { p.Key = "" },
		"eventTime: the name":                          func(p *Params) { p.EventTime = "" },
		"eventTimeUnit: one of s, ms, us, ns, rfc3339": func(p *Params) { p.EventTimeUnit = "h" },
		"delay: whole milliseconds":                    func(p *Params) { p.Delay = -1 },
		"window: whole milliseconds":                   func(p *Params) { p.Window = time.Microsecond },
		"key: one of the fields of " + here + "/clicks.jsonl, which are at, who, page": func(p *Params) {
			p.File, p.Key = here+"/clicks.jsonl", "whom"
		},
		"arrivalTime: one of the fields of " + here + "/visits.csv, which are id, when, name, note": func(p *Params) {
			p.File, p.Key, p.EventTime, p.ArrivalTime = here+"/visits.csv", "name", "when", "then"
		},
		"file: the first record of " + here + "/visits.csv is no jsonl": func(p *Params) { p.File, p.Format = here+"/visits.csv", formatJSON },
	} {
		if err := clicks(change).Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	p := clicks(nil)
	for range 2 { // once more changes nothing
		p.Rebase("/somewhere")
	}
	if p.File != "/somewhere/testdata/clicks.jsonl" {
		t.Errorf("rebased to %s", p.File)
	}
	p = clicks(nil)
	if p.Rebase("."); p.File != filepath.Join(here, "clicks.jsonl") {
		t.Errorf("rebased to %s", p.File)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
}

func TestParseIsStrict(t *testing.T) {
	id := []connectors.Header{{Key: connectors.OriginHeader, Value: connectors.AppendOrigin(nil, connectors.Origin{Partition: 3, Sequence: 9})}}
	var row workloads.Row
	if err := parse(&connectors.Record{Value: []byte("000000000017,r,ann"), Headers: id}, false, &row); err != nil || row.Partition != 3 || row.Sequence != 9 || row.Value != 17 || string(row.Key) != "ann" {
		t.Errorf("%+v, %v", row, err)
	}
	for _, r := range []connectors.Record{
		{Value: []byte("000000000017,r,ann")},
		{Value: []byte("00000000001x,r,ann"), Headers: id},
		{Value: []byte("000000000017,x,ann"), Headers: id},
		{Value: []byte("000000000017,c,ann"), Headers: id},
		{Value: []byte("1,r,ann"), Headers: id},
	} {
		if err := parse(&r, false, &row); err == nil {
			t.Errorf("%q with %d headers was accepted", r.Value, len(r.Headers))
		}
	}
}

func BenchmarkGenerator(b *testing.B) {
	g, err := newGenerator(clicks(nil))
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	var in workloads.Input
	b.ReportAllocs()
	for b.Loop() {
		in.Index++
		buf, _ = g.Append(buf[:0], in)
	}
}

func BenchmarkFields(b *testing.B) {
	record := []byte(`{"event_ms": 1431857103000, "client": "7fcb58f3cd8b", "method": "GET", "path": "/images/a.png", "status": 200, "bytes": 203023, "bot": false}`)
	f, err := newFields(clicks(func(p *Params) { p.Key, p.EventTime = "client", "event_ms" }), nil)
	if err != nil {
		b.Fatal(err)
	}
	r := &connectors.Record{Value: record}
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	r := &connectors.Record{Value: []byte("000000000017,r,7fcb58f3cd8b"), Headers: []connectors.Header{{Key: connectors.OriginHeader, Value: make([]byte, connectors.OriginSize)}}}
	var row workloads.Row
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(r, false, &row); err != nil {
			b.Fatal(err)
		}
	}
}
