package observer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// decode fills a slice of the pool as the client does and returns its records.
func decode(p *recordPool, n int) (s []kgo.Record, rs []*kgo.Record) {
	s = p.GetRecords(n)[:n]
	for i := range s {
		s[i].Offset, s[i].Value = int64(i), []byte("value")
		rs = append(rs, &s[i])
	}
	return s, rs
}

func TestPoolTakesBatchesBack(t *testing.T) {
	p := newRecordPool()
	a, first := decode(p, 300)
	b, second := decode(p, 5)
	if &a[0] == &b[0] {
		t.Fatal("one slice lent twice")
	}
	p.putBatches(append(first, second...))
	if len(p.lent) != 0 || len(p.free) != 2 || p.records != 3*sliceStep {
		t.Errorf("%d lent, %d free, room for %d", len(p.lent), len(p.free), p.records)
	}
	for i := range a {
		if a[i].Value != nil {
			t.Fatal("a free record holds a response")
		}
	}
	c, third := decode(p, 2*sliceStep) // the smaller one does not do
	if &c[0] != &a[0] || p.records != sliceStep {
		t.Errorf("a slice that fits was not used again; room for %d", p.records)
	}
	// A batch of which the client dropped the beginning cannot be told, and
	// must not take the next one with it.
	d, fourth := decode(p, 7)
	p.putBatches(append(third[3:], fourth...))
	if len(p.lent) != 1 || len(p.free) != 1 || &p.free[0][:1][0] != &d[0] {
		t.Errorf("%d lent, %d free", len(p.lent), len(p.free))
	}
	// A batch of which no record was kept comes back by the client, once.
	e, _ := decode(p, 9)
	p.PutRecords(e)
	p.PutRecords(e)
	if len(p.lent) != 1 || len(p.free) != 1 {
		t.Errorf("%d lent, %d free", len(p.lent), len(p.free))
	}
	p.PutRecords(nil)
	if p.GetRecords(0) != nil {
		t.Error("a slice for nothing")
	}
}

func TestPoolIsBounded(t *testing.T) {
	p := newRecordPool()
	for range lentSlices + 1 {
		p.GetRecords(1)
	}
	if len(p.lent) != 1 {
		t.Errorf("%d slices remembered that never came back", len(p.lent))
	}
	_, rs := decode(p, freeRecords+1)
	p.putBatches(rs)
	var all [][]*kgo.Record
	for range freeSlices + 1 {
		_, rs := decode(p, 1)
		all = append(all, rs)
	}
	for _, rs := range all {
		p.putBatches(rs)
	}
	if len(p.free) != freeSlices || p.records > freeRecords {
		t.Errorf("%d free slices with room for %d", len(p.free), p.records)
	}
}
