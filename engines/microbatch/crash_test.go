package microbatch

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
)

// crashAt runs a job over so many batches, kills it at the hit-th passage of a
// point, and drains a second start. It returns what the point told.
func crashAt(t *testing.T, b *bed, point string, hit int) crash {
	t.Helper()
	b.config.Rate.MaxRecordsPerBatch = 100
	b.topic.fill(1000, 13)
	p := b.startArmed(point, hit)
	if err := p.Wait(); err == nil {
		t.Fatal("the job did not crash")
	}
	p.cancel()
	var c crash
	select {
	case c = <-p.crashed:
	default:
		t.Fatalf("point %s was not reached: %v", point, p.Wait())
	}
	p = b.start()
	p.drained()
	p.stopNow()
	return c
}

// TestCrashMatrix is the micro-batch table of the crash catalogue: what each
// guarantee shows after a crash at each point, and that the expectation computed
// at the point is exact.
func TestCrashMatrix(t *testing.T) {
	const n = 100
	type want struct{ copies, losses func(crash) int }
	zero := func(crash) int { return 0 }
	all := func(crash) int { return n }
	acked := func(c crash) int { return int(c.acked) }
	for _, c := range []struct {
		point string
		by    map[connectors.Guarantee]want
	}{
		{"M0", map[connectors.Guarantee]want{connectors.AtMostOnce: {zero, zero}, connectors.AtLeastOnce: {zero, zero}, connectors.ExactlyOnce: {zero, zero}}},
		{"M0t", map[connectors.Guarantee]want{connectors.AtMostOnce: {zero, zero}, connectors.AtLeastOnce: {zero, zero}, connectors.ExactlyOnce: {zero, zero}}},
		{"M1", map[connectors.Guarantee]want{connectors.AtMostOnce: {zero, all}, connectors.AtLeastOnce: {zero, zero}, connectors.ExactlyOnce: {zero, zero}}},
		{"M2", map[connectors.Guarantee]want{
			connectors.AtMostOnce:  {zero, func(c crash) int { return int(c.missing) }},
			connectors.AtLeastOnce: {acked, zero}, connectors.ExactlyOnce: {zero, zero}}},
		{"M3", map[connectors.Guarantee]want{connectors.AtMostOnce: {zero, zero}, connectors.AtLeastOnce: {all, zero}, connectors.ExactlyOnce: {zero, zero}}},
		{"M4", map[connectors.Guarantee]want{connectors.AtMostOnce: {zero, zero}, connectors.AtLeastOnce: {zero, zero}, connectors.ExactlyOnce: {zero, zero}}},
		{"T1", map[connectors.Guarantee]want{connectors.ExactlyOnce: {zero, zero}}},
		{"T2", map[connectors.Guarantee]want{connectors.ExactlyOnce: {zero, zero}}},
	} {
		for g, w := range c.by {
			for _, clock := range []ClockKind{Skipping, Queueing} {
				for _, hit := range []int{1, 4} {
					if strings.HasPrefix(c.point, "M0") && clock == Queueing && hit > 1 {
						continue // planned while another batch runs, which a simulated kill does not stop at once
					}
					t.Run(fmt.Sprintf("%s/%s/%s/%d", c.point, g, clock, hit), func(t *testing.T) {
						b := newBed(t, 3, g)
						b.config.Clock = clock
						told := crashAt(t, b, c.point, hit)
						if told.recovery.Records < n-3 || told.recovery.Records > n {
							t.Fatalf("the batch had %d records", told.recovery.Records)
						}
						copies, losses := w.copies(told), w.losses(told)
						switch g {
						case connectors.AtLeastOnce:
							if int(told.acked) != scaleTo(copies, n, told) {
								t.Errorf("the point announced %d copies", told.acked)
							}
						case connectors.AtMostOnce:
							if int(told.missing) != scaleTo(losses, n, told) {
								t.Errorf("the point announced %d losses", told.missing)
							}
						}
						b.expect(scaleTo(copies, n, told), scaleTo(losses, n, told))
						checkReplay(t, strings.TrimSuffix(c.point, "t"), g, told)
						if c.point == "M2" && g != connectors.ExactlyOnce {
							k := told.acked
							if g == connectors.AtMostOnce {
								k = told.recovery.Records - told.missing
							}
							if k < 45 || k >= told.recovery.Records { // the other task may write on until the gate is closed
								t.Errorf("the point lies at k = %d of %d rows", k, n)
							}
						}
						if g == connectors.ExactlyOnce {
							if err := b.counts(); err != nil {
								t.Error(err)
							}
						}
						if g != connectors.AtMostOnce && copies == 0 {
							if err := b.counts(); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
		}
	}
}

// checkReplay checks how far the job says that it had read when it was killed:
// to the end of the batch behind its output, to its beginning before.
func checkReplay(t *testing.T, point string, g connectors.Guarantee, c crash) {
	t.Helper()
	again := int64(0)
	for id, until := range c.recovery.Reached {
		again += max(int64(until-c.recovery.Positions[id]), 0)
	}
	if len(c.recovery.Reached) != len(c.recovery.Positions) {
		t.Errorf("read %v, restart at %v", c.recovery.Reached, c.recovery.Positions)
	}
	n := c.recovery.Records
	switch {
	case g == connectors.AtMostOnce || point == "M0" || point == "M1" || point == "M4" || point == "T2" || point == "M3" && g == connectors.ExactlyOnce:
		if again != 0 {
			t.Errorf("%d records are read again, want none", again)
		}
	case point == "M2":
		if again < c.acked || again > n {
			t.Errorf("%d records are read again, of %d with %d written", again, n, c.acked)
		}
	case again != n:
		t.Errorf("%d records are read again, want the batch's %d", again, n)
	}
}

// scaleTo puts the batch's true size for n: a cap of 100 is split over the
// partitions and each share rounded down.
func scaleTo(v, n int, c crash) int {
	if v == n {
		return int(c.recovery.Records)
	}
	return v
}

// TestAtMostOnceState: the lost batch is lost to the state as well, and versions
// go on behind the gap over further starts.
func TestAtMostOnceState(t *testing.T) {
	b := newBed(t, 2, connectors.AtMostOnce)
	b.config.StateSnapshotEvery = 3
	told := crashAt(t, b, "M1", 4)
	for range 3 {
		b.topic.fill(250, 13)
		p := b.start()
		p.drained()
		p.stopNow()
	}
	b.expect(0, int(told.recovery.Records))
	if err := b.counts(); err != nil {
		t.Error(err)
	}
}

// TestBrokenExactlyOnce is the negative control: offsets apart from output.
func TestBrokenExactlyOnce(t *testing.T) {
	for _, point := range []string{"M3", "T2"} {
		t.Run(point, func(t *testing.T) {
			b := newBed(t, 2, connectors.ExactlyOnce)
			b.config.BreakExactlyOnce = true
			told := crashAt(t, b, point, 3)
			b.expect(int(told.recovery.Records), 0)
		})
	}
	t.Run("without a crash nothing shows", func(t *testing.T) {
		b := newBed(t, 2, connectors.ExactlyOnce)
		b.config.BreakExactlyOnce = true
		b.topic.fill(300, 7)
		p := b.start()
		p.drained()
		p.stopNow()
		b.expect(0, 0)
	})
}

// TestTheFirstBatchOfAJobThatBeginsAtTheEnd: it dies before anything is in the offset log.
// What has come since its first start is not lost.
func TestTheFirstBatchOfAJobThatBeginsAtTheEnd(t *testing.T) {
	for _, g := range guarantees {
		for _, point := range []string{"M0", "M0t", "M1"} {
			if g == connectors.AtMostOnce && point == "M1" {
				continue // which loses it
			}
			t.Run(fmt.Sprint(g, "/", point), func(t *testing.T) {
				b := newBed(t, 2, g)
				b.topic.atEnd = true
				b.topic.fill(100, 7)
				p := b.startArmed(point, 1)
				b.topic.fill(50, 7)
				if p.Wait() == nil {
					t.Fatal("no crash")
				}
				p.cancel()
				b.topic.grow(3) // read from its beginning, as what is found later
				b.topic.fill(30, 7)
				b.config.Trigger = AvailableNow
				p = b.start()
				if err := p.Wait(); err != nil {
					t.Fatal(err)
				}
				p.cancel()
				b.expect(0, 100)
			})
		}
	}
}

// TestTornFiles damages one file after a crash; see what each means.
func TestTornFiles(t *testing.T) {
	start := func(t *testing.T, g connectors.Guarantee, point string) *bed {
		b := newBed(t, 2, g)
		b.config.Rate.MaxRecordsPerBatch = 100
		b.topic.fill(500, 7)
		p := b.startArmed(point, 3)
		if err := p.Wait(); err == nil {
			t.Fatal("no crash")
		}
		p.cancel()
		return b
	}
	finish := func(b *bed) {
		p := b.start()
		p.drained()
		p.stopNow()
	}
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run("M0t, the newest offset log entry/"+string(g), func(t *testing.T) {
			b := start(t, g, "M1")
			tear(t, filepath.Join(b.dir, "offset-2"))
			finish(b)
			b.expect(0, 0)
		})
		t.Run("the newest commit log entry/"+string(g), func(t *testing.T) {
			b := start(t, g, "M4")
			tear(t, filepath.Join(b.dir, "commit-2"))
			finish(b)
			if g == connectors.ExactlyOnce {
				b.expect(0, 0) // the sink knows
			} else {
				b.expect(100, 0)
			}
		})
		t.Run("the state version needed/"+string(g), func(t *testing.T) {
			b := start(t, g, "M4")
			tear(t, filepath.Join(b.dir, "state-0-1", "delta-3"))
			if g == connectors.ExactlyOnce {
				_, err := b.tryStart("", 0)
				if err == nil || !strings.Contains(err.Error(), "state version 3 cannot be rebuilt") || !strings.Contains(err.Error(), "delta-3") {
					t.Errorf("start: %v", err)
				}
				return
			}
			finish(b) // version 2 and batch 2 again
			b.expect(100, 0)
		})
		t.Run("a state version that is not needed/"+string(g), func(t *testing.T) {
			b := start(t, g, "M1")
			tear(t, filepath.Join(b.dir, "offset-1"))
			if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), "offset-1: file is torn") {
				t.Errorf("start: %v", err)
			}
		})
	}
	t.Run("a full snapshot", func(t *testing.T) {
		b := newBed(t, 2, connectors.ExactlyOnce)
		b.config.Rate.MaxRecordsPerBatch = 20
		b.config.StateSnapshotEvery = 3
		b.topic.fill(300, 7)
		p := b.start()
		p.drained()
		p.stopNow()
		tear(t, filepath.Join(b.dir, "state-0-0", "full-12"))
		b.topic.fill(50, 7)
		finish(b)
		b.expect(0, 0)
		if err := b.counts(); err != nil {
			t.Error(err)
		}
	})
}

// TestRefusedFolders are the starts that would do harm.
func TestRefusedFolders(t *testing.T) {
	used := func(t *testing.T, g connectors.Guarantee) *bed {
		b := newBed(t, 2, g)
		b.config.Rate.MaxRecordsPerBatch = 50
		b.topic.fill(300, 7)
		p := b.start()
		p.drained()
		p.stopNow()
		return b
	}
	for name, c := range map[string]struct {
		g    connectors.Guarantee
		do   func(*bed)
		want string
	}{
		"records deleted":   {connectors.AtLeastOnce, func(b *bed) { b.topic.add(0, 1, 2); b.topic.earliest[0] = 151 }, ""},
		"split gone":        {connectors.AtLeastOnce, func(b *bed) { b.topic.parts = b.topic.parts[:1] }, "split in/1 of the offset log is gone"},
		"whose it is, gone": {connectors.AtLeastOnce, func(b *bed) { mustRemove(b, "query") }, "the folder has batches, and not whose they are: open "},
		"whose it is, torn": {connectors.AtLeastOnce, func(b *bed) { tear(b.t, filepath.Join(b.dir, "query")) }, "its checksum does not match: put back what is missing or damaged, or begin anew in an empty folder"},
		"gap in the log":    {connectors.AtLeastOnce, func(b *bed) { mustRemove(b, "offset-5") }, "the folder is incomplete"},
		"sink replaced":     {connectors.ExactlyOnce, func(b *bed) { b.store = &store{} }, `sink "out" holds no batch, the commit log ends at batch 5: the job was not exactly-once before, or the sink or the folder is another one than before: put back`},
		"log replaced":      {connectors.ExactlyOnce, func(b *bed) { b.dir = b.t.TempDir() }, `sink "out" holds batch 5, the commit log ends at no batch: the sink or the folder is another one than before: put back`},
		"parallelism":       {connectors.AtLeastOnce, func(b *bed) { b.parallel = 3 }, `operators ["count"] ran with 2 state partitions and cannot go on with 3`},
	} {
		t.Run(name, func(t *testing.T) {
			b := used(t, c.g)
			c.do(b)
			p, err := b.tryStart("", 0)
			if c.want == "" { // noticed by the first batch
				if err != nil {
					t.Fatal(err)
				}
				err = p.Wait()
				p.cancel()
				if err == nil || !strings.Contains(err.Error(), "split in/0: records from position 150 to 151 were deleted") {
					t.Errorf("the job ended with %v", err)
				}
				if f := p.all("failed"); len(f) != 1 || !strings.Contains(f[0].(engines.Failed).Error, `source "in"`) {
					t.Errorf("events: %v", f)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("start: %v", err)
			}
		})
	}
}

func mustRemove(b *bed, name string) {
	if err := b.job().Folder.Remove(name); err != nil {
		b.t.Fatal(err)
	}
}
