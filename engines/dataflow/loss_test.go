package dataflow

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/state"
)

// TestLostTaskManager kills task managers in the middle, one at a time and both,
// and the restart strategy brings the job back: under exactly-once no copy and no
// loss.
func TestLostTaskManager(t *testing.T) {
	s := newSpread(t, connectors.ExactlyOnce, 4, func(c *Config) {
		c.Restart.Strategy, c.Restart.Attempts, c.Restart.Delay = RestartFixedDelay, 20, 0
	})
	r := s.start(s.ctx)
	restarts := 0
	for _, kill := range [][]int{{1}, {2}, {1, 2}} {
		completed := len(s.kinds("checkpointCompleted"))
		s.produce(1000)
		s.until("a checkpoint", func() bool { return len(s.kinds("checkpointCompleted")) > completed })
		s.produce(1000) // some of it is on its way now
		for _, n := range kill {
			if err := r.(engines.Killer).Kill(n); err != nil {
				t.Fatal(err)
			}
		}
		s.until("a restart", func() bool { return len(s.kinds("restarted")) > restarts })
		s.produce(500)
		s.untilDurable()
		restarts = len(s.kinds("restarted"))
	}
	for _, e := range s.kinds("restarting") {
		if m := e.(engines.Restarting).Error; !strings.Contains(m, "task manager") || !strings.Contains(m, "lost") {
			t.Errorf("the reason of a restart: %s", m)
		}
	}
	if err := r.Stop(s.ctx, engines.StopDrain); err != nil {
		t.Fatal(err)
	}
	expect(t, s.read(), tally{})
	if err := r.(engines.Killer).Kill(3); err == nil || !strings.Contains(err.Error(), "the job has 2") {
		t.Error(err)
	}
}

// TestStateOnDiskOfTaskManagers: each keeps its own in one folder, and what
// checkpoints share is there as long as one of them needs it.
func TestStateOnDiskOfTaskManagers(t *testing.T) {
	s := newSpread(t, connectors.ExactlyOnce, 4, func(c *Config) {
		c.Restart.Strategy, c.Restart.Attempts, c.Restart.Delay = RestartFixedDelay, 20, 0
	})
	onDisk(s.world)
	s.remake(func(j *spreadJob) { j.OnDisk = true })
	r := s.start(s.ctx)
	for i := range 3 {
		completed := len(s.kinds("checkpointCompleted"))
		s.produce(1000)
		s.until("two checkpoints", func() bool { return len(s.kinds("checkpointCompleted")) > completed+1 })
		s.produce(500)
		if i == 1 {
			if err := r.(engines.Killer).Kill(2); err != nil {
				t.Fatal(err)
			}
			s.until("a restart", func() bool { return len(s.kinds("restarted")) > 0 })
		}
		s.untilDurable()
	}
	if err := r.Stop(s.ctx, engines.StopCheckpoint); err != nil {
		t.Fatal(err)
	}
	have, needed := s.shared()
	for _, name := range have {
		delete(needed, name)
	}
	if len(have) == 0 || len(needed) > 0 {
		t.Errorf("%d shared files, missing: %v", len(have), needed)
	}
	s.goesOn()
}

// TestUnalignedBetweenTaskManagers: under full back-pressure, with channels within
// a process and to the other, barriers overtake what waits at their sender and at
// their receiver; when a task manager is lost, that comes once.
func TestUnalignedBetweenTaskManagers(t *testing.T) {
	for _, timeout := range []time.Duration{0, 150 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			s := newSpread(t, connectors.ExactlyOnce, 4, func(c *Config) {
				c.Restart.Strategy, c.Restart.Attempts, c.Restart.Delay = RestartFixedDelay, 20, 0
				c.Checkpoint.Unaligned, c.Checkpoint.AlignedTimeout = true, Duration(timeout)
				c.Checkpoint.Interval = Duration(200 * time.Millisecond)
				c.Buffers.Size = 256
			})
			s.produce(4000)
			s.rt.Gate.Throttle(300)
			r := s.start(s.ctx)
			inFlight := func() (n int) {
				for _, c := range s.completed() {
					if c.Unaligned && c.InFlightBytes > 4096 {
						n++
					}
				}
				return n
			}
			for kill := range 2 {
				had := inFlight()
				s.until("checkpoints with records on their way", func() bool { return inFlight() > had+1 })
				if err := r.(engines.Killer).Kill(kill + 1); err != nil {
					t.Fatal(err)
				}
				s.until("a restart", func() bool { return len(s.kinds("restarted")) > kill })
			}
			s.rt.Gate.Throttle(0)
			s.untilDurable()
			if err := r.Stop(s.ctx, engines.StopDrain); err != nil {
				t.Fatal(err)
			}
			expect(t, s.read(), tally{})
		})
	}
}

