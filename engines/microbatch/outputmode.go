package microbatch

import (
	"fmt"
	"slices"

	"streamduel/engines"
	"streamduel/pipeline"
)

// Output modes: which jobs can have which. The rules are those of Spark's
// UnsupportedOperationChecker (4.0) for the operators that it knows; what only
// this project has is marked as ours. What a mode then does is pipeline.Results.

var outputModes = []pipeline.OutputMode{pipeline.EachInput, pipeline.Append, pipeline.Update, pipeline.Complete}

func (c *Config) validateOutput(check func(ok bool, text string)) {
	check(slices.Contains(outputModes, c.OutputMode), "outputMode: one of each-input, append, update, complete")
	check(c.Trigger != RealTime || c.OutputMode == pipeline.EachInput || c.OutputMode == pipeline.Update,
		"outputMode: update (or each-input, the same there) with trigger real-time, where rows leave as they change")
}

// taskMode is what tasks are told. Where records pass through without waiting for
// a batch, a changed row leaves at once.
func (c *Config) taskMode() pipeline.OutputMode {
	if c.Trigger.streaming() {
		return pipeline.EachInput
	}
	return c.OutputMode
}

// combine reports whether tasks combine before a shuffle, where that is possible and
// nobody can tell.
func (c *Config) combine() bool {
	return c.MapSideCombine && !c.Trigger.streaming()
}

// checkOutputMode refuses, by the operator's name, what the mode cannot be given.
// each-input takes every job.
func (c *Config) checkOutputMode(job *engines.Job) error {
	mode := c.OutputMode
	if mode == pipeline.EachInput {
		return nil
	}
	nodes := byRole(job.Graph)
	if mode == pipeline.Complete && len(nodes[pipeline.Aggregates])+len(nodes[pipeline.UpdatesAll]) == 0 {
		return fmt.Errorf("outputMode complete: no operator of the job aggregates, so its result table would be every row there ever was: take append or update")
	}
	for _, n := range job.Graph.Nodes() {
		if why := refusal(n, mode, nodes); why != "" {
			return fmt.Errorf("operator %q %s", n.Name, why)
		}
	}
	return nil
}

func byRole(g *pipeline.Graph) map[pipeline.Does][]*pipeline.Node {
	nodes := map[pipeline.Does][]*pipeline.Node{}
	for _, n := range g.Nodes() {
		if n.Kind == pipeline.KindKeyed {
			nodes[n.Role.Does] = append(nodes[n.Role.Does], n)
		}
	}
	return nodes
}

// refusal says why an operator cannot be in a job of an output mode, and what to
// do; "" if it can.
func refusal(n *pipeline.Node, mode pipeline.OutputMode, nodes map[pipeline.Does][]*pipeline.Node) string {
	if n.Kind == pipeline.KindSink {
		if n.Sink.Describe().AppendOnly && mode != pipeline.Append {
			return fmt.Sprintf("(%s) only takes rows that do not change any more, and outputMode is %s: take append, or another sink", n.Sink.Describe().Kind, mode)
		}
		return ""
	}
	if n.Kind != pipeline.KindKeyed {
		return ""
	}
	var why string
	switch n.Role.Does {
	case pipeline.Aggregates:
		why = refuseAggregation(n, mode)
	case pipeline.Joins:
		if mode != pipeline.Append {
			why = fmt.Sprintf("joins two streams, and outputMode is %s: what a join has emitted does not change, so it runs in append only", mode)
		}
	case pipeline.MapsGroups:
		switch first := nodes[pipeline.MapsGroups][0]; {
		case n.PerBatch != "": // ours: discretized streams have no output modes
			why = fmt.Sprintf("gives its whole state with each batch (%s), and outputMode is %s, which says what leaves: leave that stream out, or take each-input", n.PerBatch, mode)
		case first != n:
			why = fmt.Sprintf("is a second mapWithState beside %q, and outputMode is %s: Spark takes one mapGroupsWithState a query; put both into one function, or take each-input", first.Name, mode)
		case mode != pipeline.Update:
			why = fmt.Sprintf("is a mapWithState, whose rows replace those of their key before, and outputMode is %s: take update", mode)
		}
	case pipeline.UpdatesAll: // ours: discretized streams have no output modes
		if mode != pipeline.Complete {
			why = fmt.Sprintf("is an updateStateByKey, which emits its whole state with each batch, and outputMode is %s: take complete, or mapWithState in its place", mode)
		}
	case pipeline.Computes:
		why = refuseFunction(n, mode, nodes)
	}
	if why == "" && mode != pipeline.Append {
		why = refuseBehind(n, mode)
	}
	return why
}

