package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"streamduel/harness/proc"
)

// Exit codes of the broker process, as the command's.
const (
	exitOK          = 0
	exitUsage       = 2
	exitEnvironment = 4
)

// job is the first line of the broker process's input.
type job struct {
	Port int `json:"port"` // 0 takes a free one
	// MemoryLimit is the heap in bytes from which the collector works harder.
	MemoryLimit int64 `json:"memoryLimit,omitempty"`
}

// ready is the event that tells where the broker listens.
type ready struct {
	Address string `json:"address"`
	Version string `json:"version"`
}

// Stats is what the embedded broker's process holds.
type Stats struct {
	ID        int64  `json:"id"`
	HeapBytes uint64 `json:"heapBytes"` // live and not yet swept objects
	SysBytes  uint64 `json:"sysBytes"`  // taken from the system
	GCs       uint32 `json:"gcs"`
}

// Main runs the embedded broker until standard input ends. It prints one ready
// line; the only command is {"id":n,"stats":{}}.
func Main(ctx context.Context, in io.Reader, out, errs io.Writer) int {
	s := proc.NewServer(in, out)
	var j job
	if err := s.Job(&j); err != nil {
		fmt.Fprintln(errs, "broker:", err)
		return exitUsage
	}
	// Records lie in large slices without pointers, which cost the collector
	// nothing to mark: collecting early is cheap and keeps the heap near what
	// is held.
	debug.SetGCPercent(60)
	if j.MemoryLimit > 0 {
		debug.SetMemoryLimit(j.MemoryLimit)
	}
	c, err := embedded(j.Port)
	if err != nil {
		fmt.Fprintln(errs, "broker:", err)
		return exitEnvironment
	}
	defer c.Close()
	ctx = s.Commands(ctx, func(line []byte) {
		var cmd struct {
			ID    int64     `json:"id"`
			Stats *struct{} `json:"stats"`
		}
		if err := proc.Strict(line, &cmd); err != nil || cmd.Stats == nil {
			s.Answer(cmd.ID, fmt.Errorf("command %s is not understood", line))
			return
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.Emit("stats", Stats{ID: cmd.ID, HeapBytes: m.HeapAlloc, SysBytes: m.Sys - m.HeapReleased, GCs: m.NumGC})
	})
	s.Emit("ready", ready{Address: c.ListenAddrs()[0], Version: Version()})
	<-ctx.Done()
	return exitOK
}

func embedded(port int) (*kfake.Cluster, error) {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("streamduel"),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes":          strconv.Itoa(embeddedSegment),
			"transaction.max.timeout.ms": "900000",
		}),
	}
	if port != 0 {
		opts = append(opts, kfake.Ports(port))
	}
	c, err := kfake.NewCluster(opts...)
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d is in use; name another one or leave it out to take a free one", port)
	case errors.As(err, &op):
		return nil, fmt.Errorf("cannot listen on port %d: %w", port, op.Err)
	case err != nil:
		return nil, err
	}
	return c, nil
}

// embeddedSegment is small, because whole segments are freed.
const embeddedSegment = 512 << 10

// Version names the embedded broker and its version.
func Version() string {
	const path = "github.com/twmb/franz-go/pkg/kfake"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return "kfake " + strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	return "kfake"
}
