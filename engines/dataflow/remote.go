package dataflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"streamduel/engines/dataflow/schedule"
	"streamduel/exchange"
	"streamduel/exchange/remote"
	"streamduel/pipeline"
)

// The exchange between task managers. Two that have channels of a region between
// them share one connection, which lives and dies with the region's tasks: what
// fails together is restarted together. The one with the lower index dials.
//
// With flow control by TCP each edge has a connection of its own, as in Flink before
// 1.5 (the connection index of an intermediate result). Otherwise a connection that
// is not read for want of a subtask's buffers could keep what that subtask waits for
// from coming: the output of its output's reader.

// conn is a connection to another task manager.
type conn struct {
	*remote.Conn
	link
}

// link is what a connection is for.
type link struct {
	peer int
	lane int // the edge's number, from 1; 0 for all edges
}

// peers takes the connections of others.
type peers struct {
	tm  *taskManager
	cfg remote.Config

	mu   sync.Mutex
	got  map[string]*remote.Conn // by name
	over map[int]int64           // by region: nothing up to this epoch is waited for any more
	came chan struct{}           // closed and made anew when one has come
}

func newPeers(tm *taskManager) *peers {
	return &peers{
		tm: tm, cfg: remote.Config{Flow: tm.run.cfg.FlowControl, Events: ringEvents{}, Overtake: func(event any, waiting []exchange.Element) any {
			if b, ok := event.(barrier); ok {
				return b.further(waiting)
			}
			return event
		}},
		got: map[string]*remote.Conn{}, over: map[int]int64{}, came: make(chan struct{}),
	}
}

// linkName names a connection that a task manager dials for a region's tasks.
func linkName(a tenure, from, lane int) string {
	return fmt.Sprintf("%d/%d/%d/%d", a.Region, a.Epoch, from, lane)
}

// linked takes such a name apart.
func linked(name string) (a tenure, err error) {
	var from, lane int
	_, err = fmt.Sscanf(name, "%d/%d/%d/%d", &a.Region, &a.Epoch, &from, &lane)
	return a, err
}

func (p *peers) accept() {
	self := remote.Greeting{Name: fmt.Sprintf("task manager %d", p.tm.from.Index+1), Token: p.tm.from.Token}
	for {
		c, err := remote.Accept(p.tm.from.Listener, self, p.cfg)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.tm.run.rt.Log.Warn("a connection was not taken", "error", err)
			select {
			case <-time.After(10 * time.Millisecond): // it may be the lack of something
			case <-p.tm.run.ctx.Done():
				return
			}
			continue
		}
		p.put(c)
	}
}

func (p *peers) put(c *remote.Conn) {
	a, err := linked(c.Peer())
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || a.Epoch <= p.over[a.Region] {
		go c.Abort()
		return
	}
	p.got[c.Peer()] = c
	close(p.came)
	p.came = make(chan struct{})
}

