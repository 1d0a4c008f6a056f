package load

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/harness/proc"
	"streamduel/workloads"
)

// Exit codes of the load process, as the command's.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitEnvironment = 4
)

// Main runs the load process until the load is finished or standard input
// ends. Workloads must be registered.
func Main(ctx context.Context, in io.Reader, out, errs io.Writer) int {
	s := proc.NewServer(in, out)
	var j Job
	err := s.Job(&j)
	if err == nil {
		err = j.check()
	}
	var gen workloads.Generator
	if err == nil {
		gen, err = generator(j)
	}
	if err != nil {
		fmt.Fprintln(errs, "load:", err)
		return exitUsage
	}
	// A collection delays records, so there should be few: the client makes some
	// garbage for each batch, the live heap is small, and a block that is never
	// touched (and so never becomes resident) lets more of it gather.
	debug.SetGCPercent(400)
	ballast := make([]byte, 32<<20)
	defer runtime.KeepAlive(ballast)
	r := newRun(j, gen, s.Emit)
	ctx = s.Commands(ctx, func(line []byte) {
		var c Command
		if err := proc.Strict(line, &c); err != nil {
			s.Answer(c.ID, fmt.Errorf("command %s is not understood: %w", line, err))
			return
		}
		effect, err := r.command(c)
		s.Answer(c.ID, err)
		if effect != nil {
			effect()
		}
	})
	if err := r.connect(ctx); err != nil {
		if ctx.Err() != nil {
			return exitOK
		}
		fmt.Fprintln(errs, "load:", err)
		return exitEnvironment
	}
	defer r.close()
	s.Emit("ready", Ready{})
	if err := r.run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(errs, "load:", err)
		return exitFailed
	}
	return exitOK
}

// generator makes the workload's generator from the job's parameters.
func generator(j Job) (workloads.Generator, error) {
	w := workloads.Lookup(j.Workload)
	if w == nil {
		return nil, fmt.Errorf("workload %q is not known here", j.Workload)
	}
	params := w.Params()
	if len(j.Params) > 0 {
		if err := proc.Strict(j.Params, params); err != nil {
			return nil, fmt.Errorf("workload %s: %w", j.Workload, err)
		}
	}
	if v, ok := params.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return nil, fmt.Errorf("workload %s: %w", j.Workload, err)
		}
	}
	g, err := w.Generator(params, j.Seed)
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", j.Workload, err)
	}
	if _, ok := g.(workloads.Spoiler); !ok && j.Plan.Shape().Bad.Any() {
		return nil, fmt.Errorf("workload %s: the load is to hold bad records, which its generator cannot make: it has no method AppendBad", j.Workload)
	}
	return g, nil
}

func (r *run) connect(ctx context.Context) error {
	j := r.job
	metadata := orMillis(j.MetadataMillis, time.Second)
	buffered := j.BufferedRecords
	if buffered == 0 {
		buffered = 1 << 20
	}
	linger := time.Millisecond
	if j.LingerMicros != nil {
		linger = time.Duration(*j.LingerMicros) * time.Microsecond
	}
	var err error
	r.client, err = kgo.NewClient(
		kgo.SeedBrokers(j.Brokers...),
		kgo.ClientID("streamduel-load"),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(r.topics.partitioner)),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(linger),
		kgo.MaxBufferedRecords(buffered),
		kgo.UnknownTopicRetries(-1),
		kgo.MetadataMaxAge(metadata),
		kgo.MetadataMinAge(min(metadata, 100*time.Millisecond)),
	)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Asked for now, so that the first record does not wait for it.
	if _, _, err := r.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("%s does not answer within 5s: %w", strings.Join(j.Brokers, ","), err)
	}
	return nil
}

func orMillis(ms int64, otherwise time.Duration) time.Duration {
	if ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	return otherwise
}

// close ends the client, but does not wait long for a broker that may be gone.
func (r *run) close() {
	closed := make(chan struct{})
	go func() {
		r.client.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(300 * time.Millisecond):
	}
}
