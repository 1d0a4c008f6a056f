package dataflow

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/metrics"
	"streamduel/state"
)

// What the coordinator's process and its task managers' say to each other
// (cluster.Calls), and how the events of rings travel between task managers.

// The kinds of messages. The first ones go to a task manager.
const (
	kindWelcome  = "welcome"  // call: who you are
	kindOpen     = "open"     // call: make a region's tasks
	kindStart    = "start"    // let them run
	kindMail     = "mail"     // to a subtask
	kindClose    = "close"    // call: end a region's tasks
	kindThrottle = "throttle" // of all sinks together
	kindSeal     = "seal"     // call: no more output, and what is known of that which left
	kindReport   = "report"   // say how you are: a status
	kindTrim     = "trim"     // the acknowledgement log, below durable positions
	kindRelied   = "relied"   // call: on which files that checkpoints share does the state here rely

	kindLimits = "limits" // how far event time has come elsewhere

	kindTimes   = "times"   // how far it has come here
	kindTell    = "tell"    // a subtask, to the coordinator
	kindPassage = "passage" // call: a subtask has come to a failpoint
	kindClaim   = "claim"   // call: a batch's end, before it is processed
	kindPermit  = "permit"  // call: how many records may pass the sinks here, once one may
	kindEvent   = "event"   // for the outside
	kindStatus  = "status"
	kindParted  = "parted" // the connection to another task manager is over
)

type welcome struct {
	Attempt int     `json:"attempt"`
	Rate    float64 `json:"rate,omitempty"` // of all sinks together, 0 for no limit
	Acks    bool    `json:"acks,omitempty"`
}

// tenure names a region's tasks between one restart and the next.
type tenure struct {
	Region int   `json:"region"`
	Epoch  int64 `json:"epoch"`
}

type opening struct {
	tenure
	Checkpoint int64          `json:"checkpoint,omitempty"`
	Addresses  map[int]string `json:"addresses"` // of the task managers that have tasks of the region
}

// mail is what a subtask is sent: one of its fields is set.
type mail struct {
	tenure
	Vertex  int          `json:"vertex"`
	Index   int          `json:"index"`
	Assign  []dealtSplit `json:"assign,omitempty"`
	Durable *[2]int64    `json:"durable,omitempty"` // id, oldest
	Abort   *int64       `json:"abort,omitempty"`
	Trigger *triggered   `json:"trigger,omitempty"`
	Hasten  *int64       `json:"hasten,omitempty"`
	Drain   bool         `json:"drain,omitempty"`
}

type triggered struct {
	ID        int64 `json:"id"`
	Started   int64 `json:"started"`
	Last      bool  `json:"last,omitempty"`
	Unaligned bool  `json:"unaligned,omitempty"`
}

type dealtSplit struct {
	Split     connectors.Split    `json:"split"`
	From      connectors.Position `json:"from"`
	Until     connectors.Position `json:"until"`
	Watermark *int64              `json:"watermark,omitempty"`
}

// mailOf refuses what it does not know, so that nothing is lost in silence.
func mailOf(message any) (m mail, err error) {
	switch x := message.(type) {
	case assign:
		for _, a := range x {
			m.Assign = append(m.Assign, dealtSplit{a.Split, a.From, a.Until, a.watermark})
		}
	case durable:
		m.Durable = &[2]int64{x.id, x.oldest}
	case abortCheckpoint:
		m.Abort = &x.id
	case trigger:
		m.Trigger = &triggered{x.id, x.started, x.last, x.unaligned}
	case overtake:
		m.Hasten = &x.id
	case drain:
		m.Drain = true
	default:
		return m, fmt.Errorf("a %T cannot be sent to another process", message)
	}
	return m, nil
}

// message is what mailOf was given. Splits become known to their source here.
func (m mail) message(s *enumeration) (any, error) {
	switch {
	case m.Assign != nil && s != nil:
		var as assign
		for _, d := range m.Assign {
			a := s.assignment(d.Split, d.From, d.Watermark)
			a.Until = d.Until
			as = append(as, a)
		}
		return as, nil
	case m.Durable != nil:
		return durable{m.Durable[0], m.Durable[1]}, nil
	case m.Abort != nil:
		return abortCheckpoint{*m.Abort}, nil
	case m.Trigger != nil:
		return trigger{barrier{id: m.Trigger.ID, started: m.Trigger.Started, unaligned: m.Trigger.Unaligned}, m.Trigger.Last}, nil
	case m.Hasten != nil:
		return overtake{*m.Hasten}, nil
	case m.Drain:
		return drain{}, nil
	}
	return nil, errors.New("an empty message, or one of another version")
}

