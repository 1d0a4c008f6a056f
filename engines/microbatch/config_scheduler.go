package microbatch

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"streamduel/engines/microbatch/schedule"
)

// SchedulerConfig says how tasks get cores. The names are those of spark.scheduler,
// spark.locality, spark.task and spark.speculation; so are the defaults.
type SchedulerConfig struct {
	// Mode among pools: fifo (by batch and stage; pools do not count) or fair.
	Mode schedule.Mode `json:"mode"`
	// Pool that the job's batches run in, ReceiverPool that of its receivers.
	Pool         string `json:"pool"`
	ReceiverPool string `json:"receiverPool"`
	// Pools by name; one that is not there has weight 1 and no minimum.
	Pools map[string]PoolConfig `json:"pools,omitempty"`
	// LocalityWait is how long a task set holds out for each level.
	LocalityWait LocalityWait `json:"localityWait"`
	// MaxFailures is how often a task may fail before its batch and the job do.
	MaxFailures int               `json:"maxFailures"`
	Speculation SpeculationConfig `json:"speculation"`
	// ConcurrentJobs is how many batches run at once under the queueing clock. More
	// than one is for jobs without state, and not under exactly-once: a
	// transaction holds one batch.
	ConcurrentJobs int `json:"concurrentJobs"`
}

// PoolConfig is a scheduling pool.
type PoolConfig struct {
	Mode     schedule.Mode `json:"mode"`     // among the pool's batches
	Weight   int           `json:"weight"`   // relative to other pools
	MinShare int           `json:"minShare"` // cores that it gets before weights count
}

// LocalityWait are the waits of delay scheduling, by level.
type LocalityWait struct {
	Process Duration `json:"process"`
	Node    Duration `json:"node"`
	Rack    Duration `json:"rack"`
}

// SpeculationConfig runs slow tasks a second time on another host. Tasks that
// write to a sink are never run twice at once, whatever is set here.
type SpeculationConfig struct {
	Enabled    bool     `json:"enabled"`
	Quantile   float64  `json:"quantile"`   // share of a stage's tasks that must have succeeded
	Multiplier float64  `json:"multiplier"` // slow is beyond so many times their median
	MinRuntime Duration `json:"minRuntime"` // and beyond this
}

func defaultScheduler() SchedulerConfig {
	d := schedule.Defaults()
	return SchedulerConfig{
		Mode: d.Mode, Pool: "default", ReceiverPool: "default", MaxFailures: d.MaxFailures, ConcurrentJobs: 1,
		LocalityWait: LocalityWait{Duration(d.Waits.Process), Duration(d.Waits.Node), Duration(d.Waits.Rack)},
		Speculation:  SpeculationConfig{Quantile: d.Speculation.Quantile, Multiplier: d.Speculation.Multiplier, MinRuntime: Duration(d.Speculation.MinRuntime)},
	}
}

func (c *SchedulerConfig) validate(check func(ok bool, text string)) {
	modes := []schedule.Mode{schedule.FIFO, schedule.FAIR}
	check(slices.Contains(modes, c.Mode), "scheduler.mode: one of fifo, fair")
	for _, name := range slices.Sorted(maps.Keys(c.Pools)) {
		p := c.Pools[name]
		check(p.Mode == "" || slices.Contains(modes, p.Mode), fmt.Sprintf("scheduler.pools.%s.mode: one of fifo, fair", name))
		check(p.Weight >= 0, fmt.Sprintf("scheduler.pools.%s.weight: 1 or more, 0 is 1", name))
		check(p.MinShare >= 0, fmt.Sprintf("scheduler.pools.%s.minShare: 0 or more cores", name))
	}
	check(c.MaxFailures >= 1 && c.MaxFailures <= 100, "scheduler.maxFailures: 1 to 100")
	check(c.ConcurrentJobs >= 1 && c.ConcurrentJobs <= 64, "scheduler.concurrentJobs: 1 to 64")
	s := c.Speculation
	check(s.Quantile >= 0 && s.Quantile <= 1, "scheduler.speculation.quantile: 0 to 1")
	check(s.Multiplier >= 1, "scheduler.speculation.multiplier: 1 or more")
}

func (c *SchedulerConfig) config() schedule.Config {
	out := schedule.Config{
		Mode: c.Mode, MaxFailures: c.MaxFailures, Pools: map[string]schedule.Pool{},
		Waits: schedule.Waits{Process: time.Duration(c.LocalityWait.Process), Node: time.Duration(c.LocalityWait.Node), Rack: time.Duration(c.LocalityWait.Rack)},
		Speculation: schedule.Speculation{
			Enabled: c.Speculation.Enabled, Quantile: c.Speculation.Quantile, Multiplier: c.Speculation.Multiplier, MinRuntime: time.Duration(c.Speculation.MinRuntime),
		},
	}
	for name, p := range c.Pools {
		out.Pools[name] = schedule.Pool{Mode: p.Mode, Weight: p.Weight, MinShare: p.MinShare}
	}
	return out
}