func refuseAggregation(n *pipeline.Node, mode pipeline.OutputMode) string {
	r := n.Role
	switch {
	case r.Triggered: // ours: Spark has windows of time only, without triggers
		return fmt.Sprintf("has a trigger, an evictor or a count that says when its rows leave, and outputMode is %s, which says so too: leave them out, or take each-input", mode)
	case mode == pipeline.Update && r.Session:
		return "aggregates sessions, which merge, so that a row may be taken back, and outputMode is update: take append or complete"
	case mode != pipeline.Append:
		return ""
	case !r.EventTime:
		return "aggregates without a window of event time, so that no row of it is ever final, and outputMode is append: put it into windows of event time (package window), or take update or complete"
	case !hasWatermark(n, map[*pipeline.Node]bool{}):
		return "aggregates by windows of event time without a watermark, and outputMode is append: give its source pipeline.EventTime, or take update or complete"
	case r.Late: // ours: Spark has no allowed lateness
		return "lets windows change after the watermark has passed them, and outputMode is append, where a row leaves once: make the watermark's delay longer in place of the allowed lateness, or take update"
	}
	return ""
}

// hasWatermark reports whether a source that an operator's records come from gives them
// event time.
func hasWatermark(n *pipeline.Node, seen map[*pipeline.Node]bool) bool {
	if seen[n] {
		return false
	}
	seen[n] = true
	if n.Watermarks != nil {
		return true
	}
	for _, e := range n.In {
		if hasWatermark(e.From, seen) {
			return true
		}
	}
	return false
}

// refuseFunction is about functions of one's own. One that does not say what it
// emits is like Spark's transformWithState, which takes append and update; one
// that does is like flatMapGroupsWithState.
func refuseFunction(n *pipeline.Node, mode pipeline.OutputMode, nodes map[pipeline.Does][]*pipeline.Node) string {
	own := n.Role.Emits
	if own == "" {
		return ""
	}
	if maps := nodes[pipeline.MapsGroups]; len(maps) > 0 {
		return fmt.Sprintf("says what it emits (%s) beside the mapWithState %q, and outputMode is %s: Spark takes no query with both; take one kind, or each-input", own, maps[0].Name, mode)
	}
	for _, other := range nodes[pipeline.Computes] {
		if emits := other.Role.Emits; other != n && emits != "" && (own != pipeline.Append || emits != pipeline.Append || mode != pipeline.Append) {
			return fmt.Sprintf("and %q say what they emit (%s, %s), and outputMode is %s: several such functions are possible if all are append; change them, or take each-input", other.Name, own, emits, mode)
		}
	}
	if len(nodes[pipeline.Aggregates]) > 0 {
		if own == pipeline.Update {
			return fmt.Sprintf("emits rows that change (update) beside the aggregation %q, and outputMode is %s: make it append, or take each-input", nodes[pipeline.Aggregates][0].Name, mode)
		}
		return ""
	}
	if own != mode {
		return fmt.Sprintf("emits by mode %s, and outputMode is %s: take %s", own, mode, own)
	}
	return ""
}

// refuseBehind refuses a stateful operator behind an aggregation whose rows may
// leave more than once: to what is behind it each would be a further row, or late.
func refuseBehind(n *pipeline.Node, mode pipeline.OutputMode) string {
	if n.Role.Does == pipeline.Deduplicates && !n.Role.EventTime {
		return ""
	}
	if a := aggregationBefore(n, map[*pipeline.Node]bool{}); a != nil {
		return fmt.Sprintf("keeps state behind the aggregation %q, whose rows leave more than once where outputMode is %s, and may be late behind it: take append, or make two jobs of it", a.Name, mode)
	}
	return ""
}

func aggregationBefore(n *pipeline.Node, seen map[*pipeline.Node]bool) *pipeline.Node {
	for _, e := range n.In {
		from := e.From
		if seen[from] {
			continue
		}
		seen[from] = true
		if does := from.Role.Does; does == pipeline.Aggregates || does == pipeline.UpdatesAll {
			return from
		}
		if a := aggregationBefore(from, seen); a != nil {
			return a
		}
	}
	return nil
}
