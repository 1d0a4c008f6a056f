// Package wordcount is the classic: lines of real text, split into words, and a
// running count per word, one updated count for each word read.
//
// Words are what stands between characters other than ASCII letters and digits,
// in lower case. A record is one line of the user's own text with nothing
// added, so its id comes by connectors.OriginHeader; the job sums up
// workloads.HashID of the contributing lines per word, and a line that holds a
// word twice contributes twice. Outputs are
//
//	count,hash,kind,word
//	000000000017,0123456789abcdef,r,the
//
// The closing record of partition p is the line "\x00closing p"; its output has
// kind c, and p in decimal for a word. Any other record that begins with a NUL is
// no line of text and does not decode.
package wordcount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
	"streamduel/workloads/internal/draw"
)

//go:generate go run streamduel/cmd/codecgen -type line,occurrence,tally,counted

// Params are the workload's parameters.
type Params struct {
	// Path is a file or a folder of text; empty for the sources of the Go
	// toolchain that is on the path.
	Path string `json:"path"`
	// MaxBytes is where reading stops; the load begins again at the first line
	// when it has used all.
	MaxBytes int `json:"maxBytes"`
}

// Validate says what is allowed where a parameter is impossible. A relative path
// is not looked at: it does not say yet where it begins (see Rebase).
func (p *Params) Validate() error {
	var errs []error
	if filepath.IsAbs(p.Path) {
		if _, err := os.Stat(p.Path); err != nil {
			errs = append(errs, fmt.Errorf("path: an existing file or folder of text (%w)", err))
		}
	}
	if p.MaxBytes < 1 || p.MaxBytes > 1<<30 {
		errs = append(errs, errors.New("maxBytes: 1 to 1073741824 bytes"))
	}
	return errors.Join(errs...)
}

// Rebase implements workloads.Rebaser.
func (p *Params) Rebase(dir string) {
	if p.Path != "" && !filepath.IsAbs(p.Path) {
		p.Path = workloads.Resolve(dir, p.Path)
	}
}

// Workload returns the workload.
func Workload() *workloads.Workload {
	return &workloads.Workload{
		Name:        "wordcount",
		Doc:         "Lines of real text (any file or folder; by default the Go toolchain's own sources), a running count per word.",
		Params:      func() any { return &Params{MaxBytes: 8 << 20} },
		Generator:   newGenerator,
		Pipeline:    build,
		Accounting:  accounting,
		NeedsOrigin: true,
		Bad:         []workloads.BadKind{workloads.Undecodable},
	}
}

type generator struct {
	text  *text
	start int64
}

func newGenerator(params any, seed uint64) (workloads.Generator, error) {
	p, ok := params.(*Params)
	if !ok {
		return nil, fmt.Errorf("wordcount: parameters of type %T", params)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	t, err := load(p.Path, p.MaxBytes)
	if err != nil {
		return nil, err
	}
	return &generator{text: t, start: int64(draw.Below(draw.Mix(seed), t.lines()))}, nil
}

// Append appends a line: the text in its order, from a place that the seed
// picks.
func (g *generator) Append(dst []byte, in workloads.Input) (value, key []byte) {
	return append(dst, g.text.line(int((g.start+in.Index)%int64(g.text.lines())))...), nil
}

// AppendBad appends the line as bytes that are no text: a NUL stands before it.
func (g *generator) AppendBad(dst []byte, in workloads.Input, _ workloads.BadKind) (value, key []byte) {
	return g.Append(append(dst, 0), in)
}

// closingMark begins a closing record. Lines never hold a NUL.
const closingMark = "\x00closing "

func (g *generator) Closing(dst []byte, in workloads.Input) (value, key []byte) {
	return strconv.AppendInt(append(dst, closingMark...), int64(in.Partition), 10), nil
}

// line is a record. Its text is a view of the source's bytes.
type line struct {
	text []byte `codec:"view"`
	id   uint64 // workloads.HashID of the record
}

var (
	errNoOrigin = errors.New("the record has no " + connectors.OriginHeader + " header, from which its id is taken")
	errNoText   = errors.New("byte 0 is NUL: this is no line of text")
)

func decode(r *connectors.Record) (line, error) {
	o, ok := connectors.FindOrigin(r.Headers)
	if !ok {
		return line{}, errNoOrigin
	}
	if len(r.Value) > 0 && r.Value[0] == 0 && !bytes.HasPrefix(r.Value, []byte(closingMark)) {
		return line{}, errNoText
	}
	return line{r.Value, workloads.HashID(o.Partition, o.Sequence)}, nil
}

// occurrence is a word in a line, or a closing record. The word is a view.
type occurrence struct {
	word    string `codec:"view"`
	id      uint64
	closing bool
}

// lower maps the bytes that words are made of to lower case, others to 0.
var lower = func() (t [256]byte) {
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = byte(c), byte(c)
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = byte(c)
	}
	return t
}()

