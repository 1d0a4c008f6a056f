package microbatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"streamduel/connectors"
	"streamduel/engines/microbatch/fetch"
	"streamduel/engines/microbatch/schedule"
	"streamduel/engines/microbatch/spill"
	"streamduel/exchange"
	"streamduel/state"
)

// An executor's side of receivers. What it has received it keeps, encoded, beside
// the shuffle's outputs, from where tasks here and elsewhere read it until a batch
// has finished it.

// awayReceiver is a receiver that runs here.
type awayReceiver struct {
	p       *memberProcess
	attempt schedule.Attempt
	log     *state.Folder // nil without one
	number  int64         // of the next block
	last    atomic.Bool   // what is in hand at the end is to be stored
	mu      sync.Mutex
	splits  []connectors.Assignment // to be received, not yet known to the receiver
}

// ofReceivers is the generation of blocks in the store, which no task's is.
const ofReceivers = -1

func blockKey(serial int64) fetch.Key { return fetch.Key{Generation: ofReceivers, Up: int(serial)} }

// receiving takes a message about receivers.
func (p *memberProcess) receiving(kind string, decode func(any) error) error {
	switch kind {
	case kindReceive:
		var l reception
		if err := decode(&l); err != nil {
			return err
		}
		p.run.limit.set(l.Limit)
		x := &awayReceiver{p: p, attempt: l.Attempt, number: l.Number, splits: l.Splits}
		ctx, cancel := context.WithCancel(p.run.ctx)
		p.mu.Lock()
		p.running[l.Attempt], p.receivers[l.Attempt] = cancel, x
		p.mu.Unlock()
		go x.run(ctx, l)
	case kindFollow:
		var f following
		if err := decode(&f); err != nil {
			return err
		}
		p.mu.Lock()
		x := p.receivers[f.Attempt]
		p.mu.Unlock()
		if x != nil {
			x.mu.Lock()
			x.splits = append(x.splits, f.Splits...)
			x.mu.Unlock()
		}
	case kindFinish:
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, x := range p.receivers {
			x.last.Store(true)
		}
	case kindDrop:
		var serials []int64
		if err := decode(&serials); err != nil {
			return err
		}
		p.dropBlocks(serials)
	case kindLimit:
		var rate float64
		if err := decode(&rate); err != nil {
			return err
		}
		p.run.limit.set(rate)
	}
	return nil
}

func (p *memberProcess) dropBlocks(serials []int64) {
	gone := make(map[fetch.Key]bool, len(serials))
	for _, n := range serials {
		gone[blockKey(n)] = true
	}
	p.store.Drop(func(k fetch.Key) bool { return gone[k] })
}

// run receives until the attempt is ended, and tells how it ended.
func (x *awayReceiver) run(ctx context.Context, l reception) {
	p := x.p
	err := guard(func() error {
		source := p.run.sources[l.Source]
		if p.run.cfg.Source.Receiver.WriteAheadLog {
			var err error
			if x.log, err = receivedLog(p.run, source); err != nil {
				return err
			}
		}
		return (&receiver{source: source, splits: x.take, store: x.store}).run(ctx, x.last.Load)
	})
	p.mu.Lock()
	delete(p.receivers, x.attempt)
	p.mu.Unlock()
	p.tellEnded(ended{Attempt: x.attempt}, err)
}

func receivedLog(r *run, s *source) (*state.Folder, error) {
	return r.job.Folder.Sub("received-" + s.node.UID)
}

func (x *awayReceiver) take() (out []connectors.Assignment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	out, x.splits = x.splits, nil
	return out
}

