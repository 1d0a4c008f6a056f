// Package tumble counts by key in tumbling windows of event time: one final
// row per (key, window), and what is late on a stream of its own.
//
// A window [s, s+size) fires once, when the watermark reaches its last
// millisecond, s+size−1; an element of a window that has fired is late. A
// closing record belongs to no window: it comes out again when the watermark
// has passed every window before it, which is what shows that all of them have
// fired where it is.
package tumble

import (
	"encoding/binary"
	"slices"

	"streamduel/codec"
	"streamduel/pipeline"
)

// Element is what the count needs to know of a value.
type Element struct {
	Hash      uint64 // workloads.HashID of the input
	Closing   bool
	Partition int32 // of a closing record
}

// Row is a finished window of a key, or a closing record.
type Row[K comparable] struct {
	Key       K
	Window    int64 // start, Unix milliseconds
	Count     int64
	Hash      uint64 // sum over the contributing inputs
	Closing   bool
	Partition int32 // of a closing record
}

// Config says how windows are made.
type Config struct {
	Size  int64 // milliseconds
	Delay int64 // of the watermark behind the largest event time, milliseconds
}

// ClosingTime is the event time for the closing records of a load whose inputs
// have event times of at most last. The spare Size between a closing record's
// time and when it shows lets partitions close at different times.
func (c Config) ClosingTime(last int64) int64 { return last + 2*c.Size + c.Delay + 1 }

// shows is the watermark at which a closing record comes out.
func (c Config) shows(closing int64) int64 { return closing - c.Delay - 1 - c.Size }

// Start returns the start of the window that a time lies in.
func (c Config) Start(ts int64) int64 { return ts - ((ts%c.Size)+c.Size)%c.Size }

// pane is a window that has not fired, or with count −1 a closing record: then
// fires is when it shows and hash its partition.
type pane struct {
	fires int64
	count int64
	hash  uint64
}

// panesCodec encodes a key's windows, of which there are few.
var panesCodec = codec.Struct("tumble panes/1", func(dst []byte, ps []pane) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ps)))
	for _, p := range ps {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(p.fires))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(p.count))
		dst = binary.LittleEndian.AppendUint64(dst, p.hash)
	}
	return dst
}, func(src []byte) (ps []pane, n int, err error) {
	l, n := binary.Uvarint(src)
	if n <= 0 || l > uint64(len(src)-n)/24 {
		return nil, 0, codec.ErrShort
	}
	for range l {
		ps = append(ps, pane{
			fires: int64(binary.LittleEndian.Uint64(src[n:])),
			count: int64(binary.LittleEndian.Uint64(src[n+8:])),
			hash:  binary.LittleEndian.Uint64(src[n+16:]),
		})
		n += 24
	}
	return ps, n, nil
}, slices.Clone[[]pane])

// Count counts a keyed stream that has event time. of is called for each value;
// late are the values that came too late.
func Count[K comparable, T any](k *pipeline.Keyed[K, T], name string, cfg Config, of func(v T, c *pipeline.Ctx) Element) (rows *pipeline.Stream[Row[K]], late *pipeline.Stream[T]) {
	tag := pipeline.NewTag[T]("late")
	rows = pipeline.Process(k, name, func(s *pipeline.Setup[K]) pipeline.Function[K, T, Row[K]] {
		windows := pipeline.Table(s, "windows", panesCodec)
		tooLate := pipeline.Emitter(s, tag)
		return pipeline.Function[K, T, Row[K]]{
			Element: func(v T, c *pipeline.KeyedCtx[K], emit func(Row[K])) {
				e := of(v, c.Ctx)
				p := pane{fires: cfg.Start(c.Timestamp) + cfg.Size - 1, count: 1, hash: e.Hash}
				if e.Closing {
					p = pane{fires: cfg.shows(c.Timestamp), count: -1, hash: uint64(uint32(e.Partition))}
					if p.fires <= c.Watermark() {
						// Another partition's took the watermark here, under a policy that
						// takes the largest. It does not move again, so no timer would fire.
						emit(Row[K]{Key: c.Key(), Closing: true, Partition: e.Partition})
						return
					}
				} else if p.fires <= c.Watermark() {
					tooLate(v)
					return
				}
				ps, _ := windows.Ref(c.Key())
				if !e.Closing {
					for i := range *ps {
						if q := &(*ps)[i]; q.fires == p.fires && q.count > 0 {
							q.count++
							q.hash += p.hash
							return
						}
					}
				}
				*ps = append(*ps, p)
				c.EventTimer(p.fires)
			},
			EventTimer: func(ts int64, c *pipeline.KeyedCtx[K], emit func(Row[K])) {
				ps, _ := windows.Ref(c.Key())
				kept := (*ps)[:0]
				for _, p := range *ps {
					switch {
					case p.fires != ts:
						kept = append(kept, p)
					case p.count < 0:
						emit(Row[K]{Key: c.Key(), Closing: true, Partition: int32(p.hash)})
					default:
						emit(Row[K]{Key: c.Key(), Window: ts + 1 - cfg.Size, Count: p.count, Hash: p.hash})
					}
				}
				*ps = kept
			},
		}
	})
	return rows, pipeline.Side(rows, tag)
}