// tell is what a subtask tells the coordinator: one of its fields is set.
type tell struct {
	tenure
	Vertex    int             `json:"vertex"`
	Index     int             `json:"index"`
	Ack       *acknowledgment `json:"ack,omitempty"`
	Declined  *refusal        `json:"declined,omitempty"`
	Committed *int64          `json:"committed,omitempty"`
	Finished  bool            `json:"finished,omitempty"`
	Crashed   *refusal        `json:"crashed,omitempty"`
}

type acknowledgment struct {
	ID       int64                     `json:"id"`
	Splits   []checkpoints.Split       `json:"splits,omitempty"`
	State    *checkpoints.State        `json:"state,omitempty"`
	Channels *checkpoints.Channels     `json:"channels,omitempty"`
	Sinks    []checkpoints.Sink        `json:"sinks,omitempty"`
	Times    engines.SubtaskCheckpoint `json:"times"`
}

type refusal struct {
	ID         int64  `json:"id,omitempty"`
	Error      string `json:"error"`
	Superseded bool   `json:"superseded,omitempty"`
}

func refusalOf(id int64, err error) *refusal {
	return &refusal{id, err.Error(), errors.Is(err, state.ErrSuperseded)}
}

// remoteError is an error of a task manager.
type remoteError struct {
	text       string
	superseded bool
}

func (e remoteError) Error() string        { return e.text }
func (e remoteError) Is(target error) bool { return e.superseded && target == state.ErrSuperseded }

func (r *refusal) err() error { return remoteError{r.Error, r.Superseded} }

func tellOf(message any) (*task, tell, error) {
	switch x := message.(type) {
	case ack:
		return x.task, tell{Ack: &acknowledgment{x.id, x.splits, x.state, x.channels, x.sinks, x.times}}, nil
	case declined:
		return x.task, tell{Declined: refusalOf(x.id, x.err)}, nil
	case committed:
		return x.task, tell{Committed: &x.id}, nil
	case finished:
		return x.task, tell{Finished: true}, nil
	case crashed:
		return x.task, tell{Crashed: refusalOf(0, x.err)}, nil
	}
	return nil, tell{}, fmt.Errorf("a %T cannot be told to another process", message)
}

// message is what tellOf was given, of the task that stands for the subtask here.
func (w tell) message(t *task) (any, error) {
	switch {
	case w.Ack != nil:
		a := w.Ack
		return ack{t, a.ID, a.Splits, a.State, a.Channels, a.Sinks, a.Times}, nil
	case w.Declined != nil:
		return declined{t, w.Declined.ID, w.Declined.err()}, nil
	case w.Committed != nil:
		return committed{t, *w.Committed}, nil
	case w.Finished:
		return finished{t}, nil
	case w.Crashed != nil:
		return crashed{t, w.Crashed.err()}, nil
	}
	return nil, errors.New("an empty message, or one of another version")
}

type passage struct {
	Point string `json:"point"`
	Epoch int64  `json:"epoch"`
}

type claimed struct {
	Source int                 `json:"source"`
	Split  connectors.SplitID  `json:"split"`
	Next   connectors.Position `json:"next"`
}

type parted struct {
	tenure
	Peer  int    `json:"peer"`
	Error string `json:"error"`
}

// eventOf returns an event of a task manager, as its own type where somebody here
// looks for it.
func eventOf(h engines.Happened) engines.Event {
	var d engines.Discovered
	var r engines.FirstRecord
	switch {
	case h.Kind == d.Kind() && json.Unmarshal(h.Body, &d) == nil:
		return d
	case h.Kind == r.Kind() && json.Unmarshal(h.Body, &r) == nil:
		return r
	}
	return h.Event()
}

// status is how a task manager is.
type status struct {
	Tasks  []taskStatus           `json:"tasks"`
	Splits []splitStatus          `json:"splits,omitempty"`
	Gate   [3]int64               `json:"gate"`          // written, acknowledged, in flight
	Bad    int64                  `json:"bad,omitempty"` // records of bad input
	Used   engines.ProcessUsage   `json:"used"`
	Acks   []engines.Acknowledged `json:"acks,omitempty"` // when sealed
}

