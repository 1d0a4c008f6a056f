package engines

import "sync"

// Unread tells that an operator has given its first record to a side output that
// nobody reads: that record and those behind it are dropped.
type Unread struct {
	Operator string `json:"operator"`
	Side     string `json:"side"`
}

// Kind names the event.
func (Unread) Kind() string { return "unread" }

// UnreadSides tells of each such side output once a process.
type UnreadSides struct {
	mu   sync.Mutex
	told map[Unread]bool
	emit func(Event)
}

// NewUnreadSides returns what tells emit.
func NewUnreadSides(emit func(Event)) *UnreadSides {
	return &UnreadSides{told: map[Unread]bool{}, emit: emit}
}

// Take is a pipeline.TaskConfig's Unread. It may be called by any goroutine.
func (u *UnreadSides) Take(operator, side string) {
	e := Unread{operator, side}
	u.mu.Lock()
	again := u.told[e]
	u.told[e] = true
	u.mu.Unlock()
	if !again {
		u.emit(e)
	}
}
