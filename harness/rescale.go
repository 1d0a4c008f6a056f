package harness

import (
	"context"
	"fmt"
	"time"

	"streamduel/engines"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/worker"
)

// rescale stops the job with a savepoint and begins it from that in a folder of its
// own, at another parallelism.
func (c *cell) rescale(ctx context.Context, p scenarios.Phase) error {
	f := &crashed{point: fmt.Sprintf("rescaled to %d", p.Rescale.Parallelism), clean: true}
	c.facts.crash(f)
	n := len(c.folders)
	points, state := fmt.Sprintf("savepoints-%d", n), fmt.Sprintf("state-%d", n)
	c.folders = append(c.folders, points, state)
	stopping, cancel := context.WithTimeout(ctx, faultLimit(p))
	defer cancel()
	path, err := c.ask(stopping, worker.Command{Stop: &worker.Stop{Mode: string(engines.StopCheckpoint), Savepoint: c.w.Path(points)}})
	if err == nil && !c.wait(ctx, stopLimit, c.worker().Done()) && ctx.Err() == nil {
		err = fmt.Errorf("the worker did not end within %s of its stop", stopLimit)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.death = fmt.Errorf("phase %s: stopping with a savepoint: %w", p.Name, err)
		return nil
	}
	c.mark(c.worker().Ended(), runs.MarkKilled, "stopped with a savepoint")
	c.bury(f)
	c.job.Folder, c.job.RestoreFrom, c.job.Parallelism = c.w.Path(state), path, p.Rescale.Parallelism
	return c.restart(ctx, f, time.Duration(0))
}
