package observer

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answering returns a connection to a broker that answers with bytes of the
// test's choice, each slice written on its own.
func answering(t *testing.T, answers ...[]byte) *conn {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	go func() {
		request := make([]byte, 1<<16)
		if _, err := far.Read(request); err != nil {
			return
		}
		for _, a := range answers {
			if _, err := far.Write(a); err != nil {
				return
			}
		}
		far.Close()
	}()
	return &conn{net: near, format: kmsg.NewRequestFormatter(), in: make([]byte, 64)}
}

// framed is an answer to the first request.
func framed(body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	return append(binary.BigEndian.AppendUint32(b, 1), body...)
}

func TestAnswersAreReadWhole(t *testing.T) {
	long := strings.Repeat("long", 100)
	var drops [][]byte
	for _, b := range framed(long) {
		drops = append(drops, []byte{b})
	}
	for name, c := range map[string]struct {
		answers  [][]byte
		flexible bool
		body     string
		err      string
	}{
		"at once":          {[][]byte{framed("body")}, false, "body", ""},
		"empty":            {[][]byte{framed("")}, false, "", ""},
		"byte by byte":     {drops, false, long, ""},
		"beyond the room":  {[][]byte{framed(long)[:3], framed(long)[3:50], framed(long)[50:]}, false, long, ""},
		"no tags":          {[][]byte{framed("\x00body")}, true, "body", ""},
		"tags":             {[][]byte{framed("\x02\x00\x03abc\x81\x01\x00body")}, true, "body", ""},
		"cut in the tags":  {[][]byte{framed("\x02\x00\x03a")}, true, "", "within its header"},
		"no tags at all":   {[][]byte{framed("")}, true, "", "within its header"},
		"too short":        {[][]byte{{0, 0, 0, 3, 0, 0, 0}}, false, "", "answer of 3 bytes"},
		"too long":         {[][]byte{{0x48, 0x54, 0x54, 0x50}}, false, "", "answer of 1213486160 bytes"},
		"another's":        {[][]byte{{0, 0, 0, 4, 0, 0, 0, 9}}, false, "", "request 9 instead of 1"},
		"two":              {[][]byte{append(framed("a"), framed("b")...)}, false, "", "behind an answer"},
		"gone in the size": {[][]byte{{0, 0}}, false, "", "EOF"},
		"gone in the body": {[][]byte{framed("body")[:9]}, false, "", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := answering(t, c.answers...)
			if err := conn.send(kmsg.NewPtrApiVersionsRequest()); err != nil {
				t.Fatal(err)
			}
			got, err := conn.receive(c.flexible)
			switch {
			case c.err == "" && (err != nil || string(got) != c.body):
				t.Errorf("%q, %v", got, err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestVersionsAreAgreedOn(t *testing.T) {
	for _, c := range []struct{ lowest, highest, want int16 }{{4, 18, 13}, {0, 11, 11}, {13, 13, 13}, {0, 3, 0}, {14, 18, 0}} {
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 0, MaxVersion: 9}, {ApiKey: 1, MinVersion: c.lowest, MaxVersion: c.highest}}
		conn := answering(t, framed(string(resp.AppendTo(nil))))
		err := conn.agree()
		if c.want == 0 && !errors.Is(err, errVersions) || c.want != 0 && (err != nil || conn.fetch != c.want) {
			t.Errorf("%d to %d: version %d, %v", c.lowest, c.highest, conn.fetch, err)
		}
	}
}

// FuzzAnswer: whatever a broker sends, the connection neither panics nor takes
// more than it is told of.
func FuzzAnswer(f *testing.F) {
	f.Add(framed("\x00body"), uint8(3), true)
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 1}, uint8(0), false)
	f.Fuzz(func(t *testing.T, b []byte, cut uint8, flexible bool) {
		if len(b) >= 4 && binary.BigEndian.Uint32(b) > 1<<20 {
			return // room that a test has no use for
		}
		k := min(int(cut), len(b))
		conn := answering(t, b[:k], b[k:])
		if err := conn.send(kmsg.NewPtrApiVersionsRequest()); err != nil {
			t.Fatal(err)
		}
		if got, err := conn.receive(flexible); err == nil && len(got) > len(b)-8 {
			t.Fatalf("%d bytes of %d", len(got), len(b))
		}
	})
}
