package control

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

func load(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

type pidVectorConfig struct {
	Interval float64 `json:"batch_interval_ms"`
	P        float64 `json:"proportional"`
	I        float64 `json:"integral"`
	D        float64 `json:"derivative"`
	MinRate  float64 `json:"min_rate"`
}

func (c pidVectorConfig) config() PIDConfig {
	return PIDConfig{Interval: time.Duration(c.Interval * 1e6), Proportional: c.P, Integral: c.I, Derivative: c.D, MinRate: c.MinRate}
}

// TestPIDVectors replays the cases of Spark's PIDRateEstimatorSuite.
func TestPIDVectors(t *testing.T) {
	var v struct {
		Invalid []pidVectorConfig `json:"invalid_configs"`
		Cases   []struct {
			Test   string          `json:"test"`
			Config pidVectorConfig `json:"config"`
			Calls  []struct {
				Time       float64 `json:"time_ms"`
				Elements   int64   `json:"num_elements"`
				Processing float64 `json:"processing_delay_ms"`
				Scheduling float64 `json:"scheduling_delay_ms"`
				Expect     any     `json:"expect_rate"`
			} `json:"calls"`
		} `json:"cases"`
	}
	load(t, "spark_pid_rate_estimator.json", &v)
	if len(v.Invalid) == 0 || len(v.Cases) == 0 {
		t.Fatal("the vectors are empty")
	}
	for _, c := range v.Invalid {
		if _, err := NewPID(c.config()); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	for _, c := range v.Cases {
		t.Run(c.Test, func(t *testing.T) {
			pid, err := NewPID(c.Config.config())
			if err != nil {
				t.Fatal(err)
			}
			for i, call := range c.Calls {
				rate, ok := pid.Completed(call.Time, call.Elements, call.Processing, call.Scheduling)
				switch want := call.Expect.(type) {
				case nil:
					if ok {
						t.Errorf("call %d: %v, want none", i, rate)
					}
				case string: // any_non_null
					if !ok {
						t.Errorf("call %d: none, want any", i)
					}
				case float64:
					if !ok || rate != want {
						t.Errorf("call %d: %v %v, want %v", i, rate, ok, want)
					}
				}
			}
		})
	}
}

// TestPIDStaysBelowSpeed is the suite's property: with some accumulated error
// the limit stays below the processing speed.
func TestPIDStaysBelowSpeed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pid, err := NewPID(PIDConfig{Interval: 20 * time.Millisecond, Proportional: 1, Integral: 0.01, MinRate: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		n, delay := 1+rng.Int64N(999), float64(rng.IntN(19))
		rate, ok := pid.Completed(float64(20*i), n, 20, delay)
		if ok != (i > 0) {
			t.Fatalf("call %d: estimate %v", i, ok)
		}
		speed := float64(n) / 20 * 1000
		if ok && delay > 0 && speed > 10 && rate >= speed {
			t.Errorf("call %d: %v records/s is not below the speed %v", i, rate, speed)
		}
	}
}

// TestTriggerVectors replays Spark's ProcessingTimeExecutorSuite.
func TestTriggerVectors(t *testing.T) {
	var v struct {
		Next []struct {
			Interval int64 `json:"interval_ms"`
			Now      int64 `json:"now_ms"`
			Expect   int64 `json:"expect_ms"`
		} `json:"next_batch_time"`
		Chained struct {
			Interval   int64 `json:"interval_ms"`
			Start      int64 `json:"start_ms"`
			Iterations int   `json:"iterations"`
			Expect     int64 `json:"expect_ms"`
		} `json:"chained"`
		Script struct {
			Interval int64 `json:"interval_ms"`
			Steps    []struct {
				Start   *int64  `json:"start_clock_at"`
				Set     int64   `json:"set_clock"`
				Takes   int64   `json:"batch_takes_ms"`
				Trigger []int64 `json:"expect_trigger_at"`
				Waiting int64   `json:"expect_waiting_for"`
			} `json:"steps"`
		} `json:"timing_script"`
	}
	load(t, "spark_processing_time_trigger.json", &v)
	const ms = int64(time.Millisecond)
	for _, c := range v.Next {
		if got := Boundary(c.Now*ms, time.Duration(c.Interval*ms)); got != c.Expect*ms {
			t.Errorf("after %d ms: %d, want %d ms", c.Now, got/ms, c.Expect)
		}
	}
	now := v.Chained.Start * ms
	for range v.Chained.Iterations {
		now = Boundary(now, time.Duration(v.Chained.Interval*ms))
	}
	if now != v.Chained.Expect*ms {
		t.Errorf("chained: %d ms, want %d", now/ms, v.Chained.Expect)
	}

	clock := Skipping{Interval: time.Duration(v.Script.Interval * ms)}
	for i, s := range v.Script.Steps {
		at := s.Set * ms
		if s.Start != nil {
			at = *s.Start * ms
		}
		var fired []int64
		for due := clock.Due(at); due <= at; due = clock.Due(at) {
			fired = append(fired, at/ms)
			clock.Started(at)
			if len(fired) == 1 { // only the first batch of a step takes long
				at += s.Takes * ms
			}
		}
		if !slices.Equal(fired, s.Trigger) || clock.Due(at) != s.Waiting*ms {
			t.Errorf("step %d: fired at %v then waits for %d; want %v, %d", i, fired, clock.Due(at)/ms, s.Trigger, s.Waiting)
		}
	}
}

func TestQueueingNeverSkips(t *testing.T) {
	const second = int64(time.Second)
	q := Queueing{Interval: time.Second}
	if got := q.Due(5*second + 1); got != 6*second {
		t.Fatalf("first tick at %d", got)
	}
	// The driver was away for four seconds: every tick is still to come.
	for want := 6 * second; want <= 10*second; want += second {
		if got := q.Due(10 * second); got != want {
			t.Fatalf("tick at %d, want %d", got, want)
		}
		q.Ticked()
	}
	if (&Queueing{Interval: time.Second}).Due(6*second) != 7*second {
		t.Error("the first tick lies strictly in the future")
	}
	// The clock was set, back or forward: one tick at once, then the grid again.
	for _, now := range []int64{3*second + 5, 900*second + 5} {
		q.Stepped(now)
		if got := q.Due(now); got != now {
			t.Errorf("after a step to %d the tick is at %d", now, got)
		}
		q.Ticked()
		if got := q.Due(now); got != now-5+second {
			t.Errorf("after a step to %d the second tick is at %d", now, got)
		}
	}
}

func TestTake(t *testing.T) {
	for _, c := range []struct {
		name string
		lag  []int64
		l    Limits
		want []int64
	}{
		{"no limit takes the whole backlog", []int64{10, 0, 5}, Limits{MinPerPartition: 1, Seconds: 1}, []int64{10, 0, 5}},
		{"a rate is split by lag", []int64{300, 100}, Limits{Rate: 40, Seconds: 1, MinPerPartition: 1}, []int64{30, 10}},
		{"times the interval, truncated", []int64{300, 100}, Limits{Rate: 10, Seconds: 0.5, MinPerPartition: 1}, []int64{3, 1}},
		{"at least the minimum of each partition", []int64{1000, 1}, Limits{Rate: 10, Seconds: 1, MinPerPartition: 2}, []int64{9, 1}},
		{"never beyond the end", []int64{5, 5}, Limits{Rate: 1000, Seconds: 1, MinPerPartition: 1}, []int64{5, 5}},
		{"the partition's cap holds under a rate", []int64{300, 100}, Limits{Rate: 40, MaxPerPartition: 12, Seconds: 1, MinPerPartition: 1}, []int64{12, 10}},
		{"the partition's cap alone is a rate", []int64{300, 3}, Limits{MaxPerPartition: 12, Seconds: 2, MinPerPartition: 1}, []int64{24, 3}},
		{"a cap on the batch is split by backlog", []int64{300, 100}, Limits{MaxRecords: 100}, []int64{75, 25}},
		{"a share below one is rounded up", []int64{1000, 1}, Limits{MaxRecords: 10}, []int64{9, 1}},
		{"a cap above the backlog does nothing", []int64{3, 4}, Limits{MaxRecords: 10}, []int64{3, 4}},
		{"the cap applies to what the rate leaves", []int64{900, 100}, Limits{Rate: 100, Seconds: 1, MaxRecords: 50, MinPerPartition: 1}, []int64{45, 5}},
		{"a rate beyond all numbers", []int64{5, 7}, Limits{Rate: 1e300, Seconds: 1, MinPerPartition: 1}, []int64{5, 7}},
		{"nothing waits", []int64{0, 0}, Limits{Rate: 10, Seconds: 1, MinPerPartition: 1}, []int64{0, 0}},
	} {
		if got := Take(c.lag, c.l); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestHold(t *testing.T) {
	const second = int64(time.Second)
	for _, c := range []struct {
		name string
		h    Hold
		// at second, available, held
		steps [][3]int64
	}{
		{"nothing is held without a minimum", Hold{MaxDelay: time.Hour}, [][3]int64{{0, 0, 0}, {1, 1, 0}}},
		{"the first is let through", Hold{MinRecords: 10, MaxDelay: time.Minute}, [][3]int64{{5, 1, 0}, {6, 1, 1}}},
		{"until enough wait", Hold{MinRecords: 10, MaxDelay: time.Minute}, [][3]int64{{5, 1, 0}, {6, 9, 1}, {7, 10, 0}, {8, 3, 1}}},
		{"or long enough", Hold{MinRecords: 10, MaxDelay: time.Minute}, [][3]int64{{5, 1, 0}, {64, 9, 1}, {65, 9, 0}, {66, 9, 1}, {125, 9, 0}}},
		{"the delay runs without data too", Hold{MinRecords: 10, MaxDelay: time.Minute}, [][3]int64{{0, 1, 0}, {60, 0, 0}, {61, 5, 1}}},
	} {
		for i, s := range c.steps {
			if got := c.h.Back(s[0]*second, s[1]); got != (s[2] == 1) {
				t.Errorf("%s, step %d: held %v", c.name, i, got)
			}
		}
	}
}
