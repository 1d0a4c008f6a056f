package microbatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"streamduel/connectors"
	"streamduel/state"
)

// offsetEntry is what the offset log says of a batch before it runs. With it the
// batch can be run again and takes the same records at the same time.
type offsetEntry struct {
	Batch int64 `json:"batch"`
	// Time is the batch's processing time, in Unix milliseconds.
	Time int64 `json:"time"`
	// Watermark of the batch, where it was known when the entry was written: a
	// batch that waits in the queueing clock's queue learns it from the batch
	// before.
	Watermark *int64 `json:"watermark,omitempty"`
	// Final says that the sources have ended and event time with them.
	Final bool `json:"final,omitempty"`
	// Sources by operator; every split the job knows is there, read or not.
	Sources map[string]map[connectors.SplitID]splitRange `json:"sources"`
}

type splitRange struct {
	Partition int32               `json:"partition"`
	From      connectors.Position `json:"from"`
	Until     connectors.Position `json:"until"`
	// Incarnation is the split's, so that one that was made anew is noticed.
	Incarnation string `json:"incarnation,omitempty"`
	// Watermark is what the split had reached before the batch; kept under
	// min-over-partitions only.
	Watermark *int64 `json:"watermark,omitempty"`
}

func (e *offsetEntry) records() (n int64) {
	for _, splits := range e.Sources {
		for _, r := range splits {
			n += int64(r.Until - r.From)
		}
	}
	return n
}

// commitEntry is what the commit log says of a batch that is complete. Under
// exactly-once the same goes into the sink's transaction.
type commitEntry struct {
	Batch int64 `json:"batch"`
	// Watermark that the batch ran with; later ones drop late rows by it.
	Watermark int64 `json:"watermark"`
	// Next is the watermark of the batch behind it.
	Next int64 `json:"next"`
}

const (
	offsetPrefix = "offset-"
	commitPrefix = "commit-"
	queryFile    = "query"
	tickFile     = "tick"
	beginFile    = "begin"
)

// batchLogs are the two logs of a query in its folder.
type batchLogs struct{ folder *state.Folder }

func logName(prefix string, batch int64) string { return prefix + strconv.FormatInt(batch, 10) }

func (l batchLogs) planned(e *offsetEntry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	err = l.folder.Create(logName(offsetPrefix, e.Batch), b)
	if errors.Is(err, state.ErrExists) {
		return fmt.Errorf("batch %d is in the offset log already: %w", e.Batch, err)
	}
	if err != nil {
		return fmt.Errorf("offset log: batch %d: %w", e.Batch, err)
	}
	return nil
}

// torn leaves what a crash in the middle of a write could leave where renaming
// is not atomic: half an entry under its final name. It is the failpoint's.
func (l batchLogs) torn(e *offsetEntry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.folder.Path(), logName(offsetPrefix, e.Batch)), b[:len(b)/2], 0o644)
}

func (l batchLogs) committed(e commitEntry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := l.folder.Write(logName(commitPrefix, e.Batch), b); err != nil {
		return fmt.Errorf("commit log: batch %d: %w", e.Batch, err)
	}
	return nil
}

func (l batchLogs) readOffset(batch int64) (*offsetEntry, error) {
	e := new(offsetEntry)
	return e, l.read(offsetPrefix, batch, e)
}

func (l batchLogs) readCommit(batch int64) (commitEntry, error) {
	var e commitEntry
	return e, l.read(commitPrefix, batch, &e)
}

func (l batchLogs) read(prefix string, batch int64, v any) error {
	name := logName(prefix, batch)
	b, err := l.folder.Read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: not an entry of a batch log: %w", name, err)
	}
	return nil
}

// beginning is where a split was to be read from when the job first started.
type beginning struct {
	Position    connectors.Position `json:"position"`
	Incarnation string              `json:"incarnation,omitempty"`
}

// begin notes where a job begins that has not run yet: until its first batch is in the
// offset log, nothing else says so. Structured streaming does the same with the
// initial offsets of a source.
func (l batchLogs) begin(sources []*source) error {
	all := map[string]map[connectors.SplitID]beginning{}
	for _, s := range sources {
		splits := map[connectors.SplitID]beginning{}
		for _, x := range s.splits {
			splits[x.ID] = beginning{x.position, x.incarnation}
		}
		all[s.node.UID] = splits
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return l.folder.Write(beginFile, b)
}

// begun returns what begin has noted, by source; nil when the job has never started.
func (l batchLogs) begun() (all map[string]map[connectors.SplitID]beginning, err error) {
	b, err := l.folder.Read(beginFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, state.ErrTorn) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", beginFile, err)
	}
	return all, nil
}

