package microbatch

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"streamduel/connectors"
	"streamduel/engines"
)

// BenchmarkExecutors is BenchmarkKeyedPipeline's job on one executor, the worker
// itself, and on processes: half of what is shuffled crosses from one to the other.
// Mrec/s says what a second core is worth, Mrec/cpu-s what it costs that it is in
// another process. It counts what the executors have used too.
func BenchmarkExecutors(b *testing.B) {
	for _, x := range []struct{ executors, cores int }{{1, 1}, {1, 2}, {2, 1}} {
		b.Run(fmt.Sprintf("executors=%d/cores=%d", x.executors, x.cores), func(b *testing.B) {
			cfg := Default()
			cfg.Interval, cfg.Rate.PID.Enabled, cfg.Rate.MaxRecordsPerBatch = Duration(time.Millisecond), false, 1_000_000
			cfg.Executors, cfg.Cores = x.executors, x.cores
			config, err := json.Marshal(cfg)
			if err != nil {
				b.Fatal(err)
			}
			line := farJob{Does: "bench", Records: int64(b.N), Guarantee: connectors.AtLeastOnce, Parallelism: 2, Folder: b.TempDir(), Config: config}
			job, _, err := line.job()
			if err != nil {
				b.Fatal(err)
			}
			job.Origins = false
			run, err := New().Start(context.Background(), job, cfg, engines.Runtime{Members: line.members(b)})
			if err != nil {
				b.Fatal(err)
			}
			used := cpu(b)
			children := cpuOf(b, unix.RUSAGE_CHILDREN)
			b.ResetTimer()
			if err := run.Wait(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			used = cpu(b) - used + cpuOf(b, unix.RUSAGE_CHILDREN) - children
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
			b.ReportMetric(float64(b.N)/used.Seconds()/1e6, "Mrec/cpu-s")
		})
	}
}
