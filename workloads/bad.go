package workloads

// BadKind is a way in which a record can be bad input: what is wrong with one
// that a job can make nothing of.
type BadKind string

// The kinds of bad input that a load can hold.
const (
	Undecodable BadKind = "undecodable"   // bytes that the job's source cannot read
	NoEventTime BadKind = "no-event-time" // there is no event time in it
	BeforeEpoch BadKind = "before-1970"   // the event time is negative
	FarAhead    BadKind = "far-ahead"     // the event time lies centuries ahead
)

// BadKinds lists them.
func BadKinds() []BadKind { return []BadKind{Undecodable, NoEventTime, BeforeEpoch, FarAhead} }

// Spoiler is implemented by generators that can make bad input.
type Spoiler interface {
	// AppendBad is Append of a record of which the job's source can make nothing,
	// for a kind that the workload names in Bad. Which records are bad the load's
	// plan says, so that everybody who has the plan knows them.
	AppendBad(dst []byte, in Input, kind BadKind) (value, key []byte)
}

// centuries is how far ahead of its schedule, in milliseconds, a far-ahead event
// time lies: 300 years, where a source admits one century.
const centuries = 300 * 365 * 24 * 3600 * 1000

// BadEventTime is the event time of a bad record, in Unix milliseconds, for the
// kinds that have a wrong one.
func BadEventTime(in Input, kind BadKind) int64 {
	if kind == BeforeEpoch {
		return -1 - in.EventTime
	}
	return in.EventTime + centuries
}