// await returns the connection of a name when it has come.
func (p *peers) await(ctx context.Context, name string) (*remote.Conn, error) {
	for {
		p.mu.Lock()
		c, came := p.got[name], p.came
		delete(p.got, name)
		p.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// forget lets go what has come, or will come, for tasks that are no more.
func (p *peers) forget(a tenure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over[a.Region] = max(p.over[a.Region], a.Epoch)
	for name, c := range p.got {
		if b, err := linked(name); err == nil && b.Region == a.Region && b.Epoch <= a.Epoch {
			go c.Abort()
			delete(p.got, name)
		}
	}
}

// remoteChannel is a channel of which one end is here.
type remoteChannel struct {
	id       uint32
	edge     *pipeline.Edge
	from, to schedule.Subtask
	link
	out bool // leads away from here
}

// channels lists the channels between a region's tasks here and elsewhere. Every
// process counts all channels of the job in the same order, so that both ends
// know one by the same number.
func (tm *taskManager) channels(g *region) (cs []remoteChannel) {
	r, id := tm.run, uint32(0)
	here := map[schedule.Subtask]bool{}
	for _, s := range g.seats {
		here[schedule.Subtask{Vertex: s.fragment.Index, Index: s.index}] = true
	}
	r.eachChannel(func(e *pipeline.Edge, from, to schedule.Subtask) {
		id++
		c := remoteChannel{id: id, edge: e, from: from, to: to, link: link{lane: r.lane(e)}}
		switch {
		case here[from] && !here[to]:
			c.out, c.peer = true, r.places[to].TaskManager
		case here[to] && !here[from]:
			c.peer = r.places[from].TaskManager
		default:
			return
		}
		cs = append(cs, c)
	})
	return cs
}

// lane returns which of the connections between two task managers an edge's channels
// share.
func (r *run) lane(e *pipeline.Edge) (n int) {
	if r.cfg.FlowControl != remote.TCP {
		return 0
	}
	for _, f := range r.fragments {
		for _, in := range f.In {
			if n++; in == e {
				return n
			}
		}
	}
	return 0
}

// eachChannel calls f for all channels of the job.
func (r *run) eachChannel(f func(e *pipeline.Edge, from, to schedule.Subtask)) {
	up := map[*pipeline.Edge]*pipeline.Fragment{}
	for _, f := range r.fragments {
		for _, e := range f.Out {
			up[e] = f
		}
	}
	for v, to := range r.fragments {
		for _, e := range to.In {
			from := up[e]
			for i := range from.Parallelism {
				for j := range to.Parallelism {
					if e.Effective(r.job.Parallelism) != pipeline.Forward || i == j {
						f(e, schedule.Subtask{Vertex: from.Index, Index: i}, schedule.Subtask{Vertex: v, Index: j})
					}
				}
			}
		}
	}
}

// dial makes the connections that the region's tasks here need.
func (d *deployment) dial(tm *taskManager, addresses map[int]string) error {
	own := tm.from.Index
	for _, c := range tm.channels(d.region) {
		if d.conns[c.link] != nil {
			continue
		}
		var rc *remote.Conn
		var err error
		if own < c.peer {
			rc, err = remote.Dial(d.ctx, addresses[c.peer], remote.Greeting{Name: linkName(d.tenure, own, c.lane), Token: tm.from.Token}, tm.peers.cfg)
		} else {
			rc, err = tm.peers.await(d.ctx, linkName(d.tenure, c.peer, c.lane))
		}
		if err != nil {
			return fmt.Errorf("connection to task manager %d: %w", c.peer+1, err)
		}
		d.conns[c.link] = &conn{rc, c.link}
		go d.watch(tm, d.conns[c.link])
	}
	return nil
}

// watch tells the coordinator when a connection has failed.
func (d *deployment) watch(tm *taskManager, c *conn) {
	<-c.Done()
	if d.ctx.Err() == nil {
		tm.post(kindParted, parted{d.tenure, c.peer, fmt.Sprintf("task manager %d: connection to task manager %d: %v", tm.from.Index+1, c.peer+1, c.Err())})
	}
}

// connect makes the rings of a region's tasks: between two of them here, and to
// and from those elsewhere.
func (d *deployment) connect(tm *taskManager, ts []*task) error {
	r := tm.run
	tasks := map[schedule.Subtask]*task{}
	for _, t := range ts {
		tasks[schedule.Subtask{Vertex: t.fragment.Index, Index: t.index}] = t
	}
	incoming := map[schedule.Subtask]int{}
	for _, c := range tm.channels(d.region) {
		if !c.out {
			incoming[c.to]++
		}
	}
	gates := map[schedule.Subtask]*remote.Gate{}
	for to, n := range incoming {
		g, err := remote.NewGate(r.cfg.FlowControl, n, r.cfg.Buffers.ExclusivePerChannel, r.cfg.Buffers.FloatingPerGate)
		if err != nil {
			return err
		}
		gates[to], tasks[to].in.gate = g, g
	}
	rings := map[ringKey][]*exchange.Ring{}
	id := uint32(0)
	var failed error
	r.eachChannel(func(e *pipeline.Edge, from, to schedule.Subtask) {
		id++
		up, down := tasks[from], tasks[to]
		if up == nil && down == nil || failed != nil {
			return
		}
		var ring *exchange.Ring
		if down != nil {
			ring = down.in.add(e, from.Index)
		}
		switch {
		case up == nil:
			c := &down.in.channels[len(down.in.channels)-1]
			c.remote, c.tag = true, down.in.remotes
			down.in.remotes++
			ring.OnEvent(func(event any) {
				if b, ok := event.(barrier); ok && down.hastens.Load() >= b.id {
					promote(ring, b.id) // it was on its way when the word came
				}
			})
			failed = d.conns[link{r.places[from].TaskManager, r.lane(e)}].Receive(id, gates[to], ring)
			return
		case down == nil:
			if ring, failed = d.conns[link{r.places[to].TaskManager, r.lane(e)}].Send(id); failed != nil {
				return
			}
		}
		key := ringKey{e, from.Index}
		if rings[key] == nil {
			rings[key] = make([]*exchange.Ring, r.fragments[to.Vertex].Parallelism)
		}
		rings[key][to.Index] = ring
	})
	maps.Copy(r.rings, rings)
	return failed
}