// spreadInTime is a job by event time on two task managers with one partition each.
func spreadInTime(t *testing.T, g connectors.Guarantee, change func(*Config)) (s *spread, put func(partition int, from, n, step int64), position func(partition int) int64) {
	s = newSpread(t, g, 2, func(c *Config) {
		c.Checkpoint.Interval, c.WatermarkInterval = Duration(50*time.Millisecond), Duration(20*time.Millisecond)
		change(c)
	})
	s.remake(func(j *spreadJob) { j.Timed = true })
	var err error
	if s.job.Graph, err = s.line.graph(); err != nil {
		t.Fatal(err)
	}
	put = func(partition int, from, n, step int64) {
		t.Helper()
		for i := range n {
			r := at(int64(partition), from+i*step)
			s.client.Produce(s.ctx, &kgo.Record{Topic: "in", Partition: int32(partition), Value: r.Value}, nil)
		}
		if err := s.client.Flush(s.ctx); err != nil {
			t.Fatal(err)
		}
	}
	position = func(partition int) int64 {
		es := s.kinds("durable")
		if len(es) == 0 {
			return 0
		}
		return int64(es[len(es)-1].(engines.Durable).Positions[connectors.SplitID(fmt.Sprint("in/", partition))])
	}
	return s, put, position
}

// TestAlignmentOverTaskManagers: the splits of one are held back by those of the
// other, and go on with them.
func TestAlignmentOverTaskManagers(t *testing.T) {
	s, put, position := spreadInTime(t, connectors.ExactlyOnce, func(*Config) {})
	r := s.start(s.ctx)
	put(0, 0, 1, 0)
	put(2, 0, 1, 0)
	end := int64(0)
	for held := false; !held; held = position(1) < end {
		put(1, end*1000, 100, 1000) // what is read before the first limit has come is not held
		end += 100
		completed := len(s.kinds("checkpointCompleted"))
		s.until("checkpoints", func() bool { return len(s.kinds("checkpointCompleted")) > completed+5 })
	}
	put(0, end*1000, 1, 0)
	put(2, end*1000, 1, 0)
	s.until("the end of the split that was held", func() bool { return position(1) == end })
	if err := r.Stop(s.ctx, engines.StopDrain); err != nil {
		t.Fatal(err)
	}
}

// TestOneMaximumOverTaskManagers: by the policy spark what one has read makes
// records late that the other reads.
func TestOneMaximumOverTaskManagers(t *testing.T) {
	s, put, _ := spreadInTime(t, connectors.AtLeastOnce, func(c *Config) { c.Watermark = SparkMax })
	r := s.start(s.ctx)
	put(0, 100_000, 1, 0)
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	late := map[int64]bool{}
	s.until("late records of the other partitions", func() bool {
		put(1, 5, 1, 0)
		put(2, 5, 1, 0)
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
		defer cancel()
		reader.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			if v, _, err := itemCodec.Decode(rec.Value); err == nil && v.count < 0 {
				late[v.key] = true
			}
		})
		return late[1] && late[2]
	})
	if err := r.Stop(s.ctx, engines.StopNow); err != nil {
		t.Fatal(err)
	}
}

// TestLossWithoutRestart: the strategy none lets the loss fail the job, and the
// next start takes up its transactions.
func TestLossWithoutRestart(t *testing.T) {
	s := newSpread(t, connectors.ExactlyOnce, 2, func(*Config) {})
	r := s.start(s.ctx)
	s.produce(1000)
	s.until("a checkpoint", func() bool { return len(s.kinds("checkpointCompleted")) > 0 })
	s.produce(1000)
	if err := r.(engines.Killer).Kill(2); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); err == nil || !strings.Contains(err.Error(), "task manager 2 was lost: process ") ||
		!strings.Contains(err.Error(), " ended: signal: killed; with another restart.strategy than none") {
		t.Fatal(err)
	}
	r = s.start(s.ctx)
	s.untilDurable()
	if err := r.Stop(s.ctx, engines.StopCheckpoint); err != nil {
		t.Fatal(err)
	}
	expect(t, s.read(), tally{})
}

