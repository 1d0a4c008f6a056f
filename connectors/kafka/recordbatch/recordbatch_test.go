package recordbatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// walk reads the records of whole batches as a fetch at offset from would show
// them, each written out.
func walk(b []byte, from int64, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction) (out []string, err error) {
	var (
		it Iter
		h  Headers
		a  Aborted
		r  connectors.Record
	)
	a.Reset(aborted)
	for n := Len(b); n > 0; n = Len(b) {
		one := b[:n]
		b = b[n:]
		if _, err := Check(one); err != nil {
			return out, err
		}
		if a.Skip(one) {
			continue
		}
		if err := it.Open(one, kgo.DefaultDecompressor()); err != nil {
			return out, err
		}
		if it.Control() {
			continue
		}
		for it.Left() > 0 {
			h.Reset()
			if err := it.Next(&r, &h); err != nil {
				return out, err
			}
			if r.Offset < it.First() || r.Offset > it.Last() {
				return out, fmt.Errorf("offset %d of a batch from %d to %d", r.Offset, it.First(), it.Last())
			}
			if r.Offset >= from {
				out = append(out, show(&r))
			}
		}
	}
	return out, nil
}

// show distinguishes nil from empty.
func show(r *connectors.Record) string {
	s := fmt.Sprintf("%d@%d %#v=%#v", r.Offset, r.Timestamp, r.Key, r.Value)
	for _, h := range r.Headers {
		s += fmt.Sprintf(" %s:%#v", h.Key, h.Value)
	}
	return s
}

// byClient is walk by the client library's own decoder.
func byClient(t *testing.T, b []byte, from int64, level kgo.IsolationLevel, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction) (out []string) {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.RecordBatches, rp.AbortedTransactions = b, aborted
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: from, IsolationLevel: level}, &rp, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil {
		t.Fatalf("the client: %v", fp.Err)
	}
	for _, r := range fp.Records {
		c := connectors.Record{Key: r.Key, Value: r.Value, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
		for _, h := range r.Headers {
			c.Headers = append(c.Headers, connectors.Header{Key: h.Key, Value: h.Value})
		}
		out = append(out, show(&c))
	}
	return out
}

