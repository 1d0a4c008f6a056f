package pipeline_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// command is what an element tells the timer job to do for its key.
type command struct {
	key string
	op  byte // + sets an event timer, - deletes it; p and m the same in processing time; = does nothing
	at  int64
}

func (c command) String() string { return fmt.Sprintf("%s%c%d", c.key, c.op, c.at) }

var commandCodec = codec.Struct("command/1", func(d []byte, c command) []byte {
	return codec.Int64{}.Append(append(codec.StringView{}.Append(d, c.key), c.op), c.at)
}, func(b []byte) (c command, n int, err error) {
	if c.key, n, err = (codec.StringView{}).Decode(b); err != nil || len(b) < n+9 {
		return c, n, codec.ErrShort
	}
	c.op = b[n]
	c.at, _, _ = codec.Int64{}.Decode(b[n+1:])
	return c, n + 9, nil
}, func(c command) command { c.key = strings.Clone(c.key); return c })

// timerJob obeys commands and puts out each timer that fires. A timer at a
// multiple of 100 sets one a step of 7 later.
func timerJob(g *pipeline.Graph) {
	in := pipeline.From(g, "in", source("in"), func(r *connectors.Record) (c command, err error) {
		_, err = fmt.Sscanf(string(r.Value), "%1s%c%d", &c.key, &c.op, &c.at)
		return c, err
	}, pipeline.EventTime(func(command) int64 { return 0 }, pipeline.Watermarks{})).Codec(commandCodec)
	byKey := pipeline.KeyBy(in, func(c command) string { return c.key }).KeyCodec(codec.StringView{})
	toText(pipeline.Process(byKey, "timers", func(*pipeline.Setup[string]) pipeline.Function[string, command, string] {
		return pipeline.Function[string, command, string]{
			Element: func(c command, k *pipeline.KeyedCtx[string], _ func(string)) {
				switch c.op {
				case '+':
					k.EventTimer(c.at)
				case '-':
					k.DeleteEventTimer(c.at)
				case 'p':
					k.ProcessingTimer(c.at)
				case 'm':
					k.DeleteProcessingTimer(c.at)
				}
			},
			EventTimer: func(ts int64, k *pipeline.KeyedCtx[string], emit func(string)) {
				if k.Timestamp != ts || k.Watermark() < ts || k.Origin.Partition != -1 {
					k.Fail(fmt.Errorf("timer %d: timestamp %d, watermark %d, origin %v", ts, k.Timestamp, k.Watermark(), k.Origin))
				}
				emit(fmt.Sprintf("e%s@%d", k.Key(), ts))
				if ts%100 == 0 {
					k.EventTimer(ts + 7)
				}
			},
			ProcessingTimer: func(ts int64, k *pipeline.KeyedCtx[string], emit func(string)) {
				if k.Timestamp != pipeline.NoTime || k.ProcessingTime() < ts {
					k.Fail(fmt.Errorf("timer %d: timestamp %d, time %d", ts, k.Timestamp, k.ProcessingTime()))
				}
				emit(fmt.Sprintf("p%s@%d", k.Key(), ts))
			},
		}
	}), "out")
}

func TestTimers(t *testing.T) {
	for _, c := range []struct {
		name, want string
		steps      string // commands; w12 moves the watermark, t12 the time
	}{
		{"once, when reached", "ea@5", "a+5 w4 w5 w6"},
		{"at once when it lies behind", "ea@5", "w9 a+5 w9"},
		{"the same twice is one", "ea@5", "a+5 a+5 w5"},
		{"one per key and time", "ea@5 ea@6 eb@5", "a+5 b+5 a+6 w9"},
		{"in the order of time", "ea@1 ea@2 ea@3", "a+3 a+1 a+2 w9"},
		{"deleted", "eb@5", "a+5 b+5 a-5 w9"},
		{"deleted and set again", "ea@5", "a+5 a-5 a+5 w9"},
		{"deleted, set, deleted", "", "a+5 a-5 a+5 a-5 w9"},
		{"deleted before it is set", "ea@5", "a-5 a+5 w9"},
		{"set again after it fired", "ea@5 ea@5", "a+5 w9 a+5 w9"},
		{"set by a timer, in the same move", "ea@100 ea@107", "a+100 w200"},
		{"set by a timer, in a later move", "ea@100 ea@107", "a+100 w100 w106 w107"},
		{"a watermark does not move back", "ea@5", "w9 w1 a+5 w1"},
		{"processing time", "pa@5 pb@6", "ap5 bp6 t5 w99 t9"},
		{"processing time, deleted", "", "ap5 am5 t9"},
		{"both kinds of one key and time", "ea@5 pa@5", "a+5 ap5 w5 t5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
				g := pipeline.New("test")
				timerJob(g)
				h := pipelinetest.New(t, g, opt)
				run(t, h, c.steps)
				var got []string
				for _, w := range h.Output["out"] {
					got = append(got, string(w.Value))
				}
				slices.Sort(got) // keys have no order among each other
				if s := strings.Join(got, " "); s != c.want {
					t.Errorf("%s: %q, want %q", c.steps, s, c.want)
				}
			})
		})
	}
}

