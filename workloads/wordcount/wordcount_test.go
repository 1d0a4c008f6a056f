package wordcount

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/pipeline/pipelinetest"
	"streamduel/workloads"
	"streamduel/workloads/internal/trial"
)

const excerpt = "testdata/war-of-the-worlds.txt"

func params(path string) *Params {
	p := Workload().Params().(*Params)
	p.Path = path
	return p
}

func TestGeneratorIsPure(t *testing.T) {
	trial.CheckDeterminism(t, Workload(), params(excerpt))
}

// final returns the last count of each word and checks that a word's counts
// went up one by one and that the hashes are the oracle's.
func final(t *testing.T, p *Params, o trial.Options) map[string]int64 {
	t.Helper()
	res := trial.Run(t, Workload(), p, o)
	expected, _ := trial.Evaluate(t, Workload(), p, o, res.Inputs, nil)
	last := map[string]workloads.Row{}
	for i, r := range res.Rows {
		if r.Closing {
			continue
		}
		w := string(r.Key)
		if r.Value != last[w].Value+1 {
			t.Fatalf("%q: count %d follows %d", w, r.Value, last[w].Value)
		}
		if string(res.Raw[i].Key) != w {
			t.Fatalf("%q leaves with the key %q", w, res.Raw[i].Key)
		}
		last[w] = r
	}
	counts := map[string]int64{}
	for c, e := range expected {
		r := last[c.Key]
		if r.Value != e.Value || r.IDHash != e.Hash || !r.HasHash {
			t.Errorf("%q: %d with hash %x, the oracle says %d with %x", c.Key, r.Value, r.IDHash, e.Value, e.Hash)
		}
		counts[c.Key] = r.Value
	}
	if len(last) != len(expected) {
		t.Errorf("%d words, the oracle says %d", len(last), len(expected))
	}
	trial.CheckClosings(t, res.Rows, max(o.Partitions, 1))
	return counts
}

func TestKnownAnswer(t *testing.T) {
	b, err := os.ReadFile("testdata/war-of-the-worlds.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Total  int64            `json:"total"`
		Counts map[string]int64 `json:"counts"`
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	text, err := load(excerpt, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range []trial.Options{
		{Partitions: 1},
		{Partitions: 3, Parallelism: 2, Order: 1},
		{Partitions: 4, Parallelism: 3, Order: 2, Unchained: true, Buffers: 1},
		{Partitions: 2, Order: 3, Restart: 2, BatchSize: 4},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			o.Records, o.Seed = text.lines(), uint64(i) // every line once, from anywhere
			got := final(t, params(excerpt), o)
			var total int64
			for w, n := range got {
				total += n
				if n != want.Counts[w] {
					t.Errorf("%q: %d, known answer %d", w, n, want.Counts[w])
				}
			}
			if len(got) != len(want.Counts) || total != want.Total {
				t.Errorf("%d words in all, %d distinct; known answer %d and %d", total, len(got), want.Total, len(want.Counts))
			}
		})
	}
}

func TestTheJobDoesNotAllocate(t *testing.T) {
	trial.CheckAllocations(t, Workload(), params(excerpt), false)
}

func TestSplit(t *testing.T) {
	split := splitter()
	for in, want := range map[string]string{
		"":                         "",
		" .,;- ":                   "",
		"one":                      "one",
		"It's 42 o'clock":          "it|s|42|o|clock",
		"ÄRGER über \u212a":        "rger|ber",
		"\x00closing 7":            "!7",
		strings.Repeat("a", 10000): strings.Repeat("a", 10000),
	} {
		var got []string
		split(line{text: []byte(in)}, func(o occurrence) {
			w := strings.Clone(o.word)
			if o.closing {
				w = "!" + w
			}
			got = append(got, w)
		})
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("%q: %q, want %q", in, s, want)
		}
	}
}

