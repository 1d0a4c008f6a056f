package microbatch

import (
	"fmt"
	"maps"
	"time"

	"streamduel/engines"
	"streamduel/engines/microbatch/control"
)

// epochReport is what a task says when it has come to an epoch's end.
type epochReport struct {
	task  int
	epoch int64
	report
}

// continuous is the driver's side of continuous processing.
type continuous struct {
	run     *run
	source  *source
	dealt   int // splits that tasks have been told of
	epochs  *control.Epochs[report]
	tasks   []*reading
	reports chan epochReport
	began   time.Time // of the oldest epoch that is not committed
	ending  bool      // the last marker is on its way
}

// driveContinuous is continuous processing. The tasks are started once. Each
// interval the driver sends a marker to all of them; a task that meets it waits
// for its sinks, reports where it is and reads on. When all have reported, the
// ends are logged and the epoch is committed. A crash begins again at the last
// committed epoch's ends: at least once.
func (r *run) driveContinuous() error {
	g := r.slots[0].generation.Load()
	c := &continuous{run: r, source: r.sources[0], tasks: g.readings(), began: time.Now()}
	if err := r.lookStreaming(c.source, true); err != nil {
		return err
	}
	c.epochs = control.NewEpochs[report](len(c.tasks), r.cfg.Continuous.EpochBacklog)
	c.reports = make(chan epochReport, len(c.tasks))
	number, tasks := map[*task]int{}, map[*task]*reading{}
	for i, x := range c.tasks {
		number[x.t], tasks[x.t] = i, x
		x.far = func(s said) {
			c.source.tookFar(s.Report)
			_ = c.say(g, epochReport{i, s.Epoch, *s.Report}) // the job is over
		}
	}
	c.deal()
	ended := r.longRunning(g, r.nextBatch<<7, tasks, func(_ *stage, t *task) error {
		k := number[t]
		return c.tasks[k].run(g.ctx, func(o order) error {
			said, err := c.tasks[k].report(g.ctx)
			if err != nil {
				return err
			}
			return c.say(g, epochReport{k, o.Epoch, said})
		})
	})
	over := false
	defer func() { // the tasks use what the caller is going to close
		if !over {
			g.cancel()
			<-ended //nolint:errcheck // the echo of the cancelling
		}
	}()
	tick := time.NewTicker(r.cfg.Interval.Std())
	defer tick.Stop()
	stop := r.stop
	for {
		var err error
		select {
		case <-tick.C:
			err = c.tick()
		case said := <-c.reports:
			err = c.reported(said)
		case <-stop:
			stop = nil
			if !r.bounded || r.stopMode() != engines.StopDrain { // else the source's end ends the job
				err = c.mark(true)
			}
		case err = <-ended:
			over = true
			for err == nil && len(c.reports) > 0 {
				err = c.reported(<-c.reports)
			}
			return err
		case <-r.ctx.Done():
			err = r.ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// say brings the driver a report.
func (c *continuous) say(g *generation, said epochReport) error {
	select {
	case c.reports <- said:
		return nil
	case <-g.ctx.Done():
		return g.ctx.Err()
	}
}

// deal tells the tasks of the splits that they do not know yet.
func (c *continuous) deal() {
	c.source.deal(c.tasks, c.dealt)
	c.dealt = len(c.source.known())
}

func (c *continuous) tick() error {
	if err := c.run.maintenance.failed(); err != nil {
		return err
	}
	if err := c.run.lookStreaming(c.source, false); err != nil {
		return err
	}
	c.deal()
	return c.mark(false)
}

// mark ends an epoch in all tasks, and the tasks with it if it is the last one.
func (c *continuous) mark(last bool) error {
	if c.ending {
		return nil
	}
	c.ending = last
	epoch, err := c.epochs.Begin()
	if err != nil {
		return fmt.Errorf("trigger continuous: %w; the interval is %v and continuous.epochBacklog %d: raise one of them", err, c.run.cfg.Interval.Std(), c.run.cfg.Continuous.EpochBacklog)
	}
	for _, x := range c.tasks {
		x.give(order{Marker: true, Epoch: epoch, Last: last})
	}
	return nil
}

func (c *continuous) reported(said epochReport) error {
	done, err := c.epochs.Report(said.task, said.epoch, said.report)
	if err != nil {
		return err
	}
	for _, e := range done {
		if err := c.commit(e); err != nil {
			return err
		}
		if c.run.bounded && exhausted(e.Reports) {
			if err := c.mark(true); err != nil {
				return err
			}
		}
	}
	return nil
}

// exhausted reports whether no task has anything left to read.
func exhausted(reports []report) bool {
	for _, s := range reports {
		if !s.Ended && len(s.Ends) > 0 {
			return false
		}
	}
	return true
}

// commit makes an epoch durable. One in which nothing moved leaves no entry.
func (c *continuous) commit(e control.Epoch[report]) error {
	r := c.run
	to := engines.Positions{}
	b := &batch{slot: r.slots[0], watermark: noTime, durations: map[string]float64{}}
	var lag, written int64
	var slowest time.Duration
	for k, s := range e.Reports {
		maps.Copy(to, s.Ends)
		b.records += s.Records
		lag += s.Lag
		written += s.Written
		slowest = max(slowest, s.Took)
		r.counts.Add(k, s.Counted)
	}
	b.entry = r.entryOf(to, r.processingTime())
	r.waiting.Add(-b.records)
	r.progress.Add(written)
	r.lag.Store(lag)
	began := c.began
	c.began = time.Now()
	if b.entry.records() == 0 {
		return nil
	}
	b.durations["addBatch"] = millis(slowest)
	if err := r.commitStreamed(b, noTime); err != nil {
		return err
	}
	r.told(b, lag, []engines.StageMetrics{{Name: r.fragments[0].Name, Tasks: len(c.tasks)}}, began)
	return nil
}
