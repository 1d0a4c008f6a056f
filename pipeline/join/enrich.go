package join

import (
	"streamduel/codec"
	"streamduel/pipeline"
)

// Enrich joins a stream that need not be keyed with a small table of which every
// subtask holds a copy: the newest row of each key of a broadcast stream. deleted,
// if not nil, says that a row ends its key's. A row that comes before its
// partner has none: f.Left, if set, is for those; f.Right must be nil.
//
// For a table that lies outside the job, use pipeline.AsyncMap.
func Enrich[K comparable, A, B, R any](s *pipeline.Stream[A], table *pipeline.Stream[B], name string, keyOf func(A) K, keyOfRow func(B) K, deleted func(B) bool, keys codec.Codec[K], rows codec.Codec[B], f Functions[A, B, R]) *pipeline.Stream[R] {
	functions := f.makes(name, s.Fail, func(f *Functions[A, B, R]) string {
		if f.Both == nil || f.Right != nil {
			return "an enrichment has the functions Both and, if wanted, Left"
		}
		return ""
	})
	return pipeline.RichMapBroadcast(s, table, name, keys, rows, func(r *pipeline.RuntimeContext) pipeline.BroadcastMap[K, B, A, B, R] {
		f := functions(r)
		return pipeline.BroadcastMap[K, B, A, B, R]{
			Element: func(v A, t *pipeline.BroadcastState[K, B], emit func(R)) {
				if row, ok := t.Get(keyOf(v)); ok {
					emit(f.Both(v, row))
				} else if f.Left != nil {
					emit(f.Left(v))
				}
			},
			Broadcast: func(row B, t *pipeline.BroadcastState[K, B], c *pipeline.BroadcastCtx) {
				if deleted != nil && deleted(row) {
					t.Delete(c, keyOfRow(row))
				} else {
					t.Put(c, keyOfRow(row), row)
				}
			},
		}
	})
}
