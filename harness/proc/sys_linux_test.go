package proc

import (
	"testing"
	"time"
)

func TestUsageOfAChild(t *testing.T) {
	lines := make(chan Line, 1)
	c := start(t, "burn", func(l Line) { lines <- l })
	within(t, "end of burning", lines)
	u := c.Usage()
	if u.CPU < 200*time.Millisecond || u.RSS < 1<<20 || u.RSSPeak < u.RSS || u.Processes != 1 {
		t.Errorf("running: %+v", u)
	}
	if err := c.Stop(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	after := c.Usage()
	if after.CPU < u.CPU || after.RSS != 0 || after.RSSPeak < u.RSSPeak {
		t.Errorf("ended: %+v, before %+v", after, u)
	}
}

func TestMachineShares(t *testing.T) {
	a, err := ReadMachine()
	if err != nil {
		t.Fatal(err)
	}
	b := a
	b.Busy += 60 * time.Second
	b.Steal += 30 * time.Second
	b.Idle += 10 * time.Second
	if busy, steal, idle := b.Shares(a); busy != 0.6 || steal != 0.3 || idle != 0.1 {
		t.Errorf("shares %v %v %v", busy, steal, idle)
	}
	if busy, steal, idle := a.Shares(a); busy+steal+idle != 0 {
		t.Error("no time gives shares")
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]int64{
		"some avg10=51.85 avg300=63.54 total=923903912\nfull total=7\n": 923903912,
		"":       0,
		"total=": 0,
	} {
		if got := number([]byte(text), "total="); got != want {
			t.Errorf("%q holds %d, want %d", text, got, want)
		}
	}
}
