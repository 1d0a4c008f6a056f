package ysb

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/workloads"
	"streamduel/workloads/internal/trial"
)

func params(change func(*Params)) *Params {
	p := Workload().Params().(*Params)
	p.Campaigns, p.Window = 7, time.Second
	if change != nil {
		change(p)
	}
	return p
}

func TestGeneratorIsPure(t *testing.T) {
	trial.CheckDeterminism(t, Workload(), params(nil))
	trial.CheckDeterminism(t, Workload(), params(func(p *Params) { p.Skew, p.LateOneIn = true, 3 }))
}

// The events look like the original's and spread as it says.
func TestEvents(t *testing.T) {
	p := params(func(p *Params) { p.Skew, p.LateOneIn = true, 100 })
	uuidForm := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	types, ads, kinds := map[string]int{}, map[string]int{}, map[string]int{}
	late, n := 0, 0
	for _, in := range trial.Inputs(t, Workload(), p, trial.Options{Records: 30000, Partitions: 1}) {
		if in.Closing {
			continue
		}
		var e map[string]string
		if err := json.Unmarshal(in.Payload, &e); err != nil {
			t.Fatalf("%s: %v", in.Payload, err)
		}
		if len(e) != 7 || e["ip_address"] != "1.2.3.4" {
			t.Fatalf("%s", in.Payload)
		}
		for _, f := range []string{"user_id", "page_id", "ad_id"} {
			if !uuidForm.MatchString(e[f]) {
				t.Fatalf("%s is %q", f, e[f])
			}
		}
		types[e["event_type"]]++
		ads[e["ad_id"]]++
		kinds[e["ad_type"]]++
		var at int64
		if _, err := fmt.Sscan(e["event_time"], &at); err != nil {
			t.Fatal(err)
		}
		switch d := at - in.EventTime; {
		case d < -60_050 || d > 50:
			t.Fatalf("event time %d ms from the schedule", d)
		case d < -50:
			late++
		}
		n++
	}
	near := func(what string, got int, share float64) {
		if want := share * float64(n); float64(got) < 0.8*want || float64(got) > 1.2*want {
			t.Errorf("%s: %d of %d, about %.0f expected", what, got, n, want)
		}
	}
	for _, k := range eventTypes {
		near(k, types[k], 1.0/3)
	}
	for _, k := range adTypes {
		near(k, kinds[k], 1.0/5)
	}
	if len(ads) != 70 || len(types) != 3 || len(kinds) != 5 {
		t.Errorf("%d ads, %d types, %d ad types", len(ads), len(types), len(kinds))
	}
	near("late", late, 0.01)
}

// sent = in results + late, each (campaign, window) has one final row, and it
// is the oracle's: for any order of partitions and any room in the exchanges.
func TestWindowsAreExact(t *testing.T) {
	for i, o := range []trial.Options{
		{Partitions: 1},
		{Parallelism: 2, Order: 1},
		{Parallelism: 3, Order: 2, Partitions: 5, Unchained: true},
		{Parallelism: 2, Order: 3, Buffers: 1, Unchained: true, Origins: true},
		{Parallelism: 2, Order: 4, Restart: 50},
		{Order: 5, Restart: 13, Unchained: true},
	} {
		for _, skew := range []bool{false, true} {
			t.Run(fmt.Sprint(i, skew), func(t *testing.T) {
				o.Records, o.Interval, o.Seed = 3000, 5, uint64(i)
				p := params(func(p *Params) { p.Skew, p.LateOneIn = skew, 40 })
				res := trial.Run(t, Workload(), p, o)
				late := map[trial.ID]bool{}
				for _, r := range res.Late {
					id := trial.ID{Partition: r.Partition, Sequence: r.Sequence}
					if !r.HasID || late[id] {
						t.Fatalf("%+v twice or without id", r)
					}
					late[id] = true
				}
				if skew != (len(late) > 0) {
					t.Errorf("%d late with skew %v", len(late), skew)
				}
				expected, _ := trial.Evaluate(t, Workload(), p, o, res.Inputs, late)
				seen := map[trial.Cell]bool{}
				for _, r := range res.Rows {
					if r.Closing {
						continue
					}
					c := trial.Cell{Key: string(r.Key), Window: r.Window}
					e, ok := expected[c]
					if !ok || seen[c] || r.Value != e.Value || r.IDHash != e.Hash {
						t.Errorf("%v: row %+v, twice %v, the oracle says %+v", c, r, seen[c], e)
					}
					seen[c] = true
				}
				if len(seen) != len(expected) {
					t.Errorf("%d windows, the oracle says %d", len(seen), len(expected))
				}
				trial.CheckClosings(t, res.Rows, len(res.Inputs)-o.Records)
				var views, counted int64
				all, _ := trial.Evaluate(t, Workload(), p, o, res.Inputs, nil)
				for _, e := range all {
					views += e.Value
				}
				for _, r := range res.Rows {
					counted += r.Value
				}
				if views != counted+int64(len(late)) {
					t.Errorf("%d views, %d counted and %d late", views, counted, len(late))
				}
			})
		}
	}
}

