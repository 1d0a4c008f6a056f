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
