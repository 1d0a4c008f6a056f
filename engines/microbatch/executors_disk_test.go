package microbatch

import (
	"path/filepath"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
)

// TestALostExecutorWithStateOnDisk: partitions move with the files that their
// versions share, which are there for as long as a version needs them and no
// longer, over a restart too.
func TestALostExecutorWithStateOnDisk(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) {
			f := newFar(t, g, func(c *Config) { c.Rate.MaxRecordsPerBatch, c.RetainedBatches = 150, 3 })
			f.line.Disk = true
			f.loseExecutors(2, 900)
			have, needed := f.shared()
			for _, name := range have {
				delete(needed, name)
			}
			// They are deleted every ten batches, when all executors live.
			if len(have) == 0 || len(have) > 300 || len(needed) > 0 {
				t.Errorf("%d shared files, missing: %v", len(have), needed)
			}
			p := f.startFar("", 0)
			f.produce(700)
			f.untilDurable(p)
			p.stop(engines.StopCheckpoint)
			f.exact()
			// Nothing is left in the working folders but by those that were killed, and
			// that only until the next start.
			if work, err := filepath.Glob(filepath.Join(f.dir, "lsm-work-*")); err != nil || len(work) != 0 {
				t.Error(work, err)
			}
		})
	}
}

// TestDriverDiesWithStateOnDisk: what the sink holds decides which version the
// executors go on from.
func TestDriverDiesWithStateOnDisk(t *testing.T) {
	for _, point := range []string{"M2", "T2"} {
		t.Run(point, func(t *testing.T) {
			f := newFar(t, connectors.ExactlyOnce, func(c *Config) { c.Rate.MaxRecordsPerBatch = 600 })
			f.line.Disk = true
			f.produce(3000)
			p := f.startFar(point, 3)
			if err := p.Wait(); err == nil {
				t.Fatal("no crash")
			}
			p.cancel()
			p = f.startFar("", 0)
			f.untilDurable(p)
			p.stop(engines.StopCheckpoint)
			f.exact()
		})
	}
}
