package keyedcount

import (
	"fmt"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
	"streamduel/workloads/internal/trial"
)

func params(change func(*idrecord.Params)) any {
	p := Workload().Params().(*idrecord.Params)
	if change != nil {
		change(p)
	}
	return p
}

func TestGeneratorIsPure(t *testing.T) {
	trial.CheckDeterminism(t, Workload(), params(nil))
	trial.CheckDeterminism(t, Workload(), params(func(p *idrecord.Params) { p.Skew, p.RecordBytes = 1.1, 300 }))
}

// Whatever the order of partitions, the parallelism, the chaining and the room
// in the exchanges: one output an input, and the counts of a key are 1 … n.
func TestCountsAreExact(t *testing.T) {
	for i, o := range []trial.Options{
		{},
		{Parallelism: 2, Order: 1},
		{Parallelism: 3, Order: 2, Partitions: 5, Unchained: true},
		{Parallelism: 2, Order: 3, Buffers: 1, Origins: true},
		{Parallelism: 4, Order: 4, Partitions: 1, Records: 100},
		{Parallelism: 2, Order: 5, Restart: 20},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := params(func(p *idrecord.Params) { p.Keys, p.Skew = 37, float64(i)/4 })
			res := trial.Run(t, Workload(), p, o)
			expected, keyOf := trial.Evaluate(t, Workload(), p, o, res.Inputs, nil)
			seen := map[trial.ID]bool{}
			counts := map[string]int64{}
			for i, r := range res.Rows {
				if r.Closing {
					continue
				}
				id := trial.ID{Partition: r.Partition, Sequence: r.Sequence}
				if !r.HasID || seen[id] {
					t.Fatalf("row %d: %+v twice or without id", i, r)
				}
				seen[id] = true
				if keyOf[id] != string(r.Key) {
					t.Fatalf("input %v has key %q, its output %q", id, keyOf[id], r.Key)
				}
				if string(res.Raw[i].Key) != string(r.Key) {
					t.Fatalf("the outgoing record has key %q, want %q", res.Raw[i].Key, r.Key)
				}
				counts[string(r.Key)]++
				if r.Value != counts[string(r.Key)] {
					t.Fatalf("key %q: count %d follows %d", r.Key, r.Value, counts[string(r.Key)]-1)
				}
			}
			n := 0
			for _, in := range res.Inputs {
				if !in.Closing {
					n++
				}
			}
			if len(seen) != n {
				t.Fatalf("%d outputs for %d inputs", len(seen), n)
			}
			for c, e := range expected {
				if counts[c.Key] != e.Value {
					t.Errorf("key %q: count %d, the oracle says %d", c.Key, counts[c.Key], e.Value)
				}
			}
			trial.CheckClosings(t, res.Rows, len(res.Inputs)-n)
		})
	}
}

func TestSkewFavoursTheFirstKeys(t *testing.T) {
	o := trial.Options{Records: 20000, Partitions: 1}
	p := params(func(p *idrecord.Params) { p.Keys, p.Skew = 100, 1 })
	cells, _ := trial.Evaluate(t, Workload(), p, o, trial.Inputs(t, Workload(), p, o), nil)
	// With s = 1 over 100 keys the first has 1/H(100) = 19.3 % of the records.
	if n := cells[trial.Cell{Key: "0000000"}].Value; n < 3600 || n > 4100 {
		t.Errorf("the first key has %d of 20000 records, about 3855 expected", n)
	}
}

func TestParseRefusesWhatItDidNotWrite(t *testing.T) {
	const good = "00003,000000012345,0000042,000000000017,r"
	var row workloads.Row
	if err := parse(&connectors.Record{Value: []byte(good)}, false, &row); err != nil {
		t.Fatal(err)
	}
	if row.Partition != 3 || row.Sequence != 12345 || string(row.Key) != "0000042" || row.Value != 17 || row.Closing {
		t.Errorf("%+v", row)
	}
	for _, bad := range []string{"", "x", good + "r", strings.Replace(good, "r", "x", 1), strings.Replace(good, ",", ";", 1), strings.Replace(good, "17", "1x", 1)} {
		if err := parse(&connectors.Record{Value: []byte(bad)}, false, &row); err == nil {
			t.Errorf("%q was accepted as %+v", bad, row)
		}
	}
	if err := parse(&connectors.Record{Value: []byte(good)}, true, &row); err == nil {
		t.Error("a late record was accepted; the job has none")
	}
}

func TestPipelineRefusesAForeignRecord(t *testing.T) {
	if _, err := decode(&connectors.Record{Value: []byte("hello")}); err == nil {
		t.Error("a record that is none was decoded")
	}
}

func BenchmarkParse(b *testing.B) {
	r := &connectors.Record{Value: []byte("00003,000000012345,0000042,000000000017,r")}
	var row workloads.Row
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(r, false, &row); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTheJobDoesNotAllocate(t *testing.T) {
	trial.CheckAllocations(t, Workload(), params(nil), false)
}

func TestParseAndEncodeDoNotAllocate(t *testing.T) {
	out := &connectors.Record{Key: make([]byte, 0, 64), Value: make([]byte, 0, 64)}
	var row workloads.Row
	g := idrecord.NewGenerator(idrecord.Defaults(), 1)
	in := &connectors.Record{Value: make([]byte, 0, 128)}
	n := int64(0)
	if a := testing.AllocsPerRun(100, func() {
		n++
		in.Value, _ = g.Append(in.Value[:0], workloads.Input{Index: n, Sequence: n})
		e, err := decode(in)
		if err != nil {
			t.Fatal(err)
		}
		out.Key, out.Value = out.Key[:0], out.Value[:0]
		encode(counted{e, n}, out)
		if err := parse(out, false, &row); err != nil {
			t.Fatal(err)
		}
	}); a != 0 {
		t.Errorf("%v allocations a record", a)
	}
}
