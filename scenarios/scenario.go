package scenarios

// SchemaV1 is the version of the scenario file that this package reads.
const SchemaV1 = "streamduel/scenario/v1"

// Scenario is one scenario file, decoded and checked: what is offered, what is
// done to the system under test, and what must hold.
type Scenario struct {
	Schema   string `json:"schema"`
	Name     string `json:"name"`
	Question string `json:"question"`

	Workload Workload `json:"workload"`
	Topics   Topics   `json:"topics,omitzero"`
	// Parallelism of the job: subtasks an operator (dataflow), task slots
	// (micro-batch). Default 2.
	Parallelism int         `json:"parallelism,omitempty"`
	Load        Load        `json:"load"`
	Engines     Engines     `json:"engines"`
	Guarantees  []Guarantee `json:"guarantees"`
	// Durability says what a durable write must survive: a kill of the
	// process, or of the machine (file and folder synced; the default).
	Durability Durability `json:"durability,omitempty"`
	// BadInput says what becomes of records that do not decode or whose event time
	// cannot be: "fail" (the default: the job fails, naming partition, offset and
	// reason), "drop" or "dead-letter" (to a topic of their own). Dropped ones are
	// counted, and the first are shown in the report.
	BadInput BadInput `json:"badInput,omitempty"`
	// TransactionTimeout is how long a transaction of a sink may be open before the
	// broker gives it up; exactly-once only. Default 60s. The brokers bound it
	// (transaction.max.timeout.ms, 15m by default): the job is refused above that.
	TransactionTimeout Duration  `json:"transactionTimeout,omitempty"`
	State              State     `json:"state,omitzero"`
	Discovery          Discovery `json:"discovery,omitzero"`
	Start              Start     `json:"start,omitzero"`
	Phases             []Phase   `json:"phases"`
	Gates              Gates     `json:"gates,omitempty"`
	Matrix             Matrix    `json:"matrix,omitempty"`
}

// Workload names a registered workload and its parameters.
type Workload struct {
	Name string `json:"name"`
	// Params is the pointer that WorkloadSpec.New returned, decoded.
	Params any `json:"params,omitempty"`
}

// Topics of the job. Their names are the harness's business.
type Topics struct {
	// Partitions of the input topic. Default 4.
	Partitions int `json:"partitions,omitempty"`
	// Output is the number of partitions of the output topic; default as input.
	Output int `json:"output,omitempty"`
	// Partitioner says which output partition a result goes to: "key" (by the hash of
	// its key, the default; any subtask then writes any partition) or "subtask" (each
	// sink subtask writes one partition). Under exactly-once a result that is
	// committed is hidden behind an older one of the same partition that is not, so
	// where subtasks commit by themselves it may wait for another's commit.
	Partitioner Partitioner `json:"partitioner,omitempty"`
	// Subscribe is "list" (the input topic by name, the default) or "pattern"
	// (every topic whose name matches, also one that is created later).
	Subscribe Subscribe `json:"subscribe,omitempty"`
}

// Partitioner is how results are spread over the output's partitions.
type Partitioner string

// Partitioners.
const (
	PartitionByKey     Partitioner = "key"
	PartitionBySubtask Partitioner = "subtask"
)

// Subscribe is how the source chooses its topics.
type Subscribe string

// Ways to subscribe.
const (
	SubscribeList    Subscribe = "list"
	SubscribePattern Subscribe = "pattern"
)

// Durability is what a durable write survives.
type Durability string

// Durabilities.
const (
	DurableProcess Durability = "process"
	DurableMachine Durability = "machine"
)

// BadInput is what becomes of records that cannot be used.
type BadInput string

// What becomes of bad input.
const (
	BadFails      BadInput = "fail"
	BadIsDropped  BadInput = "drop"
	BadDeadLetter BadInput = "dead-letter"
)

// State chooses the keyed state's backend.
type State struct {
	Backend Backend `json:"backend,omitempty"` // one of Vocabulary.StateBackends
	// Memory is what a backend that is not memory may take of it in a worker
	// process; left out, the backend's own default.
	Memory Bytes `json:"memory,omitempty"`
}

// Backend names where keyed state is kept.
type Backend string