func TestRecords(t *testing.T) {
	recs := []rec{
		{delta: 0, time: 5, key: []byte("k"), value: []byte(strings.Repeat("v", 300))},
		{delta: 2, time: -1 << 40, headers: [][2][]byte{{[]byte("a"), nil}, {[]byte("b"), {}}, {[]byte("a"), []byte("x")}}},
		{delta: 70_000, time: 1 << 40, key: []byte{}, value: []byte{}}, // offsets may be missing
	}
	for _, attrs := range []int16{0, attrLogAppend} {
		b := batch(1<<40, 1<<40+70_005, attrs, -1, recs...)
		next, err := Check(b)
		if err != nil || next != 1<<40+70_006 || Len(b) != len(b) || Len(b[:len(b)-1]) != 0 || LeaderEpoch(b) != 0 {
			t.Fatal(next, err, Len(b))
		}
		got, err := walk(append(slices.Clone(b), b[:20]...), 1<<40+1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := byClient(t, b, 1<<40+1, kgo.ReadUncommitted(), nil); !slices.Equal(got, want) || len(got) != 2 {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestCompressedRecords(t *testing.T) {
	for _, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		c, err := kgo.DefaultCompressor(codec)
		if err != nil {
			t.Fatal(err)
		}
		plain := batch(7, 8, 0, -1, rec{key: []byte("k"), value: []byte(strings.Repeat("v", 999))}, rec{delta: 1})
		small, kind := c.Compress(new(bytes.Buffer), plain[headerSize:])
		b := append(slices.Clone(plain[:headerSize]), small...)
		b[22] = byte(kind)
		seal(b)
		got, err := walk(b, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := walk(plain, 0, nil); err != nil || !slices.Equal(got, want) || len(got) != 2 {
			t.Errorf("codec %d: got %q, want %q (%v)", kind, got, want, err)
		}
		b[headerSize]++
		b = b[:len(b)-3]
		seal(b)
		if got, err := walk(b, 0, nil); err == nil {
			t.Errorf("codec %d: damage went unseen: %q", kind, got)
		}
	}
}

func TestDamage(t *testing.T) {
	whole := batch(100, 101, 0, -1, rec{key: []byte("key"), value: []byte("value")}, rec{delta: 1})
	for want, damage := range map[string]func(b []byte){
		"format 1":       func(b []byte) { b[16] = 1 },
		"checksum":       func(b []byte) { b[len(b)-1]++ },
		"ends -1":        func(b []byte) { binary.BigEndian.PutUint32(b[23:], 1<<32-1); seal(b) },
		"-5 records":     func(b []byte) { binary.BigEndian.PutUint32(b[57:], 1<<32-5); seal(b) },
		"ends 1 behind":  func(b []byte) { binary.BigEndian.PutUint64(b, 1<<63-2) }, // no offset behind it
		"past its":       func(b []byte) { binary.BigEndian.PutUint32(b[57:], 3); seal(b) },
		"past its batch": func(b []byte) { b[headerSize] += 40; seal(b) },
	} {
		b := slices.Clone(whole)
		damage(b)
		got, err := walk(b, 0, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, error %v", want, got, err)
		}
	}
	empty := batch(3, 9, 0, -1) // compaction keeps the end of a producer's last batch
	if got, err := walk(empty, 0, nil); err != nil || len(got) != 0 {
		t.Error(got, err)
	}
}

// log is a partition's log made by a script, with what it must show.
type log struct {
	batches   [][]byte
	starts    []int64 // first offset of each
	end       int64
	stable    int64
	aborted   []transaction
	all, good []int64 // offsets that read_uncommitted and read_committed show
}

type transaction struct{ producer, first, marker int64 }

// script makes a log of two bytes for each batch: what it is, and how large.
// Producers write transactions side by side.
func script(b []byte) *log {
	l := &log{}
	open := map[int64]*transaction{}
	held := map[int64][]int64{} // offsets of open transactions
	for ; len(b) > 1; b = b[2:] {
		producer, size := int64(b[0]>>3&3), int64(b[1]&7)
		first := l.end + int64(b[1]>>3&3)*int64(b[1]>>5) // gaps before
		last := first + size
		var data []byte
		put := func(attrs int16, producer int64) (offsets []int64) {
			var recs []rec
			for d := range size + 1 {
				if b[1]>>4&1 == 1 && d%2 == 1 { // gaps within
					continue
				}
				recs = append(recs, rec{delta: d, time: int64(b[0]), key: b[:1], value: b})
				offsets = append(offsets, first+d)
			}
			data = batch(first, last, attrs, producer, recs...)
			return offsets
		}
		switch b[0] & 7 {
		case 0, 1:
			o := put(0, -1)
			l.all, l.good = append(l.all, o...), append(l.good, o...)
		case 2, 3, 4, 5:
			o := put(attrTxn, producer)
			if open[producer] == nil {
				open[producer] = &transaction{producer: producer, first: first}
			}
			l.all, held[producer] = append(l.all, o...), append(held[producer], o...)
		default:
			last = first
			commit := b[0]&7 == 6
			data = marker(first, producer, commit)
			if x := open[producer]; x != nil {
				if x.marker = first; !commit {
					l.aborted = append(l.aborted, *x)
				} else {
					l.good = append(l.good, held[producer]...)
				}
			}
			delete(open, producer)
			delete(held, producer)
		}
		l.batches, l.starts, l.end = append(l.batches, data), append(l.starts, first), last+1
	}
	l.stable = l.end
	for _, x := range open {
		l.stable = min(l.stable, x.first)
	}
	slices.Sort(l.good)
	return l
}

// fetch is what a broker answers at offset from.
func (l *log) fetch(from int64, committed bool) (b []byte, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
	end := int64(0)
	for i, x := range l.batches {
		if Last(x) < from || committed && l.starts[i] >= l.stable {
			continue
		}
		b, end = append(b, x...), Last(x)+1
	}
	for _, x := range l.aborted {
		if committed && x.marker >= from && x.first < end {
			aborted = append(aborted, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: x.producer, FirstOffset: x.first})
		}
	}
	return b, aborted
}

// FuzzIsolation checks both isolation levels from every batch on, against the
// truth and against the client.
func FuzzIsolation(f *testing.F) {
	f.Add([]byte{2, 3, 10, 3, 6, 0, 2, 1, 15, 0, 7, 0, 1, 2})                                  // commit, abort side by side
	f.Add([]byte{2, 1, 7, 0, 2, 1, 6, 0, 2, 1, 7, 0, 0, 1})                                    // one producer: abort, commit, abort
	f.Add([]byte{2, 255, 10, 60, 18, 33, 7, 0, 26, 9, 15, 0, 6, 0, 0, 77, 23, 0, 31, 0})       // gaps
	f.Add([]byte{0, 1, 2, 1, 0, 1, 10, 1, 15, 1, 0, 1})                                        // an open transaction below an aborted one
	f.Add([]byte{2, 1, 7, 0, 7, 0, 2, 1, 6, 0, 10, 2, 10, 2, 0, 0, 15, 0, 10, 1, 14, 0, 0, 0}) // a second marker
	f.Fuzz(func(t *testing.T, s []byte) {
		l := script(s[:min(len(s), 200)])
		for _, from := range append(slices.Clone(l.starts), 0, l.end) {
			for _, committed := range []bool{false, true} {
				b, aborted := l.fetch(from, committed)
				level, want := kgo.ReadUncommitted(), l.all
				if committed {
					level, want = kgo.ReadCommitted(), l.good
				}
				theirs := byClient(t, b, from, level, slices.Clone(aborted))
				got, err := walk(b, from, aborted)
				if err != nil {
					t.Fatal(err)
				}
				var offsets []int64
				for _, s := range got {
					var o int64
					if _, err := fmt.Sscanf(s, "%d@", &o); err != nil {
						t.Fatal(err)
					}
					offsets = append(offsets, o)
				}
				want = slices.DeleteFunc(slices.Clone(want), func(o int64) bool { return o < from || committed && o >= l.stable })
				if !slices.Equal(offsets, want) {
					t.Fatalf("from %d, committed %v: got %d, want %d", from, committed, offsets, want)
				}
				if !slices.Equal(got, theirs) {
					t.Fatalf("from %d, committed %v: got %q, the client %q", from, committed, got, theirs)
				}
			}
		}
	})
}

// FuzzRecords puts a true checksum around whatever the fuzzer likes.
func FuzzRecords(f *testing.F) {
	good := batch(0, 3, 0, -1, rec{key: []byte("k"), headers: [][2][]byte{{[]byte("h"), []byte("v")}}}, rec{delta: 3})
	f.Add(good[21:headerSize], good[headerSize:], uint64(0))
	f.Add([]byte{}, []byte{}, uint64(1)<<63)
	f.Fuzz(func(t *testing.T, head, records []byte, first uint64) {
		b := make([]byte, headerSize, headerSize+len(records))
		copy(b[21:], head)
		binary.BigEndian.PutUint64(b, first)
		b[16] = 2
		b = append(b, records...)
		seal(b)
		if n := Len(b); n != len(b) {
			t.Fatal(n)
		}
		if _, err := walk(b, 0, nil); err != nil && strings.Contains(err.Error(), "of a batch from") {
			t.Fatal(err)
		}
	})
}

// FuzzLen cuts whatever there is into batches.
func FuzzLen(f *testing.F) {
	f.Add(batch(0, 0, 0, -1, rec{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for n := Len(b); n > 0; n = Len(b) {
			if n < headerSize || n > len(b) {
				t.Fatal(n)
			}
			_, _ = Check(b[:n])
			b = b[n:]
		}
	})
}
