package exchange

// Outlet is where a writer's buffers come from and go to: an engine's decision.
type Outlet interface {
	// Acquire returns an empty buffer for a channel, or nil when there is none
	// now; the engine calls Writer.Refill when there may be.
	Acquire(channel int) *Buffer
	// Overdraft returns an empty buffer beyond the engine's bound.
	Overdraft(channel int) *Buffer
	// Emit takes over a buffer with frames.
	Emit(channel int, b *Buffer)
}

// Sizer is an outlet that says how many bytes a channel's next buffer should take; 0
// is as many as the writer's limit. It is asked once a buffer.
type Sizer interface{ BufferSize(channel int) int }

// Pressure counts the starved channels of all writers of one task. It belongs
// to the task's goroutine.
type Pressure struct{ Starved int }

// Writer fills buffers, one a channel. It is used by one goroutine. The typed
// side, which appends a frame between Begin and End, is in package pipeline.
type Writer struct {
	outlet   Outlet
	sizer    Sizer // nil where the outlet has no wish
	pressure *Pressure
	current  []*Buffer
	flags    Flags
	limit    int
	records  int64 // emitted
	bytes    int64
}

// NewWriter returns a writer over so many channels. flags are set on all its
// buffers.
func NewWriter(channels int, flags Flags, outlet Outlet, pressure *Pressure) *Writer {
	w := &Writer{outlet: outlet, pressure: pressure, current: make([]*Buffer, channels), flags: flags, limit: Size}
	w.sizer, _ = outlet.(Sizer)
	for ch := range w.current {
		w.pressure.Starved++
		w.refill(ch)
	}
	return w
}

// Channels returns the number of channels.
func (w *Writer) Channels() int { return len(w.current) }

// Flags returns what frames carry.
func (w *Writer) Flags() Flags { return w.flags }

// SetLimit changes how many bytes make a buffer full, where the outlet does not want
// less. It is clipped to MinSize … Size.
func (w *Writer) SetLimit(bytes int) {
	w.limit = min(max(bytes, MinSize), Size)
	for ch, b := range w.current {
		if b != nil {
			w.prepare(ch, b)
		}
	}
}

// prepare makes a buffer the channel's next.
func (w *Writer) prepare(ch int, b *Buffer) {
	b.Flags, b.Limit = w.flags, w.limit
	if w.sizer != nil {
		if n := w.sizer.BufferSize(ch); n > 0 {
			b.Limit = min(b.Limit, max(n, MinSize))
		}
	}
	w.current[ch] = b
}

// Counts returns how many records and bytes have been written. What is not yet
// emitted is added up here rather than counted record by record.
func (w *Writer) Counts() (records, bytes int64) {
	records, bytes = w.records, w.bytes
	for _, b := range w.current {
		if b != nil {
			records += int64(b.Records)
			bytes += int64(len(b.Data))
		}
	}
	return records, bytes
}

func (w *Writer) refill(ch int) {
	if b := w.outlet.Acquire(ch); b != nil {
		w.prepare(ch, b)
		w.pressure.Starved--
	}
}

// Refill tries to get a buffer for every starved channel.
func (w *Writer) Refill() {
	for ch, b := range w.current {
		if b == nil {
			w.refill(ch)
		}
	}
}

// Current returns the channel's buffer, or nil where Begin would overdraw.
func (w *Writer) Current(ch int) *Buffer { return w.current[ch] }

// Begin returns the channel's buffer; append one frame to its Data and call
// End with the result.
func (w *Writer) Begin(ch int) *Buffer {
	if b := w.current[ch]; b != nil {
		return b
	}
	return w.overdraw(ch)
}

func (w *Writer) overdraw(ch int) *Buffer {
	b := w.outlet.Overdraft(ch)
	w.prepare(ch, b)
	w.pressure.Starved--
	return b
}

// End takes back the buffer's bytes with one more frame at their end.
func (w *Writer) End(ch int, b *Buffer, data []byte) {
	if len(data) < b.Limit {
		b.Data = b.Data[:len(data)] // below the limit append has not moved it: only the length changes
		b.Records++
		return
	}
	w.full(ch, data)
}

// full is the rare half of End, apart so that the other is inlined.
func (w *Writer) full(ch int, data []byte) {
	b := w.current[ch]
	if len(data) <= cap(b.Data) {
		b.Data = data
		b.Records++
		w.emit(ch)
		return
	}
	w.split(ch, b, data)
}

// split sends a record that outgrew the buffer's slack (so append moved it to
// an array of its own) in parts, behind the frames before it.
func (w *Writer) split(ch int, b *Buffer, data []byte) {
	rest := data[len(b.Data):]
	if b.Records > 0 {
		w.emit(ch)
	}
	for len(rest) > 0 {
		b := w.Begin(ch)
		n := min(len(rest), Size)
		b.Data = append(b.Data, rest[:n]...)
		b.Flags |= Part
		if rest = rest[n:]; len(rest) == 0 {
			b.Flags |= PartEnd
			b.Records = 1
		}
		w.emit(ch)
	}
}

func (w *Writer) emit(ch int) {
	b := w.current[ch]
	w.current[ch] = nil
	w.pressure.Starved++
	w.records += int64(b.Records)
	w.bytes += int64(len(b.Data))
	w.outlet.Emit(ch, b)
	w.refill(ch)
}

// Flush emits the channels' partly filled buffers.
func (w *Writer) Flush() {
	for ch, b := range w.current {
		if b != nil && len(b.Data) > 0 {
			w.emit(ch)
		}
	}
}

// Pending reports whether any channel holds frames not yet emitted.
func (w *Writer) Pending() bool {
	for _, b := range w.current {
		if b != nil && len(b.Data) > 0 {
			return true
		}
	}
	return false
}

// Close gives the writer's buffers back.
func (w *Writer) Close() {
	for ch, b := range w.current {
		if b != nil {
			b.Release()
			w.current[ch] = nil
		} else {
			w.pressure.Starved--
		}
	}
	w.current = nil
}
