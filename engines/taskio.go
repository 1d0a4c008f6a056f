package engines

// TaskIO is what a subtask of an engine with Flink's exchange takes in, puts out and
// keeps waiting. What is counted is counted since the subtask was last started.
type TaskIO struct {
	RecordsIn  int64 `json:"recordsIn"`
	RecordsOut int64 `json:"recordsOut"` // into exchanges and to sinks
	// What has come from this process and from others.
	BytesInLocal    int64 `json:"bytesInLocal,omitempty"`
	BytesInRemote   int64 `json:"bytesInRemote,omitempty"`
	BuffersInLocal  int64 `json:"buffersInLocal,omitempty"`
	BuffersInRemote int64 `json:"buffersInRemote,omitempty"`
	BytesOut        int64 `json:"bytesOut,omitempty"`
	BuffersOut      int64 `json:"buffersOut,omitempty"`
	// What waits: in a channel within a process it is the output queue of one subtask
	// and the input queue of the other.
	InputQueue       int `json:"inputQueue,omitempty"` // buffers
	InputQueueBytes  int `json:"inputQueueBytes,omitempty"`
	OutputQueue      int `json:"outputQueue,omitempty"`
	OutputQueueBytes int `json:"outputQueueBytes,omitempty"`
	// Buffers in use, as a number and as a share of the pool: those to receive into,
	// which only channels from other processes need, and those to write into, whose
	// share is above one while some are overdrawn.
	BuffersInUse    int     `json:"buffersInUse,omitempty"`
	InPoolUsage     float64 `json:"inPoolUsage,omitempty"`
	BuffersOutInUse int     `json:"buffersOutInUse,omitempty"`
	OutPoolUsage    float64 `json:"outPoolUsage,omitempty"`
	BackPressured   bool    `json:"backPressured,omitempty"` // it waits for a buffer just now
	// Watermarks in Unix milliseconds, nil before there is one.
	InputWatermark  *int64 `json:"inputWatermarkMillis,omitempty"`
	OutputWatermark *int64 `json:"outputWatermarkMillis,omitempty"`
	// DebloatedSize is how many bytes the next buffers to the subtask take, and
	// EstimatedMillis how long it will take for those that wait, where buffers follow
	// its speed (buffers.debloat); of several inputs the largest.
	DebloatedSize   int64   `json:"debloatedBufferSize,omitempty"`
	EstimatedMillis float64 `json:"estimatedTimeToConsumeBuffersMillis,omitempty"`
	// Pending are the records that a source's splits are behind; nil of others.
	Pending *int64 `json:"pending,omitempty"`
	// Splits of a source with event time. They are as many as there are partitions,
	// so no event carries them.
	Splits []SplitIO `json:"-"`
	// MailboxSize is how much mail waits, Mails how much has been handled, and
	// MailboxMillis how long it has waited, by metrics.Quantiles over the last
	// minute's looks, of which there is one a second; nil before the first.
	MailboxSize   int       `json:"mailboxSize,omitempty"`
	Mails         int64     `json:"mails,omitempty"`
	MailboxMillis []float64 `json:"mailboxMillis,omitempty"`
}

// SplitIO is the event time of one split that a source's subtask reads. Times are
// milliseconds since it was begun, to the watermark interval.
type SplitIO struct {
	Split     string
	Watermark *int64 // Unix; nil before there is one
	Active    int64
	Paused    int64 // by the alignment of watermarks
	Idle      int64
}
