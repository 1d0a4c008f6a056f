package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// wire is one end of a connection: messages in order, pings in between.
type wire struct {
	net     net.Conn
	in      *bufio.Reader
	silence time.Duration

	mu  sync.Mutex // of writes
	buf []byte

	once sync.Once
	done chan struct{}
	err  error // set before done is closed
}

func newWire(nc net.Conn, silence time.Duration) *wire {
	return &wire{net: nc, in: bufio.NewReader(nc), silence: silence, done: make(chan struct{})}
}

// send writes a message. It waits while the peer does not read, at most for as
// long as the peer may be silent.
func (w *wire) send(m Message) error {
	if len(m.Kind) > maxKind || len(m.Body) > maxBody {
		return fmt.Errorf("message %s: %d bytes, %d at most", m.Kind, len(m.Body), maxBody)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(append(w.buf[:0], byte(len(m.Kind))), m.Kind...)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(m.Body)))
	if err := w.net.SetWriteDeadline(time.Now().Add(w.silence)); err != nil {
		return err
	}
	vec := net.Buffers{w.buf, m.Body}
	_, err := vec.WriteTo(w.net)
	return err
}

// receive reads the next message that is not a ping.
func (w *wire) receive() (Message, error) {
	for {
		if err := w.net.SetReadDeadline(time.Now().Add(w.silence)); err != nil {
			return Message{}, err
		}
		m, err := readMessage(w.in)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				err = fmt.Errorf("nothing was heard for %s", w.silence)
			}
			return Message{}, err
		}
		if m.Kind != "" {
			return m, nil
		}
	}
}

func readMessage(r io.Reader) (Message, error) {
	var head [maxKind + 4]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return Message{}, err
	}
	n := int(head[0])
	if _, err := io.ReadFull(r, head[:n+4]); err != nil {
		return Message{}, whole(err)
	}
	size := binary.LittleEndian.Uint32(head[n : n+4])
	if size > maxBody {
		return Message{}, fmt.Errorf("a message of %d bytes, %d at most", size, maxBody)
	}
	m := Message{Kind: string(head[:n])}
	// Grown as it comes: a length is no reason to take memory.
	var err error
	m.Body, err = io.ReadAll(io.LimitReader(r, int64(size)))
	if err == nil && len(m.Body) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

// whole makes an end within a message an error of its own.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ping says that this end lives, until the connection is over.
func (w *wire) ping() {
	t := time.NewTicker(w.silence / 4)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := w.send(Message{}); err != nil {
				w.end(err)
				return
			}
		case <-w.done:
			return
		}
	}
}

// end closes the connection and records why.
func (w *wire) end(err error) {
	w.once.Do(func() {
		if errors.Is(err, io.EOF) {
			err = errors.New("the connection was closed")
		}
		w.err = err
		w.net.Close()
		close(w.done)
	})
}
