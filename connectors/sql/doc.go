// Package sql is a sink through database/sql: each record becomes the arguments
// of one statement. It names no driver; whoever opens the database does.
//
// Under the micro-batch engine it is exactly-once, by batch or by partition: the
// rows and what they are made of (query, batch, partition, offsets) are written
// in one transaction, the latter into a table of the sink's own, from which a
// restart reads what is there. Opening a partition counts its epoch up in that
// table, and a commit is one only under the newest epoch: that fences a process
// that wakes up late. The event-driven engine needs a commit that survives the
// end of the process that has prepared it, which database/sql does not have.
//
// Without exactly-once each Flush is a transaction of its own, and rows are
// acknowledged when it has ended.
package sql
