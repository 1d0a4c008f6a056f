package ledger

import (
	"fmt"
	"testing"

	"streamduel/harness/plan"
	"streamduel/workloads"
)

// BenchmarkObserve is the accounting of keyed-count without Kafka: 1,000 keys,
// 4 partitions, polls of 500 rows, latency on. One operation is one record.
//
//	go test ./harness/ledger -run '^$' -bench Observe -benchtime 5000000x -cpu 1
func BenchmarkObserve(b *testing.B) {
	for _, kind := range []workloads.AccountingKind{workloads.OneToOne, workloads.Running} {
		b.Run(string(kind), func(b *testing.B) {
			const keys, partitions, poll = 1000, 4, 500
			p, err := plan.New(plan.Constant(50_000), plan.Partitions("in", partitions))
			if err != nil {
				b.Fatal(err)
			}
			p.Begin(0, 0)
			l, err := New(Config{Plan: p, Accounting: workloads.Accounting{Kind: kind}, Latency: true})
			if err != nil {
				b.Fatal(err)
			}
			l.Phase("steady", 0)
			names := make([][]byte, keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "key-%06d", i)
			}
			rows := make([]Observation, poll)
			sent := make([]int64, partitions)
			b.ReportAllocs()
			b.ResetTimer()
			n := int64(0)
			for n < int64(b.N) {
				m := min(poll, int64(b.N)-n)
				for j := range m {
					i := n + j
					o := &rows[j]
					o.HasID = true
					o.Partition, o.Sequence = int32(i%partitions), i/partitions
					o.Key, o.Value = names[i%keys], i/keys+1
					o.Output = int32(i % keys % partitions)
					o.Intake = p.Due(i) + 1e6
				}
				l.Observe(p.Due(n+m-1)+3e6, rows[:m])
				n += m
			}
			b.StopTimer()
			for g := range sent {
				sent[g] = p.Sequences(int32(g), n)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(l.ids.bytes())/float64(n), "B/record")
			if r := l.Finish(sent); r.Visible != n || r.Duplicates+r.Losses+r.Reordered+r.StateOvercount+r.StateLosses != 0 {
				b.Fatalf("%+v", r.figures())
			}
		})
	}
}

// plain is the cheapest generator and oracle: what is measured is the ledger.
type plain struct{ names [][]byte }

func (p plain) Append(dst []byte, in workloads.Input) (value, key []byte)  { return dst, nil }
func (p plain) Closing(dst []byte, in workloads.Input) (value, key []byte) { return dst, nil }
func (p plain) Add(in workloads.Input, _ []byte, _ bool, emit func([]byte, int64, int64)) {
	emit(p.names[in.Index%int64(len(p.names))], 0, 1)
}

// BenchmarkValues is the accounting of running counts without ids, the oracle's
// evaluation and the latency of every input included. One operation is one
// input and its update.
func BenchmarkValues(b *testing.B) {
	const keys, poll = 1000, 500
	p, err := plan.New(plan.Constant(50_000), plan.Partitions("in", 4))
	if err != nil {
		b.Fatal(err)
	}
	p.Begin(0, 0)
	g := plain{}
	for i := range keys {
		g.names = append(g.names, fmt.Appendf(nil, "key-%06d", i))
	}
	l, err := New(Config{Plan: p, Latency: true, Generator: g,
		Accounting: workloads.Accounting{Kind: workloads.Running, Oracle: func() workloads.Oracle { return g }}})
	if err != nil {
		b.Fatal(err)
	}
	l.Phase("steady", 0)
	rows := make([]Observation, poll)
	hashes := make([]uint64, keys)
	b.ReportAllocs()
	b.ResetTimer()
	n := int64(0)
	for n < int64(b.N) {
		m := min(poll, int64(b.N)-n)
		for j := range m {
			i := n + j
			hashes[i%keys] += workloads.HashID(int32(i%4), i/4)
			rows[j] = Observation{Row: workloads.Row{Key: g.names[i%keys], Value: i/keys + 1, IDHash: hashes[i%keys], HasHash: true}}
		}
		l.Observe(p.Due(n+m-1)+3e6, rows[:m])
		n += m
	}
	b.StopTimer()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(l.values.bytes())/float64(n), "B/record")
	sent := make([]int64, 4)
	for i := range sent {
		sent[i] = p.Sequences(int32(i), n)
	}
	if r := l.Finish(sent); r.Visible != n || r.Losses+r.Duplicates+r.StateOvercount+r.Masked != 0 {
		b.Fatalf("%+v", r.figures())
	}
}