// ticked notes a tick of the queueing clock, in Unix milliseconds, that has left no
// entry.
func (l batchLogs) ticked(at int64) error {
	return l.folder.Write(tickFile, strconv.AppendInt(nil, at, 10))
}

// lastTick is the newest that was noted, 0 if there is none.
func (l batchLogs) lastTick() int64 {
	b, err := l.folder.Read(tickFile)
	if err != nil {
		return 0 // what is lost with it are the ticks since the newest entry
	}
	at, _ := strconv.ParseInt(string(b), 10, 64) //nolint:errcheck // likewise
	return at
}

// remedyFolder ends what is said of a folder from which the job cannot go on.
const remedyFolder = ": put back what is missing or damaged, or begin anew in an empty folder"

// remedySink ends what is said of a job that is exactly-once and cannot go on: its
// sink remembers it by its name, so a new folder alone is not enough.
const remedySink = " in an empty folder, under another job name and into an empty sink"

// batchOf names a batch in what is said of logs and sinks; below 0 there is none.
func batchOf(n int64) string {
	if n < 0 {
		return "no batch"
	}
	return "batch " + strconv.FormatInt(n, 10)
}

// apart says that a folder and a sink, which holds a batch or none, do not belong
// together.
func apart(held int64) string {
	why := ": "
	if held < 0 {
		why = ": the job was not exactly-once before, or "
	}
	return why + "the sink or the folder is another one than before: put back the one that belongs to the other, or begin anew" + remedySink
}

// history is what the logs hold at a start.
type history struct {
	// offsets are the entries behind the last commit and the one that it
	// belongs to, in order and without a gap.
	offsets []*offsetEntry
	// commit is the newest one; Batch is −1 when there is none.
	commit commitEntry
}

func (h *history) newest() *offsetEntry {
	if len(h.offsets) == 0 {
		return nil
	}
	return h.offsets[len(h.offsets)-1]
}

func (h *history) entry(batch int64) *offsetEntry {
	for _, e := range h.offsets {
		if e.Batch == batch {
			return e
		}
	}
	return nil
}

// load reads both logs. A torn newest entry counts as not written: of the
// offset log it is removed, because nothing can have been processed by it; of
// the commit log it means that the batch is not complete. Any other damage is
// refused.
func (l batchLogs) load() (*history, error) {
	h := &history{commit: commitEntry{Batch: -1, Watermark: noTime, Next: noTime}}
	batches, err := l.folder.Numbered(offsetPrefix)
	if err != nil {
		return nil, err
	}
	commits, err := l.folder.Numbered(commitPrefix)
	if err != nil {
		return nil, err
	}
	for i := len(commits) - 1; i >= 0; i-- {
		c, err := l.readCommit(commits[i])
		if errors.Is(err, state.ErrTorn) && i == len(commits)-1 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("commit log: %w"+remedyFolder, err)
		}
		h.commit = c
		break
	}
	if n := len(batches); n > 0 {
		newest := batches[n-1]
		if _, err := l.readOffset(newest); errors.Is(err, state.ErrTorn) {
			if newest <= h.commit.Batch {
				return nil, fmt.Errorf("offset log: batch %d is committed but %w"+remedyFolder, newest, err)
			}
			if err := l.folder.Remove(logName(offsetPrefix, newest)); err != nil {
				return nil, err
			}
			batches = batches[:n-1]
		}
	}
	if len(batches) == 0 {
		if h.commit.Batch >= 0 {
			return nil, fmt.Errorf("the commit log has batch %d, the offset log is empty: the folder is incomplete"+remedyFolder, h.commit.Batch)
		}
		return h, nil
	}
	if newest := batches[len(batches)-1]; newest < h.commit.Batch {
		return nil, fmt.Errorf("the commit log has batch %d, the offset log ends at %d: the folder is incomplete"+remedyFolder, h.commit.Batch, newest)
	}
	first, _ := slices.BinarySearch(batches, h.commit.Batch)
	for i, batch := range batches[first:] {
		if want := max(h.commit.Batch, batches[first]) + int64(i); batch != want {
			return nil, fmt.Errorf("offset log: batch %d is missing: the folder is incomplete"+remedyFolder, want)
		}
		e, err := l.readOffset(batch)
		if err != nil {
			return nil, fmt.Errorf("offset log: %w"+remedyFolder, err)
		}
		h.offsets = append(h.offsets, e)
	}
	if h.commit.Batch < 0 && h.offsets[0].Batch != 0 {
		return nil, fmt.Errorf("the offset log begins at batch %d and nothing is committed: the folder is incomplete"+remedyFolder, h.offsets[0].Batch)
	}
	if h.commit.Batch >= 0 && h.offsets[0].Batch != h.commit.Batch {
		return nil, fmt.Errorf("offset log: batch %d is missing: the folder is incomplete"+remedyFolder, h.commit.Batch)
	}
	return h, nil
}