// Start says where the partitions that are there when the job is started for the
// first time are read from. Those found later are read as discovery.reset says.
type Start struct {
	// From is "earliest" (the default), "latest", "timestamp" or "committed".
	From StartFrom `json:"from,omitempty"`
	// After is the time that timestamp means, from the beginning of the load: each
	// partition is read from its first record that is not older, and where there is
	// none, from its end.
	After Duration `json:"after,omitempty"`
	// Positions are where single partitions of the input topic begin, by number,
	// whatever From says of the others. With "committed" they are what the consumer
	// group has committed before the job is started; a partition without one begins
	// at its first record.
	Positions map[string]int64 `json:"positions,omitempty"`
}

// StartFrom names a start position.
type StartFrom string

// Start positions.
const (
	StartEarliest  StartFrom = "earliest"
	StartLatest    StartFrom = "latest"
	StartTimestamp StartFrom = "timestamp"
	StartCommitted StartFrom = "committed"
)

// Discovery says how the source looks for new partitions and topics.
type Discovery struct {
	// Interval between looks; 0s turns discovery off. Default 1s. The
	// micro-batch engine looks at the start of a batch, if the interval has
	// passed.
	Interval Duration `json:"interval,omitempty"`
	// Reset is where reading of a partition found later starts: "earliest"
	// (the default) or "latest", which loses what was written before the
	// discovery and exists to show that.
	Reset Reset `json:"reset,omitempty"`
}

// Reset is where an unknown partition is read from.
type Reset string

// Resets.
const (
	ResetEarliest Reset = "earliest"
	ResetLatest   Reset = "latest"
)

// EngineBlock is one entry of `engines`: a built-in engine with its
// configuration, or a user's own program.
type EngineBlock struct {
	Name string `json:"-"`
	// Config is the pointer that EngineSpec.New returned, decoded; for an
	// engine with Command, the free `config` mapping (map[string]any).
	Config any `json:"config,omitempty"`
	// Command starts a program that speaks the worker protocol, relative to
	// the scenario's folder. Empty for the built-in engines.
	Command []string `json:"command,omitempty"`
	// Guarantees and CrashPoints that the engine offers.
	Guarantees  []Guarantee `json:"guarantees,omitempty"`
	CrashPoints []string    `json:"crashPoints,omitempty"`
}

// Engines are the engines of a scenario in the order of the file.
type Engines []EngineBlock

// Get finds an engine by name.
func (e Engines) Get(name string) (EngineBlock, bool) {
	for _, b := range e {
		if b.Name == name {
			return b, true
		}
	}
	return EngineBlock{}, false
}

// Names lists the engines in the order of the file.
func (e Engines) Names() []string {
	out := make([]string, len(e))
	for i, b := range e {
		out[i] = b.Name
	}
	return out
}

// Phase is a stretch of a run with its own figures, in which at most one thing
// is done to the system under test. The fault begins with the phase; a
// throttle and a pause end with it.
type Phase struct {
	Name string `json:"name"`
	// Duration of the phase. With Until it is the least time; a crash or kill
	// phase needs none and ends when the worker has been restarted.
	Duration Duration `json:"duration,omitempty"`
	// Until ends the phase on a condition instead of the clock.
	Until Until `json:"until,omitempty"`
	// AtMost bounds a phase that waits; when it passes, the cell fails.
	AtMost Duration `json:"atMost,omitempty"`
	// Says lists texts that the error of a job that fails must hold, with until:
	// failed: a job that fails for another reason fails the cell.
	Says []string `json:"says,omitempty"`

	// Backlog: the job does not run yet. The load is offered in this phase only,
	// which is the first; the job is started on what it has left behind, with the
	// next phase.
	Backlog bool `json:"backlog,omitempty"`

	Throttle *Throttle `json:"throttle,omitempty"`
	Grow     *Grow     `json:"grow,omitempty"`
	Crash    *Crash    `json:"crash,omitempty"`
	Kill     *Kill     `json:"kill,omitempty"`
	Pause    *Pause    `json:"pause,omitempty"`
	Rescale  *Rescale  `json:"rescale,omitempty"`
	// Savepoint has the job take a savepoint while it runs on; the phase lasts until
	// it is there.
	Savepoint bool `json:"savepoint,omitempty"`
}

