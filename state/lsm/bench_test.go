package lsm

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/state"
)

// benchKeys is how many keys the benchmark's table has; LSM_BENCH_KEYS=10000000
// makes it the one that the memory is bounded for.
func benchKeys(b *testing.B) int64 {
	v := os.Getenv("LSM_BENCH_KEYS")
	if v == "" {
		return 1_000_000
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// benchMemory is what the job's state is given; LSM_BENCH_MEMORY says it in MiB.
func benchMemory(b *testing.B) int64 {
	v := os.Getenv("LSM_BENCH_MEMORY")
	if v == "" {
		return 512 << 20
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 20
}

// processor returns the processor time that the process has used, the flushes',
// compactions' and collector's included.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident returns a figure of the process's memory in MiB from the kernel.
func resident(b *testing.B, field string) float64 {
	s, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // not Linux
	}
	for line := range strings.Lines(string(s)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	return 0
}

// benchAhead is how many keys are read together, as many as a buffer of 32 KiB
// has of records of 32 bytes; LSM_BENCH_AHEAD=1 reads each when its turn comes.
func benchAhead(b *testing.B) int {
	v := os.Getenv("LSM_BENCH_AHEAD")
	if v == "" {
		return state.WarmStored
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkCount counts records by a key drawn evenly from all: the worst case
// for a cache. Records a second include write-back, flushes and compactions; the
// table is filled before. Run it with -cpu 1 for a core's figure; where others
// use the machine too, records/cpu-s is what a core of one's own would do.
func BenchmarkCount(b *testing.B) {
	keys := benchKeys(b)
	shared, err := state.OpenFolder(b.TempDir(), state.DurableProcess)
	if err != nil {
		b.Fatal(err)
	}
	back, err := New(sized(Config{Dir: b.TempDir(), Shared: shared}, benchMemory(b), 1))
	if err != nil {
		b.Fatal(err)
	}
	defer back.Close()
	set := state.NewSet(state.RangeOf(0, 1, 128), 128)
	if err := set.UseBackend(back); err != nil {
		b.Fatal(err)
	}
	defer set.Close()
	t, err := state.NewTable(set, "op", "counts", codec.Codec[int64](codec.Int64{}), codec.Codec[int64](codec.Int64{}))
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]int64, benchAhead(b))
	begun, used := time.Now(), processor()
	for i := int64(0); i < keys; {
		batch := batch[:0]
		for ; i < keys && len(batch) < cap(batch); i++ {
			batch = append(batch, i)
		}
		t.Warm(batch)
		for _, k := range batch {
			p, _ := t.Ref(k)
			*p = 1
		}
	}
	filled, filling := time.Since(begun), processor()-used
	used = processor()
	x := uint64(88172645463325252)
	b.ReportAllocs()
	next := len(batch)
	for b.Loop() {
		if next == len(batch) {
			next = 0
			for i := range batch {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
				batch[i] = int64(x % uint64(keys))
			}
			t.Warm(batch)
		}
		p, _ := t.Ref(batch[next])
		next++
		*p++
	}
	used = processor() - used
	b.ReportMetric(1e9/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "records/s")
	b.ReportMetric(float64(b.N)/used.Seconds(), "records/cpu-s")
	b.ReportMetric(float64(keys)/filled.Seconds(), "fill-records/s")
	b.ReportMetric(float64(keys)/filling.Seconds(), "fill-records/cpu-s")
	b.ReportMetric(resident(b, "VmHWM"), "peak-MiB")
	if os.Getenv("LSM_BENCH_METRICS") != "" {
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		for st := range back.open {
			b.Logf("go sys %d MiB, heap %d; rss %.0f\n%s", ms.Sys>>20, ms.HeapInuse>>20, resident(b, "VmRSS"), st.db.Metrics())
		}
	}
	begun = time.Now()
	s := set.SnapshotAsync(true)
	b.ReportMetric(float64(time.Since(begun).Microseconds())/1000, "cut-ms")
	if _, err := s.Append(nil); err != nil {
		b.Fatal(err)
	}
	if err := set.Err(); err != nil {
		b.Fatal(err)
	}
}
