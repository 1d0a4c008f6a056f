// Package join joins streams by key: within an interval of event time, with the
// version of a table that was valid at a record's time, with everything that is
// younger than a time to live, by window, and with a broadcast table.
//
// What one kind of join cannot do is refused when the job is built, with the
// operator's name. A result's event time is the later one of its two sides; that
// of a row without a partner is the time at which it was certain that none would
// come, so that it is not late downstream.
package join
