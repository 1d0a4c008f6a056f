package harness

import (
	"encoding/json"
	"time"

	"streamduel/scenarios"
	"streamduel/worker"
	"streamduel/workloads"
)

// JobOf returns the job line of a cell as far as its scenario says it: what is
// missing is where its records and its folder are.
func JobOf(c *scenarios.Cell) (worker.Job, error) {
	s := c.Scenario
	params, err := json.Marshal(s.Workload.Params)
	if err != nil {
		return worker.Job{}, err
	}
	config, err := json.Marshal(c.Engine.Config)
	if err != nil {
		return worker.Job{}, err
	}
	return worker.Job{
		Protocol: worker.Protocol, Workload: s.Workload.Name, Params: params,
		Engine: c.Engine.Name, Config: config, Guarantee: string(c.Guarantee),
		Parallelism: s.Parallelism, Durability: string(s.Durability), BadInput: string(s.BadInput),
		DiscoveryMillis: time.Duration(s.Discovery.Interval).Milliseconds(),
	}, nil
}

func (c *cell) makeJob() (err error) {
	s := c.spec.Scenario
	if c.job, err = JobOf(c.spec); err != nil {
		return err
	}
	c.job.Name, c.job.Folder, c.job.Origins = c.topics.in, c.w.Path("state"), c.workload.EchoesOrigin || c.workload.SamplesOrigin
	c.job.Kafka = worker.Kafka{
		Brokers: c.broker.Brokers(), Output: c.topics.out, Late: c.topics.late,
		Input: workloads.Topics{Names: []string{c.topics.in}}, Reset: string(s.Discovery.Reset),
		TransactionMillis: time.Duration(s.TransactionTimeout).Milliseconds(),
		Partitioner:       string(s.Topics.Partitioner),
	}
	if s.State.Backend != "memory" {
		c.job.State = worker.State{Backend: string(s.State.Backend), Memory: int64(s.State.Memory)}
	}
	if !c.workload.EchoesOrigin && c.workload.SamplesOrigin {
		c.job.OriginEvery = originSample
	}
	if s.BadInput == scenarios.BadDeadLetter {
		c.job.Kafka.DeadLetters = c.topics.dead
	}
	if c.topics.pattern != "" {
		c.job.Kafka.Input = workloads.Topics{Pattern: c.topics.pattern}
	}
	for _, p := range s.Phases {
		c.job.Acks = c.job.Acks || p.Crash != nil
	}
	return c.w.WriteJob(c.job)
}
