package connectors

import "errors"

// ErrRetriable marks an error of a Transaction after which it is certain that
// nothing of the transaction became or will become visible: the batch may be
// aborted and run again. Test with errors.Is. Every other error of Commit means
// that the outcome is unknown or that a newer process has taken over; only
// opening the transaction anew, and asking Committed, tells which.
var ErrRetriable = errors.New("nothing of the transaction is visible")

// ErrGone marks an error of an Enumerator that says that a split is not there any more:
// asking again does not help.
var ErrGone = errors.New("the split is gone")

// ErrLost marks an error of a Recoverer after which it is certain that what a
// checkpoint lists as prepared will never be visible: the outside system has
// given it up. Everything else has been recovered.
var ErrLost = errors.New("their records are lost")
