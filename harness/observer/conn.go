package observer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Limits of a connection.
const (
	dialLimit = 5 * time.Second
	// answerLimit is how long a broker may take for an answer beyond the time
	// that the request lets it wait.
	answerLimit = 10 * time.Second
	// answerBytes is the longest answer believed: the bounds of a fetch and the
	// longest batch that a broker can be told to take.
	answerBytes = 1 << 30
)

// Versions of the fetch request that this package speaks: 4 brought
// transactions, 13 names topics by id. What later ones add is for others.
const (
	fetchOldest = 4
	fetchNewest = 13
)

// conn is a connection to one broker with at most one request under way, so
// that whoever reads an answer is woken by its arrival and by nothing else. Its
// buffers are used again: an answer is valid until the next is received.
type conn struct {
	net    net.Conn
	format *kmsg.RequestFormatter
	fetch  int16 // version of fetch requests
	id     int32
	out    []byte
	in     []byte
}

// errVersions is the error of a broker that is too old or too new.
var errVersions = errors.New("no common version of the fetch request")

// dial connects and agrees on a version.
func dial(ctx context.Context, addr, client string) (*conn, error) {
	d := net.Dialer{Timeout: dialLimit}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &conn{net: nc, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(client)), in: make([]byte, 64<<10)}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	if err := c.agree(); err != nil {
		c.close()
		return nil, fmt.Errorf("broker %s: %w", addr, err)
	}
	return c, nil
}

func (c *conn) close() { _ = c.net.Close() }

// agree finds the newest version of fetch requests that both sides speak.
func (c *conn) agree() error {
	// Version 0 is understood by every broker.
	if err := c.send(kmsg.NewPtrApiVersionsRequest()); err != nil {
		return err
	}
	b, err := c.receive(false)
	if err != nil {
		return err
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(b); err != nil {
		return fmt.Errorf("api versions: %w", err)
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey != int16(kmsg.Fetch) {
			continue
		}
		if c.fetch = min(fetchNewest, k.MaxVersion); c.fetch >= max(fetchOldest, k.MinVersion) {
			return nil
		}
		return fmt.Errorf("%w: it speaks %d to %d, the observer %d to %d", errVersions, k.MinVersion, k.MaxVersion, fetchOldest, fetchNewest)
	}
	return errVersions
}

// send writes a request. Its answer must be received before the next is sent.
func (c *conn) send(req kmsg.Request) error {
	c.id++
	c.out = c.format.AppendRequest(c.out[:0], req, c.id)
	if err := c.net.SetDeadline(time.Now().Add(fetchWait + answerLimit)); err != nil {
		return err
	}
	_, err := c.net.Write(c.out)
	return err
}

// receive reads an answer whole and returns what follows its header, valid
// until the next call.
func (c *conn) receive(flexible bool) ([]byte, error) {
	size, n := 4, 0
	for n < size || size == 4 {
		m, err := c.net.Read(c.in[n:])
		if err != nil {
			return nil, err
		}
		n += m
		if size > 4 || n < 4 {
			continue
		}
		length := binary.BigEndian.Uint32(c.in)
		if length < 4 || length > answerBytes {
			return nil, fmt.Errorf("an answer of %d bytes", length)
		}
		if size += int(length); size > len(c.in) {
			in := make([]byte, size)
			copy(in, c.in[:n])
			c.in = in
		}
	}
	if n > size {
		return nil, fmt.Errorf("%d bytes behind an answer", n-size)
	}
	if id := int32(binary.BigEndian.Uint32(c.in[4:])); id != c.id {
		return nil, fmt.Errorf("an answer to request %d instead of %d", id, c.id)
	}
	body := c.in[8:size]
	if flexible {
		return skipTags(body)
	}
	return body, nil
}

// skipTags skips the tagged fields of a flexible answer's header.
func skipTags(b []byte) ([]byte, error) {
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	for tags := number(); tags > 0 && b != nil; tags-- {
		number()
		if size := number(); size <= uint64(len(b)) {
			b = b[size:]
		} else {
			b = nil
		}
	}
	if b == nil {
		return nil, errors.New("an answer ends within its header")
	}
	return b, nil
}
