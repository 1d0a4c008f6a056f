package scenarios

// Load is the offered load: open loop, fixed before the run.
type Load struct {
	// Rate is the base rate of the whole job.
	Rate Rate `json:"rate,omitempty"`
	// Shape of the rate over time; default constant.
	Shape Shape `json:"shape,omitempty"`
	// GoesOn: the load does not end with the backlog that the job is started on.
	GoesOn bool `json:"goesOn,omitempty"`

	// Steps (step): from the moment At on, the rate is Rate.
	Steps []Step `json:"steps,omitempty"`
	// To and Over (ramp): from Rate to To, evenly within Over.
	To   Rate     `json:"to,omitempty"`
	Over Duration `json:"over,omitempty"`
	// Peak, Every and For (burst): Peak instead of Rate during the last For
	// of each Every.
	Peak  Rate     `json:"peak,omitempty"`
	Every Duration `json:"every,omitempty"`
	For   Duration `json:"for,omitempty"`
	// Amplitude and Period (sine): Rate + Amplitude·sin(2πt/Period).
	Amplitude Rate     `json:"amplitude,omitempty"`
	Period    Duration `json:"period,omitempty"`
	// File (trace): lines "seconds,recordsPerSecond", straight lines between
	// them, a step where two have the same time; before the first line its
	// rate, after the last that one's. Relative to the scenario's folder.
	File string `json:"file,omitempty"`

	// RecordSize of generated records, which is the workload's parameter
	// recordBytes; not for a workload without it. 0: as the workload defines.
	RecordSize Bytes `json:"recordSize,omitempty"`
	// Weights deal the records out unevenly: how many of each turn go to each
	// partition of the input topic, one number a partition; 0 leaves it idle.
	// Partitions that are added later get 1.
	Weights []int `json:"weights,omitempty"`
	// EventTime sets event time apart from the schedule.
	EventTime EventTime `json:"eventTime,omitzero"`
	// Bad makes a share of the records unusable: what badInput is about.
	Bad BadLoad `json:"bad,omitzero"`

	// Speed: a replay workload offers its records by their own event times,
	// this many times faster, instead of at Rate.
	Speed float64 `json:"speed,omitempty"`
}

// EventTime of generated records, where a workload takes it from the schedule.
type EventTime struct {
	// Speed is how fast event time passes: at 60 a second of the load holds a
	// minute of it. Default 1.
	Speed float64 `json:"speed,omitempty"`
	// Lag is how far the event times of each partition lie behind, one duration a
	// partition.
	Lag []Duration `json:"lag,omitempty"`
}

// Shape is how the offered rate moves.
type Shape string

// Shapes.
const (
	ShapeConstant Shape = "constant"
	ShapeStep     Shape = "step"
	ShapeRamp     Shape = "ramp"
	ShapeBurst    Shape = "burst"
	ShapeSine     Shape = "sine"
	ShapeTrace    Shape = "trace"
)

// Step is one stair of a step load.
type Step struct {
	At   Duration `json:"at"`
	Rate Rate     `json:"rate"`
}

// BadLoad is the part of a load that no job can make anything of.
type BadLoad struct {
	// Share of the records.
	Share Percent `json:"share,omitempty"`
	// Kinds of which each takes an equal part: undecodable, no-event-time,
	// before-1970, far-ahead. Default: all that the workload's records can have.
	Kinds []string `json:"kinds,omitempty"`
}