// store keeps a block here, durably too where there is a log, and tells the driver,
// who tells the outside system.
func (x *awayReceiver) store(ctx context.Context, b block) error {
	if len(b) == 0 {
		return nil
	}
	p := x.p
	if err := p.run.attempt.Check(); err != nil {
		return schedule.Permanent{Err: err}
	}
	told := storedBlock{Attempt: x.attempt, Number: x.number}
	var whole []byte
	var serials []int64
	for _, c := range b {
		data := block{c}.encode()
		whole = append(whole, data...)
		serial := p.blocks.Add(1)
		serials = append(serials, serial)
		told.Chunks = append(told.Chunks, storedChunk{Split: c.split, From: c.from, Until: c.until, Serial: serial})
		p.run.bufferedBytes.Add(int64(len(data)))
		p.store.Put(blockKey(serial), 0, []spill.Part{{Buffers: pieced(data)}})
	}
	err := error(nil)
	if x.log != nil {
		if err = x.log.Create(logName(blockPrefix, x.number), whole); err != nil {
			err = fmt.Errorf("write-ahead log: %w", err)
		}
	}
	if err == nil {
		// The answer is waited for whatever becomes of the receiver: the driver may
		// have counted on the block.
		err = p.calls.Call(context.WithoutCancel(ctx), kindBlock, told, &x.number)
	}
	if err != nil {
		p.dropBlocks(serials)
	}
	return err
}

// pieced cuts bytes into buffers that can be sent.
func pieced(data []byte) (out []*exchange.Buffer) {
	for len(data) > 0 {
		n := min(len(data), exchange.MaxData)
		out = append(out, &exchange.Buffer{Data: data[:n:n]})
		data = data[n:]
	}
	return out
}

// pieceReader gives a task in an executor what was received of its ranges.
type pieceReader struct {
	p      *memberProcess
	source *source
	pieces []piece
	peers  []string
	batch  connectors.Batch
}

var _ connectors.Reader = (*pieceReader)(nil)

// Assign has nothing to do: the pieces say all.
func (r *pieceReader) Assign(...connectors.Assignment) error { return nil }

// Unassign is not used by this engine.
func (r *pieceReader) Unassign(...connectors.SplitID) {}

// Poll returns the next piece.
func (r *pieceReader) Poll(ctx context.Context) (*connectors.Batch, error) {
	if len(r.pieces) == 0 {
		return nil, io.EOF
	}
	x := r.pieces[0]
	r.pieces = r.pieces[1:]
	data, err := r.read(ctx, x)
	if err != nil {
		return nil, err
	}
	b, err := decodeBlock(data)
	if err != nil {
		return nil, err
	}
	for _, c := range b {
		if c.split.ID == x.Split.ID && c.from == x.From && c.until == x.Until {
			r.batch = connectors.Batch{Split: x.Split, Records: c.records, Next: c.until, Latest: c.until}
			return &r.batch, ctx.Err()
		}
	}
	return nil, fmt.Errorf("split %s: the block that should hold positions %d to %d holds others", x.Split.ID, x.From, x.Until)
}

func (r *pieceReader) read(ctx context.Context, x piece) (data []byte, err error) {
	p := r.p
	give := func(b *exchange.Buffer) error {
		data = append(data, b.Data...)
		b.Release()
		return nil
	}
	switch {
	case x.Peer == logged:
		log, err := receivedLog(p.run, r.source)
		if err != nil {
			return nil, err
		}
		if data, err = log.Read(logName(blockPrefix, x.Block)); err != nil {
			return nil, fmt.Errorf("write-ahead log: %w", err)
		}
		return data, nil
	case r.peers[x.Peer] != "":
		s, err := p.client.Fetch(ctx, r.peers[x.Peer], fetch.Request{Generation: ofReceivers, Ups: []int{int(x.Serial)}})
		if err != nil {
			return nil, err
		}
		defer s.Close()
		err = s.Read(ctx, int(x.Serial), give)
		return data, err
	}
	loan, ok := p.store.Lend(blockKey(x.Serial), 0, 0)
	if !ok {
		return nil, fmt.Errorf("split %s: the block that holds positions %d to %d is not here", x.Split.ID, x.From, x.Until)
	}
	err = loan.Read(func() (*exchange.Buffer, error) { return nil, errors.New("no block is spilled") }, give)
	return data, err
}

// Wake has nothing to wake: nothing is waited for but what was received.
func (r *pieceReader) Wake() {}

// Close has nothing to close.
func (r *pieceReader) Close() error { return nil }
