package observer

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool lends the client the slices that it decodes batches into and
// takes each back whole. The client's own way back, [kgo.Record.Recycle], wants
// a call for every record, which clears it, looks its pool up in a context and
// counts an atomic down: a tenth of what reading costs. Here the batch is the
// unit. A batch is known by its first record, whose address is that of the
// slice.
type recordPool struct {
	mu   sync.Mutex
	free [][]kgo.Record
	// records is the capacity of all of free.
	records int
	lent    map[*kgo.Record][]kgo.Record
}

var _ kgo.PoolRecords = (*recordPool)(nil)

const (
	// sliceStep rounds sizes up, so that batches of about the same size can
	// use each other's slices.
	sliceStep = 256
	// freeSlices and freeRecords bound what is kept: many small batches, a few
	// large ones. Anything above is left to the collector.
	freeSlices  = 64
	freeRecords = 1 << 16
	// lentSlices bounds what is remembered of slices that never come back:
	// a batch of which the client drops the first record.
	lentSlices = 4096
)

func newRecordPool() *recordPool {
	return &recordPool{lent: map[*kgo.Record][]kgo.Record{}}
}

// GetRecords returns a slice with capacity n or more.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	if n == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var s []kgo.Record
	for i := len(p.free) - 1; i >= 0; i-- {
		if cap(p.free[i]) < n {
			continue
		}
		s = p.free[i]
		last := len(p.free) - 1
		p.free[i], p.free[last] = p.free[last], nil
		p.free = p.free[:last]
		p.records -= cap(s)
		break
	}
	if s == nil {
		s = make([]kgo.Record, 0, (n+sliceStep-1)/sliceStep*sliceStep)
	}
	if len(p.lent) >= lentSlices {
		clear(p.lent)
	}
	p.lent[&s[:1][0]] = s
	return s
}

// PutRecords takes a slice back of which the client kept no record.
func (p *recordPool) PutRecords(s []kgo.Record) {
	if len(s) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.lent[&s[0]]; ok {
		p.keep(s, cap(s))
	}
}

// putBatches takes back the slices behind a partition's records, batch by
// batch as they follow each other. Nothing may use the records any more.
func (p *recordPool) putBatches(rs []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(rs) > 0 {
		s, ok := p.lent[rs[0]]
		if !ok { // within a batch whose beginning was not kept
			rs = rs[1:]
			continue
		}
		s = s[:cap(s)]
		n := 1
		for n < len(s) && n < len(rs) && rs[n] == &s[n] {
			n++
		}
		p.keep(s, n)
		rs = rs[n:]
	}
}

// keep puts a slice of which the first used records were written among the
// free ones. REQUIRES: p.mu.
func (p *recordPool) keep(s []kgo.Record, used int) {
	s = s[:cap(s)]
	delete(p.lent, &s[0])
	if len(p.free) >= freeSlices || p.records+len(s) > freeRecords {
		return
	}
	// A record that lies here must not hold the response that it points into.
	clear(s[:used])
	p.free = append(p.free, s[:0])
	p.records += len(s)
}
