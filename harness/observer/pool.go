package observer

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool hands decoded records' slices back to the client, so that reading
// allocates little per record.
type recordPool struct{ p sync.Pool }

var _ kgo.PoolRecords = (*recordPool)(nil)

func newRecordPool() *recordPool { return &recordPool{} }

// GetRecords returns a slice with capacity n.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	if s, _ := p.p.Get().(*[]kgo.Record); s != nil && cap(*s) >= n {
		return (*s)[:0]
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords takes a slice back.
func (p *recordPool) PutRecords(s []kgo.Record) {
	s = s[:0]
	p.p.Put(&s)
}
