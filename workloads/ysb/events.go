package ysb

import (
	"bytes"
	"strconv"
	"time"

	"streamduel/workloads"
	"streamduel/workloads/internal/draw"
)

// uuid writes the id of the n-th thing of a kind. Ids do not depend on the
// seed: the job's join table has to know them.
func uuid(kind string, n int) string {
	const digits = "0123456789abcdef"
	var seed uint64
	for _, c := range []byte(kind) {
		seed = draw.Mix(seed ^ uint64(c))
	}
	hi, lo := draw.Hash(seed, int64(2*n)), draw.Hash(seed, int64(2*n+1))
	b := make([]byte, 0, 36)
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b = append(b, '-')
		}
		x := hi
		if i >= 16 {
			x = lo
		}
		b = append(b, digits[x>>(60-i%16*4)&15])
	}
	return string(b)
}

func uuids(kind string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = uuid(kind, i)
	}
	return ids
}

var (
	adTypes    = [...]string{"banner", "modal", "sponsored-search", "mail", "mobile"}
	eventTypes = [...]string{"view", "click", "purchase"}
)

const (
	people = 100
	pages  = 100
	jitter = 50 // milliseconds either way
	// closingType marks a closing record; it is no type of the benchmark.
	closingType = "closing"
)

// generator makes events as the original does, but with the scheduled time for
// event time, so that a stall of the generator hides nothing.
type generator struct {
	p                 *Params
	seed              uint64
	users, pages, ads []string
	lateBy            int
}

func newGenerator(p *Params, seed uint64) *generator {
	return &generator{
		p: p, seed: draw.Mix(seed),
		users: uuids("user", people), pages: uuids("page", pages), ads: uuids("ad", p.Campaigns*p.AdsPerCampaign),
		lateBy: int(p.LateBy / time.Millisecond),
	}
}

func (g *generator) Append(dst []byte, in workloads.Input) (value, key []byte) {
	random := draw.Hash(g.seed, in.Index)
	at := in.EventTime
	if g.p.Skew {
		r := draw.Mix(random ^ 1)
		at += int64(draw.Below(r, 2*jitter+1)) - jitter
		if r = draw.Mix(r); draw.Below(r, g.p.LateOneIn) == 0 {
			at -= int64(draw.Below(draw.Mix(r), g.lateBy+1))
		}
	}
	// One random value gives several independent small choices: below n, the
	// next is taken from what the multiplication leaves.
	choose := func(n int) int { i := draw.Below(random, n); random *= uint64(n); return i }
	eventType := eventTypes[choose(len(eventTypes))]
	ad := choose(len(g.ads))
	adType := adTypes[choose(len(adTypes))]
	return event(dst, g.users[choose(people)], g.pages[choose(pages)], g.ads[ad], adType, eventType, at), nil
}

func (g *generator) Closing(dst []byte, in workloads.Input) (value, key []byte) {
	last := in.EventTime
	if g.p.Skew {
		last += jitter
	}
	return event(dst, g.users[0], g.pages[0], g.ads[0], adTypes[0], closingType, g.p.horizon().ClosingTime(last)), nil
}

// AppendBad appends the event as it would have been, but cut off, without its
// event time, or with one that cannot be.
func (g *generator) AppendBad(dst []byte, in workloads.Input, kind workloads.BadKind) (value, key []byte) {
	at := len(dst)
	switch kind {
	case workloads.Undecodable:
		dst, _ = g.Append(dst, in)
		return dst[:at+(len(dst)-at)/2], nil
	case workloads.NoEventTime:
		dst, _ = g.Append(dst, in)
		from := at + bytes.Index(dst[at:], []byte(`"event_time"`))
		to := from + bytes.Index(dst[from:], []byte(`"ip_address"`))
		return append(dst[:from], dst[to:]...), nil
	}
	in.EventTime = workloads.BadEventTime(in, kind)
	return g.Append(dst, in)
}

func event(dst []byte, user, page, ad, adType, eventType string, at int64) []byte {
	dst = append(append(dst, `{"user_id":"`...), user...)
	dst = append(append(dst, `","page_id":"`...), page...)
	dst = append(append(dst, `","ad_id":"`...), ad...)
	dst = append(append(dst, `","ad_type":"`...), adType...)
	dst = append(append(dst, `","event_type":"`...), eventType...)
	dst = append(dst, `","event_time":"`...)
	dst = strconv.AppendInt(dst, at, 10)
	return append(dst, `","ip_address":"1.2.3.4"}`...)
}