func TestTheJobDoesNotAllocate(t *testing.T) {
	trial.CheckAllocations(t, Workload(), params(nil), false)
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		`{"ad_id":"a","event_type":"view","event_time":"17"}`:                          "a 17 1",
		` { "event_time" : 18 , "x":{"ad_id":"no"},"event_type":"click","ad_id":"b"} `: "b 18 0",
		`{"ad_id":"a","event_type":"view"}`:                                            fmt.Sprint("a ", pipeline.NoTime, " 1"),
		`{"ad_id":"a","event_type":"view","event_time":"1x"}`:                          `json: byte 46, field "event_time": "1x" is no integer of 64 bits in quotes`,
		`{"ad_id":"a","event_type":"view","event_time":"-1"}`:                          "a -1 1", // the source's to judge
		`{"ad_id":["a"],"event_type":"view","event_time":"1"}`:                         `json: byte 9, field "ad_id": a string is expected, this is a list`,
		`{"ad_id":"a","event_type":"view","event_time":"17"`:                           "json: byte 50: the text ends inside a value",
		`nonsense`: "json: byte 0: an object begins with '{'",
	} {
		e, err := parse([]byte(in))
		got := fmt.Sprintf("%s %d %d", e.ad, e.time, e.kind)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if _, err := decode(&connectors.Record{Value: []byte(`{}`)}); err == nil || !strings.Contains(err.Error(), "sd-origin") {
		t.Errorf("without origin: %v", err)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	p := params(func(p *Params) {
		p.Campaigns, p.AdsPerCampaign, p.Window, p.Delay, p.LateOneIn, p.LateBy = 0, 0, 0, -1, 0, time.Microsecond
	})
	err := p.Validate()
	for _, f := range []string{"campaigns: ", "adsPerCampaign: ", "window: ", "delay: ", "lateOneIn: ", "lateBy: "} {
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+f) {
			t.Errorf("%q is not named in %v", f, err)
		}
	}
}

func TestRowsAreParsedStrictly(t *testing.T) {
	const good = "000000000017,0123456789abcdef,r,001700000000000,c-1"
	var row workloads.Row
	if err := parseRow(&connectors.Record{Value: []byte(good)}, false, &row); err != nil || string(row.Key) != "c-1" || row.Window != 1700000000000 || row.Value != 17 {
		t.Errorf("%+v, %v", row, err)
	}
	for _, bad := range []string{"", good[:len(good)-4], strings.Replace(good, ",r,", ",c,", 1), strings.Replace(good, "17,", "1z,", 1)} {
		if err := parseRow(&connectors.Record{Value: []byte(bad)}, false, &row); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if err := parseRow(&connectors.Record{Value: []byte("00001,000000000002")}, true, &row); err != nil || !row.HasID || row.Partition != 1 || row.Sequence != 2 {
		t.Errorf("%+v, %v", row, err)
	}
	if err := parseRow(&connectors.Record{Value: []byte(good)}, true, &row); err == nil {
		t.Error("a result was accepted as late")
	}
}

func BenchmarkGenerator(b *testing.B) {
	g, err := Workload().Generator(Workload().Params(), 1)
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	in := workloads.Input{EventTime: 1_700_000_000_000}
	b.ReportAllocs()
	for b.Loop() {
		in.Index++
		buf, _ = g.Append(buf[:0], in)
	}
}

func BenchmarkExtraction(b *testing.B) {
	g, err := Workload().Generator(Workload().Params(), 1)
	if err != nil {
		b.Fatal(err)
	}
	v, _ := g.Append(nil, workloads.Input{EventTime: 1_700_000_000_000})
	b.SetBytes(int64(len(v)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(v); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func BenchmarkParse(b *testing.B) {
	r := &connectors.Record{Value: []byte("000000000017,0123456789abcdef,r,001700000000000," + uuid("campaign", 1))}
	var row workloads.Row
	b.ReportAllocs()
	for b.Loop() {
		if err := parseRow(r, false, &row); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJob is the whole job: parse, filter, project, join, exchange, window.
// Its load repeats, so that nearly all but the first pass of it is late; the
// window is as long as the load.
func BenchmarkJob(b *testing.B) {
	p := Workload().Params().(*Params)
	p.Window = 24 * time.Hour
	trial.Bench(b, Workload(), p, false)
}
