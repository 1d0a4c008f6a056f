package engines

import (
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"time"

	"streamduel/engines/cluster"
)

// Members is how an engine gets more processes: children of the worker, started
// from the same program, that make the same job of the same line.
type Members struct {
	// Command makes a member's command.
	Command func() *exec.Cmd
	// Job is what a member is sent first: its host makes the job of it.
	Job []byte
}

// JobMessage is the kind of the first message that a member gets; its body is
// Members.Job. RefusedMessage is what it answers when it cannot make a job of it,
// with the reason as its body.
const (
	JobMessage     = "job"
	RefusedMessage = "refused"
)

// Membership is what a member's engine has of the worker.
type Membership struct {
	*cluster.Membership
	// Listener takes connections of other members, at the address that the leader
	// knows.
	Listener net.Listener
}

// Happened is an event of a member on its way to its leader.
type Happened struct {
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// Happening makes an event ready for the way.
func Happening(e Event) (Happened, error) {
	body, err := json.Marshal(e)
	return Happened{e.Kind(), body}, err
}

// Event returns an event to be passed on.
func (h Happened) Event() Event { return passedOn{h} }

type passedOn struct{ Happened }

func (p passedOn) Kind() string                 { return p.Happened.Kind }
func (p passedOn) MarshalJSON() ([]byte, error) { return p.Body, nil }

// Distributed is an engine whose tasks may run in members.
type Distributed interface {
	Engine
	// MemberKind is what a member is called: "executor", "task manager".
	MemberKind() string
	// Member runs a member's part of a job until its leader ends it (nil) or is
	// gone. Of the runtime, Failpoints are not used: the leader's count.
	Member(ctx context.Context, m Membership, job Job, config any, rt Runtime) error
}

// Killer is a run some of whose processes can be killed alone.
type Killer interface {
	// Kill ends a member, counted from 1, with SIGKILL.
	Kill(member int) error
}

// ProcessUsage is what members have used in all, dead ones included.
type ProcessUsage struct {
	AllocBytes       uint64
	GCPauseMillisMax float64
}

// Spread is a run that has members.
type Spread interface{ Used() ProcessUsage }

// Standing is an engine whose job may have coordinators that stand by.
type Standing interface {
	Engine
	// Standbys returns how many stand by, and for how long a coordinator may not
	// say that it leads before another takes over.
	Standbys(config any) (n int, lease time.Duration)
}
