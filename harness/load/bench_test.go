package load

import (
	"context"
	"testing"
	"time"

	"streamduel/clock"
	"streamduel/harness/plan"
	"streamduel/harness/proc"
)

// BenchmarkGenerator offers 200,000 records/s of 100 B for five seconds from a
// load process of its own, with only the embedded broker beside it, and prints
// how many were handed to the client within 5 ms of their schedule.
func BenchmarkGenerator(b *testing.B) {
	const rate, length = 200_000, 5 * time.Second
	for b.Loop() {
		br := startBroker(b)
		if err := br.CreateTopic(b.Context(), "in", 4, nil); err != nil {
			b.Fatal(err)
		}
		lines := make(chan proc.Line, 1<<12)
		c, err := proc.Start(proc.Spec{Name: "load", Args: []string{"load"}, Stderr: b.Output(), OnLine: func(l proc.Line) { lines <- l }})
		if err != nil {
			b.Fatal(err)
		}
		await := func(kind string) proc.Line {
			for {
				select {
				case l := <-lines:
					switch l.Event {
					case kind:
						return l
					case "failure":
						b.Fatalf("%s", l.Raw)
					}
				case <-c.Done():
					b.Fatalf("no %s: %s", kind, c.Complaint())
				}
			}
		}
		call := func(cmd Command) {
			if _, err := c.Call(context.Background(), func(id int64) any { cmd.ID = id; return cmd }); err != nil {
				b.Fatal(err)
			}
		}
		j := job(b, br, "keyed-count", plan.Constant(rate), plan.Partitions("in", 4))
		j.ProgressMillis = 100
		if err := c.Send(j); err != nil {
			b.Fatal(err)
		}
		await("ready")
		brBefore, _ := br.Usage()
		start := clock.Mono() + int64(50*time.Millisecond)
		call(Command{Start: &Start{At: start, Wall: time.Now().UnixNano() - clock.Mono()}})
		<-time.After(clock.Until(start + int64(length)))
		u := c.Usage()
		call(Command{Stop: &Stop{}})
		var f Finished
		if err := await("finished").Decode(&f); err != nil {
			b.Fatal(err)
		}
		brAfter, _ := br.Usage()
		millions := float64(f.Sent) / 1e6
		b.ReportMetric(float64(f.Sent)/length.Seconds(), "records/s")
		b.ReportMetric(f.SlipWithin5ms*100, "%within5ms")
		b.ReportMetric(float64(f.SlipP999)/1e6, "slip-p99.9-ms")
		b.ReportMetric(float64(f.SlipMax)/1e6, "slip-max-ms")
		b.ReportMetric(u.CPU.Seconds()/millions, "load-cpu-s/M")
		b.ReportMetric((brAfter.CPU-brBefore.CPU).Seconds()/millions, "broker-cpu-s/M")
		if err := c.Stop(time.Second); err != nil {
			b.Error(err)
		}
		br.Close()
	}
}
