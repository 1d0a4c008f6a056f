package microbatch

import (
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/schedule"
	"streamduel/metrics"
	"streamduel/pipeline"
)

// What the driver and its executors say to each other, over cluster.Calls but
// for rows, which come as bytes (rows.go).

// The kinds of messages. The first ones go to an executor.
const (
	kindWelcome  = "welcome"  // call: who you are
	kindOpen     = "open"     // call: make tasks, with their readers and state
	kindLaunch   = "launch"   // run an attempt
	kindKill     = "kill"     // end one
	kindForget   = "forget"   // a batch's shuffle outputs
	kindReceive  = "receive"  // run a receiver
	kindFollow   = "follow"   // more splits for one
	kindFinish   = "finish"   // what receivers have in hand when they are ended is to be stored
	kindDrop     = "drop"     // blocks that a batch has finished
	kindLimit    = "limit"    // of the receivers here
	kindStream   = "stream"   // run a task that reads until it is told to end
	kindOrder    = "order"    // for one
	kindClose    = "close"    // call: end a generation's tasks
	kindThrottle = "throttle" // of all sinks together
	kindSeal     = "seal"     // call: no more output, and what is known of that which left
	kindReport   = "report"   // say how you are: a status
	kindTrim     = "trim"     // the acknowledgement log
	kindLeave    = "leave"    // a task that has moved
	kindRelied   = "relied"   // call: on which files that versions share does the state here rely

	kindPermit = "permit" // call: how many records may pass the sinks here, once one may
	kindBlock  = "block"  // call: a receiver has stored one
	kindSaid   = "said"   // of an epoch, by a task that reads on and on
	kindRows   = "rows"   // that an attempt has written
	kindEnded  = "ended"  // an attempt has
	kindEvent  = "event"  // for the outside
	kindStatus = "status" // of the process
)

type welcome struct {
	Attempt int     `json:"attempt"`
	Rate    float64 `json:"rate,omitempty"` // of all sinks together, 0 for no limit
	Acks    bool    `json:"acks,omitempty"`
}

// place is a task of a generation.
type place struct {
	Stage int `json:"stage"`
	Task  int `json:"task"`
}

// opening asks for tasks before there is a batch, so that what cannot be opened
// or restored is found out at the start and the first batch does not wait for it.
type opening struct {
	Generation int64         `json:"generation"`
	Watermark  int64         `json:"watermark"`
	Tasks      []openingTask `json:"tasks"`
}

type openingTask struct {
	place
	Version int64 `json:"version"` // of its state
}

// leaving is a task whose state has gone on elsewhere.
type leaving struct {
	Generation int64 `json:"generation"`
	place
}

type opened struct {
	Outcomes []outcome `json:"outcomes"` // in the order of the tasks
}

// launching is all that an executor must know to run an attempt.
type launching struct {
	Attempt     schedule.Attempt `json:"attempt"`
	Speculative bool             `json:"speculative,omitempty"`
	Generation  int64            `json:"generation"`
	Batch       int64            `json:"batch"`
	Time        int64            `json:"time"`
	Watermark   int64            `json:"watermark"` // of the batch
	Before      int64            `json:"before"`    // of the batch before
	Version     int64            `json:"version"`   // of the state that it starts from
	Whole       bool             `json:"whole,omitempty"`
	// Rows: what the task writes goes to the driver.
	Rows bool `json:"rows,omitempty"`
	// Assign is what each of the stage's sources reads.
	Assign [][]connectors.Assignment `json:"assign,omitempty"`
	// Pieces are what was received of it, where receivers read the sources.
	Pieces [][]piece `json:"pieces,omitempty"`
	// From says for each incoming edge and map task at which of the Peers its
	// output lies; "" is the executor itself.
	Peers []string `json:"peers,omitempty"`
	From  [][]int  `json:"from,omitempty"`
}

// ended tells how an attempt ended.
type ended struct {
	Attempt   schedule.Attempt `json:"attempt"`
	Outcome   outcome          `json:"outcome"`
	Error     string           `json:"error,omitempty"`
	Permanent bool             `json:"permanent,omitempty"`
	// Missing is the address that an input could not be fetched from.
	Missing string   `json:"missing,omitempty"`
	Gate    [3]int64 `json:"gate"`
	Taken   int64    `json:"taken,omitempty"` // as in status
}

// outcome is what the driver must know of a task after a batch, or after it was
// restored.
type outcome struct {
	engines.StateUsage
	StateBytes      int           `json:"stateBytes,omitempty"`
	StateTime       time.Duration `json:"stateTime,omitempty"`
	EventTimer      int64         `json:"eventTimer"`
	ProcessingTimer int64         `json:"processingTimer"`
	Taken           int64         `json:"taken,omitempty"`
	Took            time.Duration `json:"took,omitempty"`
	Shuffled        int64         `json:"shuffled,omitempty"`
	Spilled         int64         `json:"spilled,omitempty"` // bytes of the output
	Seen            []seen        `json:"seen,omitempty"`
	taskProgress
	// Counted by the functions in the attempt.
	Counted metrics.Update `json:"counted,omitempty"`
}

// seen is the event time of a split.
type seen struct {
	Source    int                `json:"source"` // of the stage's
	Split     connectors.SplitID `json:"split"`
	Watermark int64              `json:"watermark"`
	Idle      bool               `json:"idle,omitempty"`
}

// idleOutcome is that of a task that nothing waits in.
func idleOutcome() outcome { return outcome{EventTimer: never, ProcessingTimer: never} }

// outcome of a task, wherever it runs.
func (t *task) outcome() outcome {
	if t.Task == nil {
		return t.last
	}
	o := outcome{
		StateBytes: t.stateBytes, StateTime: t.stateTime,
		EventTimer: t.NextEventTimer(), ProcessingTimer: t.NextProcessingTimer(), Taken: t.taken, Took: t.took, Shuffled: t.shuffled, Spilled: t.spilled(),
		taskProgress: t.progress,
	}
	o.Add(t.State.Footprint())
	for i, s := range t.sources {
		for _, a := range s.assign {
			wm, idle := s.head.Watermark(a.Split.ID)
			o.Seen = append(o.Seen, seen{i, a.Split.ID, wm, idle})
		}
	}
	return o
}

// farHead stands for the head of a source that runs elsewhere: it knows what the
// last attempt has told.
type farHead struct {
	pipeline.SourceHead
	seen map[connectors.SplitID]seen
}

func (h *farHead) Watermark(id connectors.SplitID) (wm int64, idle bool) {
	s, ok := h.seen[id]
	if !ok {
		return noTime, false
	}
	return s.Watermark, s.Idle
}

// status is what is known of an executor's process.
type status struct {
	Gate     [3]int64             `json:"gate"` // written, acknowledged, in flight
	Bad      int64                `json:"bad,omitempty"`
	Used     engines.ProcessUsage `json:"used"`
	Buffered int64                `json:"buffered,omitempty"` // bytes of shuffle outputs and received blocks
	// Of tasks that read until they are told to end: how much, how far when nothing
	// more is written, and for how long each stage's were busy.
	Taken   int64                  `json:"taken,omitempty"`
	Reached engines.Positions      `json:"reached,omitempty"`
	Busy    []time.Duration        `json:"busy,omitempty"`
	Acks    []engines.Acknowledged `json:"acks,omitempty"`
}
