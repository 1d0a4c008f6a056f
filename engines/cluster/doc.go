// Package cluster runs the processes of one worker: the worker leads, its
// members are executors or task managers. It knows what every such pair needs
// (start, presentation, messages in order, liveness, death) and nothing of what
// the messages say.
//
// A member is a child of the leader and gets its invitation (address, token,
// index) as the first line of its standard input, which stays open. It dies with
// its leader: by the end of that input within moments, by the end of the
// connection, or by the leader's silence. The leader learns of a member's death
// in the same ways. A member never comes back; another may take its index.
//
// Messages are framed as
//
//	length of kind 1 | kind | length of body 4 | body
//
// with integers little endian. Bodies are the engine's own; Calls gives those that
// ask something an answer.
package cluster

import (
	"encoding/json"
	"fmt"
	"time"
)

// Message is one message in either direction.
type Message struct {
	Kind string // at most 255 bytes; "" is the protocol's own
	Body []byte
}

// Encode makes a message whose body is JSON.
func Encode(kind string, v any) (Message, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Message{}, fmt.Errorf("message %s: %w", kind, err)
	}
	return Message{kind, b}, nil
}

// Decode reads a JSON body.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("message %s: %w", m.Kind, err)
	}
	return nil
}

const (
	maxKind = 255
	maxBody = 1 << 30
	// defaultSilence is how long a peer may say nothing.
	defaultSilence = 5 * time.Second
)

// invitation is the first line of a member's standard input.
type invitation struct {
	Address string        `json:"address"`
	Token   string        `json:"token"`
	Index   int           `json:"index"`
	Silence time.Duration `json:"silence"`
}

// presentation is a member's first message.
type presentation struct {
	Token string `json:"token"`
	Index int    `json:"index"`
	PID   int    `json:"pid"`
	// Data is the address where the member takes connections of others.
	Data string `json:"data,omitempty"`
}
