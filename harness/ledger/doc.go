// Package ledger is the exact accounting of one cell: it is told every output
// row that an observer saw, knows from the load's schedule every input that
// was sent, and says what was copied, lost, invented, reordered or miscounted.
//
// It judges from outside. Nothing in it comes from an engine: rows are parsed
// by the workload's [workloads.Accounting], inputs come from the plan that the
// load process followed, and the right answer comes from the workload's
// oracle. A cell has one Ledger for the read_committed observer, whose figures
// are the result, and one for the read_uncommitted observer, which explains.
//
// # What is counted
//
// Rows with an id (OneToOne, Matches, and Running where every input has one
// output; of Matches without an oracle losses cannot be known):
//
//   - visible: inputs of which at least one row was seen.
//   - duplicates: rows of an input beyond the first, whatever they hold.
//   - losses: inputs sent of which no row was seen, neither as a result nor as
//     a late record.
//   - unexpected: rows that no input explains: a partition or sequence that
//     was never sent, a value that cannot be, a key that is not the input's,
//     bytes that cannot be parsed.
//   - reordered: first rows that came after the first row of a later input of
//     the same lane. A lane is (key, input partition, output partition); rows
//     without a key have one lane for each pair of partitions. Kafka orders
//     nothing else: inputs of two partitions have no order, nor have outputs.
//     Copies are not asked: a replay is out of order by nature.
//   - late: inputs that the job sent to its late topic.
//
// # State: copies of outputs and copies in state are two things
//
// A running count shows the state behind it. After a crash an at-least-once
// engine restores state and positions that belong together and replays: the
// output of an input appears twice, with the same count each time if the key's
// inputs come in one order, with permuted counts if they come from several
// partitions. State is right all the while: that is a duplicate, not an
// overcount. Looking for a count seen twice would confuse the two, and looking
// at the last count alone would let an input counted twice hide one that was
// forgotten.
//
// So the ledger rebuilds, for each key, the list of inputs that its state has
// counted, its lineage. Rows of a key arrive in the order in which its state
// changed. A row (id, v) says: before it the state held v−1 inputs, and id is
// the v-th.
//
//	v = len+1   the state went on: append id
//	v ≤ len     the state was restored to v−1 inputs: cut, then append id
//	v > len+1   outputs between were not seen: append v−len−1 unknown inputs, then id
//
// At the end the lineage is what the final state holds, and
//
//   - stateOvercount is how many times inputs stand in it beyond the first,
//     plus the unknown ones beyond the key's lost inputs;
//   - stateLosses is how many inputs were seen in the output but do not stand
//     in it. Inputs that are record losses are not counted again.
//
// Three inputs a b c, with counted barriers having let b into a snapshot whose
// position is before b: rows a1 b2 c3, crash, b3 c4 give the lineage a b b c:
// duplicates 2, stateOvercount 1. An aligned snapshot gives a1 b2 c3, crash,
// b2 c3: lineage a b c, duplicates 2, stateOvercount 0. At-most-once that
// continues behind c from a snapshot holding a gives a1 b2 c3, crash, d2:
// lineage a d, stateLosses 2. What a state forgot after the last row of a key
// shows in no output and cannot be known.
//
// # Aggregates without ids
//
// Units are contributions: one call of the oracle's emit is one contribution
// of one input to one (key, window). Where a contribution raises the value by
// one, which the oracle tells, counts are exact; elsewhere a key that is wrong
// counts once, and Inexact says how many there were.
//
//   - Delta: an increment row whose (key, hash of ids) was seen before is a
//     copy; its value counts as duplicates. Of what remains the sum a key
//     above the oracle's is duplicates, below it losses.
//   - Running: a row with a (key, value) seen before is a duplicate. The last
//     value a key above the oracle's is stateOvercount, below it losses.
//   - Windows: rows for a (key, window) beyond the first are duplicates; the
//     last one is judged: above the oracle's value is stateOvercount, below it
//     losses, and no row at all loses every contribution.
//   - unexpected: a (key, window) that the oracle does not know.
//
// The sum of [workloads.HashID] over the contributions is compared too, so that
// a copy and a loss cannot cancel. Where it is wrong, the copies and losses are
// looked for among the key's inputs: up to three are found, named and counted
// exactly, whatever the value says, and Masked counts the keys where some
// cancelled. Where they are more, the difference of the value counts, a right
// value with a wrong hash counts one copy and one loss, and Unproven counts the
// keys in which more could hide.
//
// # Bad input
//
// The plan says which inputs are bad: bytes that do not decode, an event time
// that cannot be. They are in none of the counts above, and the oracle does not
// see them:
//
//	sent = visible + late + filtered + bad + losses + before the start
//
// A row that names one is unexpected. Where the job keeps bad input, each must
// be a dead letter exactly once. A dead letter says by its headers where the
// record stood in the input, which is the input's id.
//
// # Non-obvious
//
//   - Losses and never-sent ids are only known at the end: the ledger takes
//     any id that the plan knows and judges it in Finish, when the load's
//     counts are final.
//   - One input has one index in the plan, so lineages hold four bytes an
//     input, and a seen input costs two bits.
//   - Latency counts one entry for each input that a row makes visible, under
//     the phase in which the input was *scheduled*. Copies add no entry.
package ledger
