package remote

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// magic begins every greeting; the last byte is the version of the protocol.
const magic = "sdx\x02"

const (
	maxGreeting      = 1 << 10
	greetingPatience = 10 * time.Second
)

// Greeting is how a process presents itself. The token keeps others out, a
// process of an earlier attempt among them.
type Greeting struct{ Name, Token string }

// Dial connects to a process that listens.
func Dial(ctx context.Context, addr string, self Greeting, cfg Config) (*Conn, error) {
	nc, err := (&net.Dialer{Timeout: greetingPatience}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	peer, err := greet(nc, self)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return newConn(nc, peer, cfg), nil
}

// Accept takes the next process that connects. A connection whose greeting is
// wrong is dropped and its error returned; the listener lives on. It ends with
// net.ErrClosed.
func Accept(l net.Listener, self Greeting, cfg Config) (*Conn, error) {
	nc, err := l.Accept()
	if err != nil {
		return nil, err
	}
	peer, err := greet(nc, self)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("from %s: %w", nc.RemoteAddr(), err)
	}
	return newConn(nc, peer, cfg), nil
}

// greet exchanges greetings: both write, then both read.
func greet(nc net.Conn, self Greeting) (peer string, err error) {
	if len(self.Name)+len(self.Token) > maxGreeting {
		return "", fmt.Errorf("a name and token of %d bytes, %d at most", len(self.Name)+len(self.Token), maxGreeting)
	}
	if err := nc.SetDeadline(time.Now().Add(greetingPatience)); err != nil {
		return "", err
	}
	b := append([]byte(nil), magic...)
	for _, s := range []string{self.Token, self.Name} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	if _, err := nc.Write(b); err != nil {
		return "", err
	}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(nc, head); err != nil {
		return "", fmt.Errorf("greeting: %w", err)
	}
	if string(head) != magic {
		return "", fmt.Errorf("greeting %q is not of this protocol or version", head)
	}
	token, err := readString(nc)
	if err != nil {
		return "", err
	}
	if subtle.ConstantTimeCompare([]byte(token), []byte(self.Token)) == 0 {
		return "", errors.New("a process of another job or attempt")
	}
	if peer, err = readString(nc); err != nil {
		return "", err
	}
	return peer, nc.SetDeadline(time.Time{})
}

func readString(r io.Reader) (string, error) {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", fmt.Errorf("greeting: %w", err)
	}
	size := binary.LittleEndian.Uint32(n[:])
	if size > maxGreeting {
		return "", fmt.Errorf("greeting: a string of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", fmt.Errorf("greeting: %w", err)
	}
	return string(b), nil
}
