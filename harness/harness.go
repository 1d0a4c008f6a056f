package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"streamduel/harness/broker"
	"streamduel/harness/floors"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/workloads"
)

// Options say what to run and where to leave it.
type Options struct {
	Set       string            // name of the results' sub-folder
	Cells     []*scenarios.Cell // in the order in which they are run
	Broker    broker.Options    // Kind and addresses; the harness fills in the rest
	Out       string            // root of the results
	Seed      uint64
	Quick     bool
	Arguments []string // of the command, for summary.json
	Progress  func(Progress)
	// Model predicts what a cell's engine must have shown while its sink was
	// throttled; nil, or nil from it, predicts nothing.
	Model Model
	Log   io.Writer // the harness's log lines; nil discards
}

// Progress is one thing that happened.
type Progress struct {
	Kind    ProgressKind
	Text    string          // Note
	Cell    *scenarios.Cell // of the cell kinds
	Index   int             // of the cell, from 0
	Phase   string          // CellPhase, CellTick
	At      time.Duration   // since the cell's start
	Offered float64         // CellTick, records per second
	Visible float64
	Lag     int64
	Verdict runs.Verdict // CellDone
	Reasons []string
}

// ProgressKind tells the kinds of Progress apart.
type ProgressKind int

// Kinds of progress.
const (
	Note ProgressKind = iota
	CellStart
	CellPhase
	CellTick
	CellDone
)

// Run runs the cells and writes one run folder. An error is the environment's
// failure or the context's; the folder and the summary then hold the cells that
// were finished. Nothing that was started is left running.
func Run(ctx context.Context, o Options) (dir string, summary *runs.Summary, err error) {
	r := &run{o: o, started: time.Now(), log: slog.New(slog.DiscardHandler)}
	if o.Log != nil {
		r.log = slog.New(slog.NewTextHandler(o.Log, nil))
	}
	if r.o.Progress == nil {
		r.o.Progress = func(Progress) {}
	}
	env := runs.Environment(ctx)
	env.Started = r.started
	env.Seed, env.Arguments, env.Quick = int64(o.Seed), o.Arguments, o.Quick
	env.Scenarios = scenariosOf(o.Cells)

	// The broker comes first: one that cannot be had must not leave a folder.
	r.note("starting the broker")
	first, err := broker.Start(ctx, r.brokerOptions())
	if err != nil {
		return "", nil, err
	}
	env.Broker = runs.Broker{Kind: string(first.Kind()), Version: first.Version()}
	r.brokerInUse = first
	defer func() { err = errors.Join(err, r.closeBroker()) }()

	if env.Broker.WarmUpSeconds, err = r.warmUp(ctx); err != nil {
		return "", nil, err
	}
	if r.w, err = runs.Create(o.Out, o.Set, env); err != nil {
		return "", nil, err
	}
	summary = &runs.Summary{Schema: runs.Schema, Run: r.w.Run()}
	dir = r.w.Dir()
	fail := func(cause error) (string, *runs.Summary, error) {
		summary.Run.Finished = time.Now()
		summary.Verdict = runs.Worst(summary.Cells)
		d, err := r.w.Interrupt(summary)
		if d != "" {
			dir = d
		}
		return dir, summary, errors.Join(cause, err)
	}
	r.note("measuring the floors")
	f, audits, err := r.floors(ctx)
	if err != nil {
		return fail(err)
	}
	summary.Floors, summary.Audits = f, audits

	for i, spec := range o.Cells {
		c, err := r.cell(ctx, i, spec)
		if err != nil {
			return fail(err)
		}
		summary.Cells = append(summary.Cells, *c)
	}
	summary.Run.Finished = time.Now()
	summary.Verdict = runs.Worst(summary.Cells)
	if dir, err = r.w.Finish(summary); err != nil {
		return r.w.Dir(), summary, err
	}
	return dir, summary, nil
}

type run struct {
	o           Options
	started     time.Time
	w           *runs.Writer
	log         *slog.Logger
	brokerInUse *broker.Broker
	lengths     map[string]int64 // of records, by workload and parameters
}

func (r *run) note(text string) { r.o.Progress(Progress{Kind: Note, Text: text}) }

func (r *run) brokerOptions() broker.Options {
	o := r.o.Broker
	o.Log = r.o.Log
	o.Prefix = fmt.Sprintf("streamduel-%x-", r.started.UnixNano())
	return o
}

func (r *run) closeBroker() error {
	if r.brokerInUse == nil {
		return nil
	}
	b := r.brokerInUse
	r.brokerInUse = nil
	return b.Close()
}

// freshBroker gives each cell on the embedded broker a broker process of its
// own, so that neither its heap nor its transactions carry over. Real brokers
// are kept: each cell has topics of its own.
func (r *run) freshBroker(ctx context.Context) (*broker.Broker, error) {
	if r.brokerInUse != nil && r.brokerInUse.Kind() != broker.Embedded {
		return r.brokerInUse, nil
	}
	if err := r.closeBroker(); err != nil {
		return nil, err
	}
	b, err := broker.Start(ctx, r.brokerOptions())
	if err != nil {
		return nil, err
	}
	r.brokerInUse = b
	return b, nil
}

// warmUp drives a real broker, seconds long, until it is as fast as it gets. A
// quick run checks counts, and goes without.
func (r *run) warmUp(ctx context.Context) (seconds float64, err error) {
	p := r.paces()
	if r.o.Quick || r.brokerInUse.Kind() == broker.Embedded || len(p) == 0 {
		return 0, nil
	}
	r.note("warming the broker up")
	fastest := slices.MaxFunc(p, func(a, b floors.Pace) int { return cmp.Compare(a.Rate, b.Rate) })
	d, err := floors.WarmUp(ctx, floors.Options{Broker: r.brokerInUse, Log: r.o.Log}, floors.Pace{Rate: min(fastest.Rate, warmRate)})
	return d.Seconds(), err
}