// TestFailpointInATaskManager: the worker finds out what all task managers have
// had acknowledged, and predicts with it what a restart repeats.
func TestFailpointInATaskManager(t *testing.T) {
	for _, point := range []string{"D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8"} {
		t.Run(point, func(t *testing.T) {
			s := newSpread(t, connectors.AtLeastOnce, 4, func(*Config) {})
			run, die := context.WithCancel(s.ctx)
			defer die()
			r := s.start(run)
			s.produce(1000)
			s.untilDurable()
			reached := make(chan int64, 1)
			s.rt.Failpoints.Arm(point, 2, func(_ engines.FailpointReached, recovery func() engines.Recovery) {
				s.rt.Gate.Close()
				if err := s.rt.Gate.Drain(s.ctx); err != nil {
					t.Error(err)
				}
				if _, _, inFlight := s.rt.Gate.Counts(); inFlight != 0 {
					t.Errorf("%d in flight", inFlight)
				}
				var copies int64
				for split, p := range recovery().Positions {
					partition := int32(split[len(split)-1] - '0')
					copies += s.rt.Acks.From(partition, p)
				}
				reached <- copies
				<-run.Done()
				runtime.Goexit()
			})
			s.produce(2000)
			var copies int64
			select {
			case copies = <-reached:
			case <-s.ctx.Done():
				t.Fatal("the point was not reached")
			}
			die()
			if err := r.Wait(); err == nil {
				t.Error("it lived on")
			}
			s.rt.Gate, s.rt.Acks, s.rt.Failpoints = connectors.NewGate(), engines.NewAckLog(), &engines.Failpoints{}
			s.mu.Lock()
			s.events = nil
			s.mu.Unlock()
			r = s.start(s.ctx)
			s.untilDurable()
			if err := r.Stop(s.ctx, engines.StopCheckpoint); err != nil {
				t.Fatal(err)
			}
			if got := s.read(); int64(got.copies) != copies || got.losses != 0 {
				t.Errorf("%d copies and %d losses, predicted %d and 0", got.copies, got.losses, copies)
			}
		})
	}
}

// TestSavepointOfTaskManagers: a savepoint of two task managers begins a job at
// another parallelism in one.
func TestSavepointOfTaskManagers(t *testing.T) {
	s := newSpread(t, connectors.ExactlyOnce, 4, func(*Config) {})
	r := s.start(s.ctx)
	s.produce(2000)
	s.until("a checkpoint", func() bool { return len(s.kinds("checkpointCompleted")) > 0 })
	path, err := r.(engines.Savepointer).StopWithSavepoint(s.ctx, engines.StopCheckpoint, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s.folder, err = state.OpenFolder(t.TempDir(), state.DurableProcess); err != nil {
		t.Fatal(err)
	}
	s.job.Folder, s.job.Parallelism = s.folder, 2
	s.cfg.TaskManagers, s.cfg.RestoreFrom = 1, path
	s.goesOn()
}

func TestSpreadRefusals(t *testing.T) {
	s := newSpread(t, connectors.ExactlyOnce, 2, func(c *Config) { c.Checkpoint.Unaligned, c.Buffers.FloatingPerGate = true, 1000 })
	members := s.rt.Members
	s.rt.Members = nil
	_, err := New().Start(s.ctx, s.job, s.cfg, s.rt)
	for _, want := range []string{"taskManagers: value 2", "cannot start processes", "checkpoint.unaligned"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: says nothing of %q", err, want)
		}
	}
	members.Job = []byte(`{"Config": 7}`) // of which no job can be made
	s.rt.Members, s.cfg.Buffers.FloatingPerGate = members, 8
	if _, err := New().Start(s.ctx, s.job, s.cfg, s.rt); err == nil || !strings.Contains(err.Error(), "task manager") {
		t.Error(err)
	}
}

// TestThrottleReachesTheTaskManagers: the limit is the job's, wherever its sinks
// are, also behind a restart.
func TestThrottleReachesTheTaskManagers(t *testing.T) {
	s := newSpread(t, connectors.AtLeastOnce, 2, func(c *Config) {
		c.Restart.Strategy, c.Restart.Delay = RestartFixedDelay, 0
	})
	s.rt.Gate.Throttle(50)
	begun := time.Now()
	r := s.start(s.ctx)
	s.produce(100)
	s.until("some output", func() bool { return r.Gauges().Written > 60 })
	// It may be late by any time, but not early: bursts are of 10 ms.
	if d := time.Since(begun); d < time.Second {
		t.Errorf("60 records in %s at 50 a second", d)
	}
	s.rt.Gate.Throttle(0)
	s.untilDurable()
	if err := r.Stop(s.ctx, engines.StopDrain); err != nil {
		t.Fatal(err)
	}
	expect(t, s.read(), tally{})
}
