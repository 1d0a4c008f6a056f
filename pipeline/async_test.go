package pipeline_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// asking runs numbers through AsyncMap and returns what came out, in order. What
// a test waits for is the bubble's time.
func asking(t *testing.T, await bool, o pipeline.Async, call func(context.Context, int64) ([]int64, error), timedOut func(int64) []int64, in ...string) (got string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := pipeline.New("test")
		toText(pipeline.AsyncMap(numbers(g, "in"), "ask", o, call, timedOut), "out")
		var h *pipelinetest.Host
		if h, err = pipelinetest.Build(g, pipelinetest.Options{Await: await}); err != nil {
			return
		}
		defer func() {
			h.Close()
			<-time.After(2 * time.Minute) // all goroutines have ended
		}()
		if err = h.Push("in", batch(0, in...)); err == nil {
			if err = h.Watermark(1); err == nil {
				err = h.Settle()
			}
		}
		var vs []string
		for _, w := range h.Output["out"] {
			vs = append(vs, string(w.Value))
		}
		got = strings.Join(vs, " ")
	})
	return got, err
}

func TestAsyncMap(t *testing.T) {
	// Each number waits for as many milliseconds.
	slow := func(ctx context.Context, v int64) ([]int64, error) {
		select {
		case <-time.After(time.Duration(v) * time.Millisecond):
			return []int64{v}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	late := func(v int64) []int64 { return []int64{-v} }
	for _, await := range []bool{false, true} {
		for _, c := range []struct {
			name, in, want string
			o              pipeline.Async
			call           func(context.Context, int64) ([]int64, error)
			timedOut       func(int64) []int64
		}{
			{"ordered", "50 10 30 20", "50 10 30 20", pipeline.Async{}, slow, nil},
			{"unordered", "50 10 30 20", "10 20 30 50", pipeline.Async{Unordered: true}, slow, nil},
			{"unordered, two at a time", "50 10 30 20", "10 30 50 20", pipeline.Async{Unordered: true, Capacity: 2}, slow, nil},
			{"one at a time", "3 2 1", "3 2 1", pipeline.Async{Unordered: true, Capacity: 1}, slow, nil},
			{"timed out", "5 50 7", "5 -50 7", pipeline.Async{Timeout: 20 * time.Millisecond}, slow, late},
			{"several and none", "1 0 2", "1 2 2", pipeline.Async{}, func(_ context.Context, v int64) (out []int64, err error) {
				for range v {
					out = append(out, v)
				}
				return out, nil
			}, nil},
			{"a function that does not end in time", "5", "-5", pipeline.Async{Timeout: 10 * time.Millisecond}, func(context.Context, int64) ([]int64, error) {
				<-time.After(time.Minute) // of the bubble
				return nil, nil
			}, late},
		} {
			t.Run(c.name+" await="+strconv.FormatBool(await), func(t *testing.T) {
				got, err := asking(t, await, c.o, c.call, c.timedOut, strings.Fields(c.in)...)
				if err != nil || got != c.want {
					t.Errorf("%q, %v; want %q", got, err, c.want)
				}
			})
		}
	}
}

func TestAsyncMapTriesAgain(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		failures int64
		want     string
		took     time.Duration
	}{{0, "7", 0}, {2, "7", 300 * time.Millisecond}, {3, "7", 550 * time.Millisecond}, {4, "", 0}} {
		var calls atomic.Int64
		var took time.Duration
		got, err := asking(t, false, pipeline.Async{Attempts: 4, Backoff: 100 * time.Millisecond, MaxBackoff: 250 * time.Millisecond}, func() func(context.Context, int64) ([]int64, error) {
			var begun time.Time
			return func(_ context.Context, v int64) ([]int64, error) {
				if calls.Add(1) == 1 {
					begun = time.Now()
				}
				if calls.Load() <= c.failures {
					return nil, refused
				}
				took = time.Since(begun)
				return []int64{v}, nil
			}
		}(), nil, "7")
		if got != c.want || took != c.took || (c.want == "") != errors.Is(err, refused) {
			t.Errorf("%d failures: %q after %v, %v; want %q after %v", c.failures, got, took, err, c.want, c.took)
		}
	}
	if _, err := asking(t, true, pipeline.Async{Timeout: time.Millisecond}, func(ctx context.Context, _ int64) ([]int64, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil, "7"); err == nil || !strings.Contains(err.Error(), `operator "ask": no answer within 1ms`) {
		t.Errorf("without a function for timeouts: %v", err)
	}
}

// What is under way is in the snapshot, and is asked about again.
func TestAsyncMapRestores(t *testing.T) {
	gate := make(chan struct{})
	var asked atomic.Int64
	build := func(g *pipeline.Graph) {
		toText(pipeline.AsyncMap(numbers(g, "in"), "ask", pipeline.Async{Capacity: 8}, func(ctx context.Context, v int64) ([]int64, error) {
			asked.Add(1)
			select {
			case <-gate:
				return []int64{v}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}, nil), "out")
	}
	g := pipeline.New("test")
	build(g)
	h := pipelinetest.New(t, g, pipelinetest.Options{Parallelism: 2})
	for p := range int32(2) {
		if err := h.Push("in", batch(p, "1", "2", "3")); err != nil {
			t.Fatal(err)
		}
	}
	snapshot := h.Snapshot()
	close(gate)
	g = pipeline.New("test")
	build(g)
	again := pipelinetest.New(t, g, pipelinetest.Options{Parallelism: 3})
	if err := again.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	if err := again.Settle(); err != nil {
		t.Fatal(err)
	}
	if got := out(again, "out"); got != "1 1 2 2 3 3" || len(h.Output["out"]) != 0 {
		t.Errorf("after the restore %q, before %v", got, h.Output["out"])
	}
}
