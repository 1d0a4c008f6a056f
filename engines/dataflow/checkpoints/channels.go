package checkpoints

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Channels are the records that were on their way to one subtask when a
// checkpoint's barriers overtook them.
type Channels struct {
	Operator    string    `json:"operator"` // at the head of the subtask's task
	Subtask     int       `json:"subtask"`
	Parallelism int       `json:"parallelism"`
	From        []Channel `json:"from"`
	File        string    `json:"file"`
	Bytes       int64     `json:"bytes"`
}

// Channel is one upstream subtask of one edge.
type Channel struct {
	Edge        string `json:"edge"`
	Subtask     int    `json:"subtask"`
	Parallelism int    `json:"parallelism"`
}

// Frames are a buffer's bytes on their way through a channel, a number in
// Channels.From.
type Frames struct {
	Channel int
	Flags   uint8
	Records int
	Data    []byte
}

// InFlightBytes returns the size of all records on their way.
func (m *Metadata) InFlightBytes() (n int64) {
	for _, c := range m.Channels {
		n += c.Bytes
	}
	return n
}

// WriteChannels writes what was on its way to a subtask, and fills in where it
// is.
func (s *Store) WriteChannels(id int64, attempt, fragment int, c *Channels, fs []Frames) error {
	var b []byte
	for _, f := range fs {
		b = binary.AppendUvarint(b, uint64(f.Channel))
		b = append(b, f.Flags)
		b = binary.AppendUvarint(b, uint64(f.Records))
		b = binary.AppendUvarint(b, uint64(len(f.Data)))
		b = append(b, f.Data...)
		c.Bytes += int64(len(f.Data))
	}
	c.File = fmt.Sprintf("%s%d-%d-%d-%d-channels", statePrefix, id, attempt, fragment, c.Subtask)
	return s.folder.Write(c.File, b)
}

var errFrames = errors.New("the records on their way do not decode")

// Frames returns what was on its way to a subtask, nil when nothing was.
func (c *Checkpoint) Frames(operator string, subtask int) (of *Channels, fs []Frames, err error) {
	for i := range c.Channels {
		of = &c.Channels[i]
		if of.Operator != operator || of.Subtask != subtask {
			continue
		}
		b, err := io.ReadAll(io.NewSectionReader(c.states[of.File], 0, 1<<62))
		if err != nil {
			return nil, nil, err
		}
		for len(b) > 0 {
			var f Frames
			var size uint64
			for _, field := range []func(uint64){
				func(v uint64) { f.Channel = int(v) }, nil, func(v uint64) { f.Records = int(v) }, func(v uint64) { size = v },
			} {
				if field == nil {
					if len(b) == 0 {
						return nil, nil, errFrames
					}
					f.Flags, b = b[0], b[1:]
					continue
				}
				v, n := binary.Uvarint(b)
				if n <= 0 {
					return nil, nil, errFrames
				}
				field(v)
				b = b[n:]
			}
			if uint64(len(b)) < size || f.Channel >= len(of.From) {
				return nil, nil, errFrames
			}
			f.Data, b = b[:size:size], b[size:]
			fs = append(fs, f)
		}
		return of, fs, nil
	}
	return nil, nil, nil
}
