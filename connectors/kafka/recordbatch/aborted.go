package recordbatch

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Aborted tells the batches of aborted transactions from the others in one
// partition's part of a read_committed response. The broker lists every aborted
// transaction that overlaps the response, so the account starts anew with each.
// The zero value knows of none.
type Aborted struct {
	pending []kmsg.FetchResponseTopicPartitionAbortedTransaction // by first offset; not yet reached
	active  map[int64]struct{}                                   // producers whose records are being aborted
}

// Reset begins a response with the transactions that it lists, which it sorts
// and keeps.
func (a *Aborted) Reset(listed []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
	slices.SortFunc(listed, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	a.pending = listed
	clear(a.active)
}

// Skip reports whether a batch belongs to an aborted transaction. It must see
// every batch of the response, in order.
func (a *Aborted) Skip(b []byte) bool {
	attrs := attributes(b)
	if attrs&attrTxn == 0 || len(a.pending) == 0 && len(a.active) == 0 {
		return false
	}
	for last := Last(b); len(a.pending) > 0 && a.pending[0].FirstOffset <= last; a.pending = a.pending[1:] {
		if a.active == nil {
			a.active = make(map[int64]struct{})
		}
		a.active[a.pending[0].ProducerID] = struct{}{}
	}
	producer := int64(binary.BigEndian.Uint64(b[43:]))
	if _, ok := a.active[producer]; !ok {
		return false
	}
	if attrs&attrControl != 0 {
		delete(a.active, producer) // its end: an abort, else it would not be listed
		return false
	}
	return true
}