// DefaultFaultAtMost bounds a crash or kill phase that names no bound itself.
const DefaultFaultAtMost = Duration(30e9)

// Backlog reports whether the job is started on a backlog.
func (s *Scenario) Backlog() bool { return len(s.Phases) > 0 && s.Phases[0].Backlog }

// Fault names what is done in the phase: throttle, grow, crash, kill, pause,
// rescale, savepoint, or "" for nothing.
func (p Phase) Fault() string {
	switch {
	case p.Throttle != nil:
		return "throttle"
	case p.Grow != nil:
		return "grow"
	case p.Crash != nil:
		return "crash"
	case p.Kill != nil:
		return "kill"
	case p.Pause != nil:
		return "pause"
	case p.Rescale != nil:
		return "rescale"
	case p.Savepoint:
		return "savepoint"
	}
	return ""
}

// Until is a condition that ends a phase.
type Until string

// Conditions: caughtUp, the lag is back to where it was before the fault;
// drained, every record offered so far has had its effect seen; failed, the job has
// failed by itself, whereupon it is started again.
const (
	CaughtUp Until = "caughtUp"
	Drained  Until = "drained"
	Failed   Until = "failed"
)

// Throttle limits the job's sink for the length of its phase.
type Throttle struct {
	Sink SinkRate `json:"sink"`
	// Of names an earlier phase: the share is of the rate at which results became
	// visible in it, the run's own maximum, instead of the load. All of it, 100 %,
	// leaves the sink as it was in that phase.
	Of string `json:"of,omitempty"`
}

// Grow adds partitions to the input topic, or a topic to the input.
type Grow struct {
	// Partitions is the new number of partitions (of the new topic, if Topic
	// is set; its default is that of the first topic).
	Partitions int `json:"partitions,omitempty"`
	// Topic is the suffix of a new input topic's name; it needs
	// topics.subscribe: pattern.
	Topic string `json:"topic,omitempty"`
}

// Crash kills the worker at a named point of the engine's protocol.
type Crash struct {
	// At names the point for each engine.
	At map[string]string `json:"at"`
	// Hit is how often the point must be reached, counted from the start of
	// the phase. Default 1.
	Hit int `json:"hit,omitempty"`
	// Again names, for each engine, a point at which the worker that was started in
	// its place is killed too, at its first passage counted from its start: the only
	// way to the points that lie in recovery. The phase ends with the one after it.
	Again map[string]string `json:"again,omitempty"`
	// Down is how long the worker stays dead before its restart. Default 0s.
	Down Duration `json:"down,omitempty"`
}

// Rescale stops the job with a savepoint and begins it anew from that, in a folder of
// its own, at another parallelism or the same.
type Rescale struct {
	Parallelism int `json:"parallelism"`
}

// Kill ends a process at an arbitrary moment: the worker, or one of its
// children by number from 1.
type Kill struct {
	Worker      bool `json:"worker,omitempty"`
	Executor    int  `json:"executor,omitempty"`
	TaskManager int  `json:"taskManager,omitempty"`
	// Coordinator is the one that leads or one that stands by, of a job with
	// standbys.
	Coordinator Coordinator `json:"coordinator,omitempty" jsonschema:"enum=leader,enum=standby"`
	Down        Duration    `json:"down,omitempty"`
}

// Coordinator names one of several coordinators.
type Coordinator string

// The coordinators.
const (
	Leader  Coordinator = "leader"
	Standby Coordinator = "standby"
)

// Pause stops the worker's process, or the coordinator that leads (SIGSTOP), and
// lets it go on afterwards.
type Pause struct {
	Worker Duration `json:"worker,omitempty"`
	// Replace has another worker started meanwhile, as somebody does who takes the
	// one that stands still for dead. When it wakes up it has to find that out, write
	// nothing, and end: the phase lasts until it has.
	Replace bool `json:"replace,omitempty"`
	// Coordinator is for longer than its lease: another is to take over.
	Coordinator Duration `json:"coordinator,omitempty"`
}