// splitter cuts lines into words. The lower-case line lies in scratch memory,
// of which the words are views.
func splitter() func(l line, emit func(occurrence)) {
	var scratch []byte
	return func(l line, emit func(occurrence)) {
		if bytes.HasPrefix(l.text, []byte(closingMark)) {
			p := l.text[len(closingMark):]
			emit(occurrence{word: view(p), closing: true})
			return
		}
		if cap(scratch) < len(l.text) {
			scratch = make([]byte, max(len(l.text), maxLine))
		}
		word := scratch[:0]
		for _, c := range l.text {
			if c = lower[c]; c != 0 {
				word = append(word, c)
				continue
			}
			if len(word) > 0 {
				emit(occurrence{word: view(word), id: l.id})
				word = word[len(word):]
			}
		}
		if len(word) > 0 {
			emit(occurrence{word: view(word), id: l.id})
		}
	}
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// tally is the state of a word.
type tally struct {
	count int64
	hash  uint64
}

// counted is a word with its new count.
type counted struct {
	word    string `codec:"view"`
	tally   tally
	closing bool
}

func build(params any, io workloads.IO) (*pipeline.Graph, error) {
	if _, ok := params.(*Params); !ok {
		return nil, fmt.Errorf("wordcount: parameters of type %T", params)
	}
	g := pipeline.New("wordcount")
	lines := pipeline.From(g, "lines", io.Source(io.Input), decode).Codec(lineCodec{})
	words := pipeline.FlatMapWith(lines, "split", splitter).Codec(occurrenceCodec{})
	byWord := pipeline.KeyBy(words, func(o occurrence) string { return o.word }).KeyCodec(codec.StringView{})
	pipeline.To(pipeline.Process(byWord, "count", count).Codec(countedCodec{}), "counts", io.Sink(io.Output), encode)
	return g, nil
}

func count(s *pipeline.Setup[string]) pipeline.Function[string, occurrence, counted] {
	tallies := pipeline.Table(s, "tally", tallyCodec{})
	return pipeline.Function[string, occurrence, counted]{Element: func(o occurrence, c *pipeline.KeyedCtx[string], emit func(counted)) {
		if o.closing {
			emit(counted{word: o.word, closing: true})
			return
		}
		t, _ := tallies.Ref(o.word)
		t.count++
		t.hash += o.id
		emit(counted{word: o.word, tally: *t})
	}}
}

const (
	countWidth = 12
	hashWidth  = 16
	hashAt     = countWidth + 1
	kindAt     = hashAt + hashWidth + 1
	wordAt     = kindAt + 2
)

func encode(c counted, r *connectors.Record) {
	kind := byte(idrecord.Plain)
	if c.closing {
		kind = idrecord.Closing
	}
	v := idrecord.AppendUint(r.Value, uint64(c.tally.count), countWidth)
	v = append(v, ',')
	v = idrecord.AppendHex(v, c.tally.hash)
	v = append(v, ',', kind, ',')
	r.Value = append(v, c.word...)
	r.Key = append(r.Key, c.word...)
}

func accounting(params any, _ uint64) (workloads.Accounting, error) {
	if _, ok := params.(*Params); !ok {
		return workloads.Accounting{}, fmt.Errorf("wordcount: parameters of type %T", params)
	}
	return workloads.Accounting{Kind: workloads.Running, Parse: parse, Oracle: func() workloads.Oracle { return oracle{} }}, nil
}

var errOutput = errors.New("not an output of the form count,hash,kind,word with widths 12,16,1 and any")

func parse(r *connectors.Record, late bool, row *workloads.Row) error {
	v := r.Value
	if late || len(v) <= wordAt || v[hashAt-1] != ',' || v[kindAt-1] != ',' || v[wordAt-1] != ',' {
		return errOutput
	}
	n, ok1 := idrecord.ParseUint(v[:countWidth])
	hash, ok2 := idrecord.ParseHex(v[hashAt : hashAt+hashWidth])
	if !ok1 || !ok2 {
		return errOutput
	}
	switch word := v[wordAt:]; v[kindAt] {
	case idrecord.Plain:
		*row = workloads.Row{Key: word, Value: int64(n), IDHash: hash, HasHash: true}
	case idrecord.Closing:
		p, ok := idrecord.ParseUint(word)
		if !ok || p >= 1<<31 {
			return errOutput
		}
		*row = workloads.Row{Partition: int32(p), Closing: true}
	default:
		return errOutput
	}
	return nil
}

// oracle finds words its own way, by runes and the library's splitter.
type oracle struct{}

func (oracle) Add(_ workloads.Input, payload []byte, _ bool, emit func(key []byte, window, value int64)) {
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	for _, word := range strings.FieldsFunc(string(payload), func(r rune) bool { return !letter(r) }) {
		emit([]byte(strings.ToLower(word)), 0, 1)
	}
}
