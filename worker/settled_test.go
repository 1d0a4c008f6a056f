package worker

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"streamduel/connectors"
)

// waiting returns a coordinator whose process waits for its job.
func waiting(t *testing.T, number int) *coordinator {
	t.Helper()
	c := &coordinator{number: number, cmd: exec.Command(os.Args[0]), open: map[int64]bool{}}
	c.cmd.Env = append(os.Environ(), workerEnv+"=1")
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stdin.Close() })
	return c
}

// TestNobodyTakesAnEndedJobUp: the process of a leader that has ended the job may
// take longer to end than its lease, and one that stands by then leads. It used to
// run the job, which nobody was going to stop again.
func TestNobodyTakesAnEndedJobUp(t *testing.T) {
	for name, end := range map[string]string{
		"stopped": `{"event":"stopped","mode":"drain"}`,
		"failed":  `{"event":"failed","error":"a bad record"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			w := &worker{out: &out, errs: io.Discard, log: slog.New(slog.DiscardHandler), gate: connectors.NewGate()}
			f := &front{w: w, heard: make(chan any, 8), over: make(chan struct{})}
			first, second := waiting(t, 1), waiting(t, 2)
			f.each = []*coordinator{first, second}
			f.said(first, []byte(`{"event":"elected","coordinator":1,"term":1}`))
			f.said(first, []byte(end))
			f.said(second, []byte(`{"event":"elected","coordinator":2,"term":2}`))
			err := second.cmd.Wait()
			if !killed(err) {
				t.Errorf("the one that stood by ended with %v", err)
			}
			if ended, err := f.died(second, err); ended || err != nil || f.coming != 0 {
				t.Errorf("the end of the one that stood by: ended %v, %v, %d are started for it", ended, err, f.coming)
			}
			first.stdin.Close()
			if ended, err := f.died(first, first.cmd.Wait()); !ended || (err != nil) != (name == "failed") {
				t.Errorf("the end of the leader: ended %v, %v", ended, err)
			}
			if text := out.String(); strings.Contains(text, `"term":2`) || strings.Contains(text, "deposed") {
				t.Errorf("somebody else led:\n%s", text)
			}
		})
	}
}