func run(t interface{ Fatal(...any) }, h *pipelinetest.Host, steps string) {
	for _, step := range strings.Fields(steps) {
		var at int64
		var err error
		switch step[0] {
		case 'w', 't':
			if at, err = strconv.ParseInt(step[1:], 10, 64); err != nil {
				t.Fatal(step, err)
			}
			if step[0] == 'w' {
				err = h.Watermark(at)
			} else {
				err = h.ProcessingTime(at)
			}
		default:
			err = h.Push("in", batch(0, step))
		}
		if err != nil {
			t.Fatal(step, err)
		}
	}
}

func next(h *pipelinetest.Host) (event, processing int64) {
	event, processing = math.MaxInt64, math.MaxInt64
	for _, ts := range h.Tasks {
		for _, task := range ts {
			event, processing = min(event, task.NextEventTimer()), min(processing, task.NextProcessingTimer())
		}
	}
	return event, processing
}

// Against a plain list: whatever is set and deleted, whenever time moves, and
// however often the job is snapshotted and restored at another parallelism.
func TestTimersAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		build := func() *pipelinetest.Host {
			g := pipeline.New("test")
			timerJob(g)
			h, err := pipelinetest.Build(g, pipelinetest.Options{
				Parallelism: rapid.IntRange(1, 4).Draw(t, "parallelism"), Buffers: rapid.IntRange(1, 2).Draw(t, "buffers"),
				Unchained: rapid.Bool().Draw(t, "unchained"),
			})
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		h := build()
		event, processing := map[command]bool{}, map[command]bool{}
		watermark := int64(-1)
		var want []string
		fire := func(set map[command]bool, kind string, upTo int64) {
			for {
				first := command{at: math.MaxInt64} // in the order of time, keys in any
				for c := range set {
					if c.at < first.at {
						first = c
					}
				}
				if first.at > upTo {
					return
				}
				delete(set, first)
				want = append(want, fmt.Sprintf("%s%s@%d", kind, first.key, first.at))
				if kind == "e" && first.at%100 == 0 {
					set[command{key: first.key, at: first.at + 7}] = true
				}
			}
		}
		var got []string
		take := func() {
			for _, w := range h.Output["out"] {
				got = append(got, string(w.Value))
			}
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key")
			at := rapid.SampledFrom([]int64{0, 1, 2, 3, 50, 100, 107, 200, 300}).Draw(t, "at")
			id := command{key: key, at: at}
			switch op := rapid.IntRange(0, 8).Draw(t, "op"); op {
			case 0, 1:
				run(t, h, fmt.Sprintf("%s+%d", key, at))
				event[id] = true
			case 2:
				run(t, h, fmt.Sprintf("%s-%d", key, at))
				delete(event, id)
			case 3:
				run(t, h, fmt.Sprintf("%sp%d", key, at))
				processing[id] = true
			case 4:
				run(t, h, fmt.Sprintf("%sm%d", key, at))
				delete(processing, id)
			case 5, 6:
				watermark = max(watermark, at)
				run(t, h, fmt.Sprintf("w%d", at))
				fire(event, "e", watermark)
			case 7:
				now := at
				run(t, h, fmt.Sprintf("t%d", at))
				fire(processing, "p", now)
			default:
				take()
				snapshots := h.Snapshot()
				h.Close()
				h = build()
				if err := h.Restore(snapshots); err != nil {
					t.Fatal(err)
				}
				run(t, h, fmt.Sprintf("w%d", watermark)) // engines bring it back
				fire(event, "e", watermark)
			}
			wantEvent, wantProcessing := int64(math.MaxInt64), int64(math.MaxInt64)
			for c := range event {
				wantEvent = min(wantEvent, c.at)
			}
			for c := range processing {
				wantProcessing = min(wantProcessing, c.at)
			}
			if e, p := next(h); e != wantEvent || p != wantProcessing {
				t.Fatalf("next timers are %d and %d, want %d and %d", e, p, wantEvent, wantProcessing)
			}
		}
		take()
		h.Close()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("fired %v\nwant  %v", got, want)
		}
	})
}

// An exchange without a free buffer stops timers in the middle; called again,
// they go on where they stopped, and each fires once.
func TestTimersStopWhenStarved(t *testing.T) {
	g := pipeline.New("test")
	timerJob(g)
	h := pipelinetest.New(t, g, pipelinetest.Options{Unchained: true, Buffers: 1})
	const n = 20_000 // far more than a buffer holds
	b := batch(0)
	for i := range n {
		b.Records = append(b.Records, connectors.Record{Value: fmt.Appendf(nil, "a+%d", 1000+i*2+1)})
	}
	if err := h.Push("in", b); err != nil {
		t.Fatal(err)
	}
	stops := 0
	for fi, f := range h.Fragments {
		if f.Name != "timers" {
			continue
		}
		task := h.Tasks[fi][0]
		for {
			done, err := task.Watermark(math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			if done {
				break
			}
			stops++
			if err := h.Deliver(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.Deliver(); err != nil {
		t.Fatal(err)
	}
	if got := len(h.Output["out"]); got != n || stops == 0 {
		t.Errorf("%d timers fired with %d stops, want %d", got, stops, n)
	}
	for i, w := range h.Output["out"] {
		if want := fmt.Sprintf("ea@%d", 1000+i*2+1); string(w.Value) != want {
			t.Fatalf("timer %d is %s, want %s", i, w.Value, want)
		}
	}
}
