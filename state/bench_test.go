package state

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"streamduel/codec"
)

func numbersTable(t interface{ Fatal(...any) }, keys int, opts ...Option) (*Set, *Table[int64, int64]) {
	s := NewSet(RangeOf(0, 1, 128), 128)
	table, err := NewTable(s, "op", "t", codec.Codec[int64](codec.Int64{}), codec.Codec[int64](codec.Int64{}), opts...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(keys) {
		table.Put(i, 0)
	}
	return s, table
}

func BenchmarkRef(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		run := func(name string, opts ...Option) {
			b.Run(fmt.Sprintf("%s/keys=%d", name, keys), func(b *testing.B) {
				_, t := numbersTable(b, keys, opts...)
				i := int64(0)
				b.ReportAllocs()
				for b.Loop() {
					p, _ := t.Ref(i * 7919 % int64(keys))
					*p++
					i++
				}
			})
		}
		run("plain")
		now := int64(0)
		run("ttl", WithTTL(TTL{After: time.Hour, Clock: func() int64 { return now }}))
	}
}

// What a snapshot of a million keys costs: how long processing waits for it
// (the longest time seen), and how many updates are made while it is being
// written on another goroutine.
func BenchmarkSnapshotPause(b *testing.B) {
	for _, keys := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s, t := numbersTable(b, keys)
			updates, beside := 0, time.Duration(0)
			var buffer []byte
			longest := time.Duration(0)
			for b.Loop() {
				begun := time.Now()
				w := s.SnapshotAsync(true)
				longest = max(longest, time.Since(begun))
				written := make(chan []byte)
				go func() { written <- must(w.Append(buffer[:0])) }()
				begun = time.Now()
				for done := false; !done; {
					for i := range int64(1000) {
						p, _ := t.Ref((int64(updates) + i) * 7919 % int64(keys))
						*p++
					}
					updates += 1000
					select {
					case buffer = <-written:
						done = true
					default:
					}
				}
				beside += time.Since(begun)
			}
			b.ReportMetric(float64(longest.Microseconds()), "pause-µs")
			b.ReportMetric(float64(updates)/beside.Seconds(), "updates/s-beside")
			b.ReportMetric(float64(len(buffer)), "bytes")
			b.ReportMetric(beside.Seconds()*1000/float64(b.N), "ms-writing")
		})
	}
}

func BenchmarkMemoryPerKey(b *testing.B) {
	const keys = 1_000_000
	var s *Set
	var t *Table[int64, int64]
	used := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for b.Loop() {
		s, t = nil, nil //nolint:ineffassign,wastedassign // the collector must not find the one before
		before := used()
		s, t = numbersTable(b, keys)
		b.ReportMetric((used()-before)/keys, "heap-B/key")
		b.ReportMetric(float64(s.Usage()[0].Bytes)/keys, "reported-B/key")
	}
	runtime.KeepAlive(t)
}
