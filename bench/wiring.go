package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/engines"
	"streamduel/engines/dataflow"
	"streamduel/engines/microbatch"
	"streamduel/harness"
	"streamduel/harness/broker"
	"streamduel/harness/broker/container"
	"streamduel/harness/floors"
	"streamduel/harness/load"
	"streamduel/scenarios"
	"streamduel/state"
	"streamduel/state/lsm"
	"streamduel/worker"
	"streamduel/workloads"

	_ "streamduel/workloads/builtin"
)

// wired puts the command together from the real parts: the only place that
// knows all floors.
func wired() parts {
	known := []engines.Engine{microbatch.Engine{}, dataflow.Engine{}}
	byName := map[string]engines.Engine{}
	for _, e := range known {
		byName[e.Name()] = e
	}
	return parts{
		engines: known,
		run:     runHarness,
		report:  pages{},
		plan:    func(c *scenarios.Cell) (engines.Plan, error) { return planOf(c, byName) },
		children: map[string]Child{
			"worker": func(ctx context.Context, env Env, _ []string) int {
				return worker.Main(ctx, env.Stdin, env.Stdout, env.Stderr, byName, kafkaConnectors)
			},
			"member": func(ctx context.Context, env Env, _ []string) int {
				return worker.Member(ctx, env.Stdin, env.Stderr, byName, kafkaConnectors)
			},
			"broker": func(ctx context.Context, env Env, _ []string) int {
				return broker.Main(ctx, env.Stdin, env.Stdout, env.Stderr)
			},
			"floors": func(ctx context.Context, env Env, _ []string) int {
				return floors.Main(ctx, env.Stdin, env.Stdout, env.Stderr)
			},
			"load": func(ctx context.Context, env Env, _ []string) int {
				return load.Main(ctx, env.Stdin, env.Stdout, env.Stderr)
			},
		},
	}
}

// kafkaConnectors make a measured job's source and sinks. Both engines get the
// same settings: what waits for company would be measured as the engine's.
var kafkaConnectors = worker.Connectors{
	Source: func(k worker.Kafka, t workloads.Topics) (connectors.Source, error) {
		c := kafka.SourceConfig{
			Brokers: k.Brokers, Topics: t.Names, Pattern: t.Pattern, Reset: connectors.StartFrom(k.Reset),
			Start: connectors.StartFrom(k.Start), StartMillis: k.StartMillis, Group: k.Group,
		}
		for split, at := range k.StartPositions {
			if c.StartPositions == nil {
				c.StartPositions = map[connectors.SplitID]connectors.Position{}
			}
			c.StartPositions[connectors.SplitID(split)] = connectors.Position(at)
		}
		return kafka.NewSource(c)
	},
	Sink: func(k worker.Kafka, topic string, originEvery int64) (connectors.Sink, error) {
		return kafka.NewSink(kafka.SinkConfig{Brokers: k.Brokers, Topic: topic, OriginHeader: originEvery > 0, OriginEvery: originEvery,
			TransactionMillis: int(k.TransactionMillis), Partitioner: kafka.Partitioner(k.Partitioner)})
	},
	Member:      func() *exec.Cmd { return reenter("member") },
	Coordinator: func() *exec.Cmd { return reenter("worker") },
	Backend: func(s worker.State) (state.Backends, error) {
		switch s.Backend {
		case "", "memory":
			return nil, nil
		case "lsm":
			return lsm.Within(s.Memory), nil
		}
		return nil, fmt.Errorf("state.backend: %q is not known here; allowed are %s", s.Backend, strings.Join(stateBackends, ", "))
	},
}

// reenter makes this program a further process of a worker.
func reenter(child string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return exec.Command(self, child)
}

// planOf makes a cell's job as the worker would, with addresses that nobody
// opens, and asks its engine for the plan.
func planOf(c *scenarios.Cell, known map[string]engines.Engine) (engines.Plan, error) {
	line, err := harness.JobOf(c)
	if err != nil {
		return engines.Plan{}, err
	}
	line.Name = c.File.Name
	line.Kafka = worker.Kafka{Brokers: []string{"127.0.0.1:9092"}, Input: workloads.Topics{Names: []string{"in"}}, Output: "out", Late: "late"}
	if c.Scenario.BadInput == scenarios.BadDeadLetter {
		line.Kafka.DeadLetters = "dead"
	}
	engine, config, job, err := worker.Prepare(line, known, kafkaConnectors)
	if err != nil {
		return engines.Plan{}, err
	}
	return engine.Plan(job, config)
}

// stateBackends are the names under which kafkaConnectors know them, the default
// first.
var stateBackends = []string{"memory", "lsm"}

// runHarness fits the harness to the command.
func runHarness(ctx context.Context, req Request) (Result, error) {
	dir, summary, err := harness.Run(ctx, harness.Options{
		Set: req.Set, Cells: req.Cells, Out: req.Out, Seed: req.Seed, Quick: req.Quick,
		Broker:    broker.Options{Kind: broker.Kind(req.Broker.Kind), Addresses: req.Broker.Addresses, Container: container.Starter(container.DefaultImage)},
		Arguments: req.Arguments, Log: req.Log, Model: predict,
		Progress: func(p harness.Progress) {
			req.Progress(Progress{
				Kind: ProgressKind(p.Kind), Text: p.Text, Cell: p.Cell, Index: p.Index, Phase: p.Phase, At: p.At,
				Offered: p.Offered, Visible: p.Visible, Lag: p.Lag, Verdict: p.Verdict, Reasons: p.Reasons,
			})
		},
	})
	return Result{Dir: dir, Summary: summary}, err
}