// warmRate is the most that a warm-up offers, in records per second: a broker's
// code gets warm by requests, and at 10,000 records a second and no linger there
// are as many of them as it can serve.
const warmRate = 10_000

// floors measures the bare loops. Where some are missing, figures lack their
// floors, but no figure is wrong for it.
func (r *run) floors(ctx context.Context) (*runs.Floors, []runs.Audit, error) {
	began := time.Now()
	o := floors.Options{Broker: r.brokerInUse, Log: r.o.Log, Limit: 15 * time.Second}
	if r.brokerInUse.Kind() != broker.Embedded {
		o.Limit = time.Minute // its paces are measured longer
	}
	if r.o.Quick {
		o.Quick, o.Records, o.Limit = true, 100_000, 8*time.Second
	}
	missing := func(detail string) []runs.Audit {
		return []runs.Audit{{
			Name: "floors", Detail: oneLine(detail),
			Remedy: "free the machine of other work, or lower load.rate: a bare loop did not do in time what the cells are to do, so no ratio to it is shown",
		}}
	}
	f, err := floors.Measure(ctx, o)
	if err == nil {
		var skipped []string
		o.Limit -= time.Since(began)
		if f.Paced, skipped, err = floors.MeasurePaced(ctx, o, r.paces()); len(skipped) > 0 {
			return f, missing("no bare loop at " + strings.Join(skipped, "; ")), nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case err != nil:
		return nil, missing(err.Error()), nil
	}
	return f, nil, nil
}

// paces are the loads that the cells are measured at, in their order: a bare
// loop has no work of its own, so it is the rate, the records' length and the commits
// that count.
func (r *run) paces() (all []floors.Pace) {
	for _, c := range r.o.Cells {
		l := r.loadOf(c)
		if l == nil || l.Shape != string(scenarios.ShapeConstant) {
			continue
		}
		p := floors.Pace{Rate: l.Rate, Bytes: int(l.RecordBytes)}
		if l.CommitSeconds != nil {
			p.Commit = time.Duration(*l.CommitSeconds * float64(time.Second))
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// loadOf says what is offered to a cell and how often it commits; nil where the
// records have times of their own.
func (r *run) loadOf(c *scenarios.Cell) *runs.Load {
	l := c.Scenario.Load
	if l.Speed > 0 || l.Rate <= 0 {
		return nil
	}
	load := &runs.Load{Rate: float64(l.Rate), Shape: string(l.Shape), RecordBytes: r.recordBytes(c)}
	if load.Shape == "" {
		load.Shape = string(scenarios.ShapeConstant)
	}
	if c.Guarantee == scenarios.ExactlyOnce {
		if s := intervalOf(c); s > 0 {
			load.CommitSeconds = &s
		}
	}
	return load
}

// recordBytes is how long a cell's records are, keys included, in the mean of the
// first of them; 0 for a workload that cannot be, which its cell says.
func (r *run) recordBytes(c *scenarios.Cell) int64 {
	w := c.Scenario.Workload
	params, err := json.Marshal(w.Params)
	if err != nil {
		return 0
	}
	id := w.Name + string(params)
	if n, ok := r.lengths[id]; ok {
		return n
	}
	var sum int64
	if known := workloads.Lookup(w.Name); known != nil {
		if g, err := known.Generator(w.Params, r.o.Seed); err == nil {
			var buf []byte
			for i := range int64(lengthsOf) {
				var key []byte
				buf, key = g.Append(buf[:0], workloads.Input{Index: i, Sequence: i, EventTime: r.started.UnixMilli()})
				sum += int64(len(buf) + len(key))
			}
		}
	}
	if r.lengths == nil {
		r.lengths = map[string]int64{}
	}
	r.lengths[id] = (sum + lengthsOf/2) / lengthsOf
	return r.lengths[id]
}

// lengthsOf is how many records are looked at for their length.
const lengthsOf = 1000

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// cell runs one cell, and once more when an audit voided a figure that a gate
// needs.
func (r *run) cell(ctx context.Context, index int, spec *scenarios.Cell) (*runs.Cell, error) {
	r.o.Progress(Progress{Kind: CellStart, Cell: spec, Index: index})
	var result *runs.Cell
	for attempt := 1; attempt <= 2; attempt++ {
		b, err := r.freshBroker(ctx)
		if err != nil {
			return nil, err
		}
		c := newCell(r, b, index, attempt, spec)
		if result, err = c.run(ctx); err != nil {
			return nil, fmt.Errorf("cell %s: %w", spec.ID, err)
		}
		if attempt > 1 {
			result.Attempt = attempt
		}
		if result.Verdict != runs.Inconclusive {
			break
		}
		if attempt == 1 {
			r.note(fmt.Sprintf("%s is inconclusive (%s): once more", spec.ID, firstOr(result.Reasons, "an audit failed")))
		}
	}
	r.o.Progress(Progress{Kind: CellDone, Cell: spec, Index: index, Verdict: result.Verdict, Reasons: result.Reasons})
	return result, nil
}

func firstOr(list []string, other string) string {
	if len(list) > 0 {
		return list[0]
	}
	return other
}

func scenariosOf(cells []*scenarios.Cell) (out []runs.Scenario) {
	seen := map[string]bool{}
	for _, c := range cells {
		if !seen[c.Scenario.Name] {
			seen[c.Scenario.Name] = true
			out = append(out, runs.Scenario{Name: c.Scenario.Name, Hash: c.File.Hash, Question: c.Scenario.Question})
		}
	}
	return out
}