// The splitter and the oracle agree on any bytes.
func FuzzSplitAgainstOracle(f *testing.F) {
	f.Add([]byte("No one would have believed, in the last years of the 19th century"))
	f.Add([]byte("\u212a\xff\xc3\x28é"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.HasPrefix(string(text), closingMark) {
			return
		}
		var got, want []string
		splitter()(line{text: text}, func(o occurrence) { got = append(got, strings.Clone(o.word)) })
		oracle{}.Add(workloads.Input{}, text, false, func(k []byte, _, _ int64) { want = append(want, string(k)) })
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("%q: %q, the oracle says %q", text, got, want)
		}
	})
}

func TestLoadTakesAFolderAndSkipsWhatIsNoText(t *testing.T) {
	dir := t.TempDir()
	for name, s := range map[string]string{
		"a.txt": "one\n\n  two  \r\n", "b.bin": "x\x00y\n", "sub/c.txt": "three",
		"d.txt": strings.Repeat("word ", 4000),
	} {
		f := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := load(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	words := 0
	for i := range text.lines() {
		l := string(text.line(i))
		if len(l) > maxLine {
			t.Errorf("a line of %d bytes", len(l))
		}
		if strings.HasPrefix(l, "word") {
			words += strings.Count(l, "word")
			continue
		}
		got = append(got, l)
	}
	if s := strings.Join(got, "|"); s != "one|two|three" || words != 4000 {
		t.Errorf("%q and %d words of the long line", s, words)
	}
	if text, err = load(dir, 4); err != nil || text.lines() != 2 {
		t.Errorf("limit of 4 bytes: %d lines, %v", text.lines(), err)
	}
}

func TestBadPathsAreNamed(t *testing.T) {
	p := params(filepath.Join(t.TempDir(), "missing"))
	if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), "path: an existing file or folder") {
		t.Errorf("%v", err)
	}
	empty := t.TempDir()
	if _, err := Workload().Generator(params(empty), 1); err == nil || !strings.Contains(err.Error(), "holds no line of text") {
		t.Errorf("%v", err)
	}
	p = params("rel/x")
	if p.Rebase("/scenarios"); p.Path != "/scenarios/rel/x" {
		t.Errorf("rebased to %q", p.Path)
	}
}

func TestDefaultIsTheToolchain(t *testing.T) {
	text, err := load("", 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	if text.lines() < 500 {
		t.Errorf("%d lines in 64 KiB of Go source", text.lines())
	}
}

func TestARecordWithoutItsIDIsRefused(t *testing.T) {
	g, err := Workload().Pipeline(params(excerpt), trial.IO())
	if err != nil {
		t.Fatal(err)
	}
	h := pipelinetest.New(t, g, pipelinetest.Options{})
	err = h.Push("lines", &connectors.Batch{Split: pipelinetest.Split(2), Records: []connectors.Record{{Value: []byte("x"), Offset: 9}}})
	if err == nil || !strings.Contains(err.Error(), "split in/2, position 9") || !strings.Contains(err.Error(), "sd-origin") {
		t.Errorf("%v", err)
	}
}

func TestParseIsStrict(t *testing.T) {
	const good = "000000000017,0123456789abcdef,r,the"
	var row workloads.Row
	if err := parse(&connectors.Record{Value: []byte(good)}, false, &row); err != nil || string(row.Key) != "the" || row.Value != 17 || row.IDHash != 0x0123456789abcdef || row.HasID {
		t.Errorf("%+v, %v", row, err)
	}
	for _, bad := range []string{"", good[:32], good[1:], strings.Replace(good, "f,r", "g,r", 1), strings.Replace(good, "r,the", "c,the", 1), strings.Replace(good, "r,the", "x,the", 1)} {
		if err := parse(&connectors.Record{Value: []byte(bad)}, false, &row); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func BenchmarkGenerator(b *testing.B) {
	g, err := Workload().Generator(params(excerpt), 1)
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

func BenchmarkSplit(b *testing.B) {
	text := []byte("men busied themselves about their various concerns they were")
	split, n := splitter(), 0
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		split(line{text: text}, func(occurrence) { n++ })
	}
}

func BenchmarkParse(b *testing.B) {
	r := &connectors.Record{Value: []byte("000000000017,0123456789abcdef,r,the")}
	var row workloads.Row
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(r, false, &row); err != nil {
			b.Fatal(err)
		}
	}
}
