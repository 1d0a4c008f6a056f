package dataflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// ioOf adds up what the subtasks of a vertex show.
func ioOf(r engines.Run, vertex string) (sum engines.TaskIO, pending int64) {
	for _, t := range r.Gauges().Tasks {
		if !strings.HasPrefix(t.Name, vertex) {
			continue
		}
		io := t.IO
		sum.RecordsIn += io.RecordsIn
		sum.RecordsOut += io.RecordsOut
		sum.BytesInLocal += io.BytesInLocal
		sum.BuffersInLocal += io.BuffersInLocal
		sum.BytesInRemote += io.BytesInRemote
		sum.BytesOut += io.BytesOut
		sum.BuffersOut += io.BuffersOut
		sum.InputQueue += io.InputQueue
		sum.InputQueueBytes += io.InputQueueBytes
		sum.OutputQueue += io.OutputQueue
		sum.OutPoolUsage = max(sum.OutPoolUsage, io.OutPoolUsage)
		sum.BackPressured = sum.BackPressured || io.BackPressured
		if io.Pending != nil {
			pending += *io.Pending
		}
	}
	return sum, pending
}

// TestSubtasksShowTheirTraffic: what goes out of one vertex comes into the next, and
// while the sink is slow it is seen where it waits.
func TestSubtasksShowTheirTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.b.grow("in", 4)
		r := w.start(context.Background())
		w.fill("in", 1000, 37)
		time.Sleep(5 * time.Second)
		in, pending := ioOf(r, "in")
		count, _ := ioOf(r, "count")
		expect(t, []int64{in.RecordsIn, in.RecordsOut, count.RecordsIn, count.RecordsOut, pending}, []int64{4000, 4000, 4000, 4000, 0})
		expect(t, []int64{in.BytesOut, in.BuffersOut, count.BytesInRemote}, []int64{count.BytesInLocal, count.BuffersInLocal, 0})
		if in.BytesOut < 4000*28 || count.InputQueue != 0 || in.BackPressured {
			t.Errorf("in %+v, count %+v", in, count)
		}
		w.rt.Gate.Throttle(500)
		w.fill("in", 20_000, 37)
		time.Sleep(5 * time.Second)
		in, pending = ioOf(r, "in")
		count, _ = ioOf(r, "count")
		if pending == 0 || in.OutPoolUsage < 0.9 || !in.BackPressured || count.InputQueue == 0 || count.InputQueue != in.OutputQueue || count.InputQueueBytes < 32<<10 {
			t.Errorf("%d pending; in %+v, count %+v", pending, in, count)
		}
		w.stop(r, engines.StopNow)
	})
}

// TestSubtasksShowSplitsAndMail: of two splits one gives a record a second and the
// other nothing; each second's look waits for nobody.
func TestSubtasksShowSplitsAndMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.b.grow("in", 2)
		w.job.Graph = lateJob(topic{w.b, "in"}, output{w.b}, pipeline.Watermarks{Idle: time.Second})
		r := w.start(context.Background())
		for i := range int64(10) {
			w.b.append("in", 0, at(1, 1000*i))
			time.Sleep(990 * time.Millisecond) // so that it never falls idle
			r.Gauges()
		}
		for _, task := range r.Gauges().Tasks {
			io := task.IO
			if len(io.MailboxMillis) != 6 || io.MailboxMillis[5] != 0 || io.Mails < 5 || io.MailboxSize > 1 {
				t.Errorf("%s: mail %+v", task.Name, io)
			}
			if !strings.HasPrefix(task.Name, "in") {
				if io.Splits != nil {
					t.Errorf("%s: splits %+v", task.Name, io.Splits)
				}
				continue
			}
			if len(io.Splits) != 2 {
				t.Fatalf("splits %+v", io.Splits)
			}
			if s := io.Splits[0]; s.Watermark == nil || *s.Watermark != 8999 || s.Active < 9000 || s.Idle+s.Paused > 0 {
				t.Errorf("the busy split: %+v", s)
			}
			if s := io.Splits[1]; s.Watermark != nil || s.Idle < 8000 || s.Active > 1500 {
				t.Errorf("the idle split: %+v", s)
			}
		}
		w.stop(r, engines.StopNow)
	})
}