// purge removes what lies before a batch.
func (l batchLogs) purge(before int64) error {
	for _, prefix := range []string{offsetPrefix, commitPrefix} {
		batches, err := l.folder.Numbered(prefix)
		if err != nil {
			return err
		}
		for _, b := range batches {
			if b >= before {
				break
			}
			if err := l.folder.Remove(logName(prefix, b)); err != nil {
				return err
			}
		}
	}
	return nil
}

// query is what a folder belongs to. State does not rescale, as in Spark: the
// number of state partitions is pinned when the query first starts.
type query struct {
	Name           string       `json:"name"`
	MaxParallelism int          `json:"maxParallelism"`
	Stateful       []queryStage `json:"stateful"`
	// ExactlyOnce and Sinks are there once the job has been exactly-once.
	ExactlyOnce Way         `json:"exactlyOnce,omitempty"`
	Sinks       []querySink `json:"sinks,omitempty"`
}

// querySink pins the number of output partitions that have transactions.
type querySink struct {
	Node       string `json:"node"`
	Partitions int    `json:"partitions"`
}

type queryStage struct {
	Operators  []string `json:"operators"`
	Partitions int      `json:"partitions"`
}

// claim makes the folder this query's, or refuses one that is another's.
func (l batchLogs) claim(q query) error {
	b, err := l.folder.Read(queryFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, state.ErrTorn) {
		// It is the first file of a folder, so nothing is there but what a start that
		// died at once has left.
		if batches, bad := l.folder.Numbered(offsetPrefix); bad != nil || len(batches) > 0 {
			return errors.Join(bad, fmt.Errorf("the folder has batches, and not whose they are: %w"+remedyFolder, err))
		}
		if b, err = json.Marshal(q); err != nil {
			return err
		}
		return l.folder.Write(queryFile, b)
	}
	if err != nil {
		return err
	}
	var old query
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("%s: %w", queryFile, err)
	}
	if old.Name != q.Name {
		return fmt.Errorf("the folder holds the logs of job %q, not of %q: give each job a folder of its own", old.Name, q.Name)
	}
	if old.MaxParallelism != q.MaxParallelism {
		return fmt.Errorf("the job ran with %d key groups and cannot go on with %d: set maxParallelism back, or begin anew in an empty folder", old.MaxParallelism, q.MaxParallelism)
	}
	if len(old.Stateful) != len(q.Stateful) {
		return fmt.Errorf("the job had %d stages with state and has %d: stateful operators cannot be added or removed: begin anew in an empty folder", len(old.Stateful), len(q.Stateful))
	}
	for i, o := range old.Stateful {
		n := q.Stateful[i]
		if !slices.Equal(o.Operators, n.Operators) {
			return fmt.Errorf("the stateful operators were %q and are %q: they cannot be changed: begin anew in an empty folder", o.Operators, n.Operators)
		}
		if o.Partitions != n.Partitions {
			return fmt.Errorf("operators %q ran with %d state partitions and cannot go on with %d: the number is pinned at the first start: set the parallelism back, or begin anew in an empty folder", o.Operators, o.Partitions, n.Partitions)
		}
	}
	return l.claimWay(old, q)
}

// claimWay pins how the job is exactly-once: what one way has written says
// nothing to another.
func (l batchLogs) claimWay(old, q query) error {
	if q.ExactlyOnce == "" {
		return nil
	}
	if old.ExactlyOnce == "" { // it was not until now
		b, err := json.Marshal(q)
		if err != nil {
			return err
		}
		return l.folder.Write(queryFile, b)
	}
	if old.ExactlyOnce != q.ExactlyOnce {
		return fmt.Errorf("the job was exactly-once by %s and cannot go on with %s: the way is pinned at its first start: set it back, or begin anew"+remedySink, old.ExactlyOnce, q.ExactlyOnce)
	}
	for i, s := range old.Sinks {
		if i >= len(q.Sinks) || s.Node != q.Sinks[i].Node {
			return fmt.Errorf("the job had sink %q: with transactions by partition sinks cannot be removed: put it back, or begin anew"+remedySink, s.Node)
		}
		if n := q.Sinks[i].Partitions; n != s.Partitions {
			return fmt.Errorf("sink %q ran with %d output partitions and cannot go on with %d: the number is pinned at the first start: set the parallelism back, or begin anew"+remedySink, s.Node, s.Partitions, n)
		}
	}
	return nil
}
