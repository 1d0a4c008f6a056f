package fetch

import (
	"encoding/json"
	"fmt"
	"time"

	"streamduel/exchange/remote"
)

const (
	requests  = 1 // the channel
	firstLane = 2
	// Buffers that a lane sets aside, and those that it takes on beside them while
	// there is more to come: 2 MiB in all.
	laneExclusive = 8
	laneFloating  = 56
)

// Request asks for a partition's part of the outputs of one stage's tasks.
type Request struct {
	Generation int64 `json:"generation"`
	Batch      int64 `json:"batch"`
	Stage      int   `json:"stage"`
	Out        int   `json:"out"`
	Down       int   `json:"down"`
	Ups        []int `json:"ups"` // in the order in which they are read
}

func (r *Request) key(up int) Key { return Key{r.Generation, r.Stage, r.Out, up} }

// message is what a connection carries beside buffers. One of its parts is set.
type message struct {
	ID    int64    `json:"id"` // of the request
	Lane  uint32   `json:"lane,omitempty"`
	Asked *Request `json:"asked,omitempty"`
	Begin *int     `json:"begin,omitempty"` // the up whose buffers follow
	End   bool     `json:"end,omitempty"`
	Error string   `json:"error,omitempty"`
	// Broken: the output whose buffers came last is not whole.
	Broken bool `json:"broken,omitempty"`
}

type events struct{}

func (events) Append(b []byte, event any) ([]byte, error) {
	m, err := json.Marshal(event)
	return append(b, m...), err
}

func (events) Decode(b []byte) (any, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("not a message of a fetch: %w", err)
	}
	return m, nil
}

// config is both ends'. An executor that does not speak for so long is dead to
// those that fetch from it.
func config() remote.Config {
	return remote.Config{Flow: remote.Credit, Events: events{}, Silence: 10 * time.Second}
}