type taskStatus struct {
	Vertex    int    `json:"vertex"`
	Index     int    `json:"index"`
	Consumed  int64  `json:"consumed"`
	Written   int64  `json:"written"`
	Held      int64  `json:"held"` // records inside: at hand, in partly filled buffers, in its rings
	HeldBytes int64  `json:"heldBytes"`
	Watermark *int64 `json:"watermark,omitempty"` // where nothing follows
	Blocked   int64  `json:"blocked"`
	Idle      int64  `json:"idle"`
	Reason    int32  `json:"reason"`
	Since     int64  `json:"since"`

	Pressure *engines.BackPressure `json:"pressure,omitempty"`
	Metrics  []metrics.Value       `json:"metrics,omitempty"`
	IO       *engines.TaskIO       `json:"io,omitempty"`
}

type splitStatus struct {
	Source   int                `json:"source"`
	Split    connectors.SplitID `json:"split"`
	Position int64              `json:"position"`
	Reached  int64              `json:"reached"`
	Latest   int64              `json:"latest"`
	// Of its event time.
	Watermark int64 `json:"watermark"`
	Active    int64 `json:"active,omitempty"`
	Paused    int64 `json:"paused,omitempty"`
	Idle      int64 `json:"idle,omitempty"`
}

// ringEvents is the codec of what travels in rings beside buffers: a kind and two
// numbers, and behind a barrier that has overtaken what it has.
type ringEvents struct{}

const (
	codeBarrier = iota + 1
	codeWatermark
	codeIdle
	codeActive
	codeEnd
	codeOvertaking
)

// Append implements remote.Events.
func (ringEvents) Append(b []byte, event any) ([]byte, error) {
	var code byte
	var n, started int64
	switch e := event.(type) {
	case barrier:
		if e.unaligned {
			return appendOvertaking(b, e), nil
		}
		code, n, started = codeBarrier, e.id, e.started
	case watermark:
		code, n = codeWatermark, e.at
	case idleness:
		if code = codeActive; e.idle {
			code = codeIdle
		}
	case end:
		code = codeEnd
	default:
		return b, fmt.Errorf("an event %T cannot travel to another process", event)
	}
	b = binary.LittleEndian.AppendUint64(append(b, code), uint64(n))
	return binary.LittleEndian.AppendUint64(b, uint64(started)), nil
}

// Decode implements remote.Events.
func (ringEvents) Decode(b []byte) (any, error) {
	if len(b) > 17 && b[0] == codeOvertaking {
		return decodeOvertaking(b)
	}
	if len(b) != 17 {
		return nil, fmt.Errorf("an event of %d bytes, 17 are right", len(b))
	}
	n := int64(binary.LittleEndian.Uint64(b[1:]))
	switch b[0] {
	case codeBarrier:
		return barrier{id: n, started: int64(binary.LittleEndian.Uint64(b[9:]))}, nil
	case codeWatermark:
		return watermark{n}, nil
	case codeIdle, codeActive:
		return idleness{b[0] == codeIdle}, nil
	case codeEnd:
		return end{}, nil
	}
	return nil, fmt.Errorf("an event of unknown kind %d", b[0])
}

func appendOvertaking(b []byte, e barrier) []byte {
	b = binary.LittleEndian.AppendUint64(append(b, codeOvertaking), uint64(e.id))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.started))
	b = binary.AppendUvarint(b, uint64(len(e.overtaken)))
	for _, f := range e.overtaken {
		b = binary.AppendUvarint(append(b, f.Flags), uint64(f.Records))
		b = binary.AppendUvarint(b, uint64(len(f.Data)))
		b = append(b, f.Data...)
	}
	return b
}

func decodeOvertaking(b []byte) (any, error) {
	e := barrier{id: int64(binary.LittleEndian.Uint64(b[1:])), started: int64(binary.LittleEndian.Uint64(b[9:])), unaligned: true}
	rest := b[17:]
	number := func() int {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > math.MaxInt32 {
			rest = nil
			return -1
		}
		rest = rest[k:]
		return int(n)
	}
	for left := number(); left != 0; left-- {
		if left < 0 || len(rest) == 0 {
			return nil, errors.New("a barrier with records that it has overtaken is cut off")
		}
		f := checkpoints.Frames{Flags: rest[0]}
		rest = rest[1:]
		f.Records = number()
		size := number()
		if f.Records < 0 || size < 0 || size > len(rest) {
			return nil, errors.New("a barrier with records that it has overtaken is cut off")
		}
		f.Data = slices.Clone(rest[:size])
		rest = rest[size:]
		e.overtaken = append(e.overtaken, f)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes behind a barrier", len(rest))
	}
	return e, nil
}
