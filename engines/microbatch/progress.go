package microbatch

import "streamduel/engines"

// perSource tells how each source of a job stands after a batch; nothing where the
// job has one, of which the batch's own numbers tell. latest are the ends that
// were seen when the batch was planned: a batch that is run again has none.
func (r *run) perSource(e *offsetEntry, latest engines.Positions, done *engines.BatchCompleted) (list []engines.SourceProgress) {
	if len(r.sources) < 2 {
		return nil
	}
	for _, s := range r.sources {
		p := engines.SourceProgress{Source: s.node.Name, Start: engines.Positions{}, End: engines.Positions{}}
		if latest != nil {
			p.Latest = engines.Positions{}
		}
		for id, rg := range e.Sources[s.node.UID] {
			p.Start[id], p.End[id] = rg.From, rg.Until
			p.Records += int64(rg.Until - rg.From)
			if at, ok := latest[id]; ok {
				p.Latest[id] = at
				p.Lag += max(int64(at-rg.Until), 0)
			}
		}
		if done.Records > 0 {
			share := float64(p.Records) / float64(done.Records)
			p.InputRowsPerSecond, p.ProcessedRowsPerSecond = share*done.InputRowsPerSecond, share*done.ProcessedRowsPerSecond
		}
		list = append(list, p)
	}
	return list
}
