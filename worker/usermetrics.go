package worker

import (
	"strconv"

	"streamduel/engines"
	"streamduel/metrics"
)

// userPrefix begins the names of what the job's functions count.
const userPrefix = "streamduel_user_"

// counted takes in what the job's functions have counted.
func (w *worker) counted(run engines.Run) {
	if w.metrics == nil {
		return
	}
	if r, ok := run.(engines.Metered); ok {
		all := r.Metrics()
		w.metrics.mu.Lock()
		w.metrics.counted = all
		w.metrics.mu.Unlock()
	}
}

// countedText writes what the job's functions count. A counter is a gauge to
// Prometheus, because it may fall, and so it is with Flink's reporter.
func (m *exporter) countedText(p *page) {
	families := map[string][]metrics.Value{}
	var names []string
	for _, v := range m.counted {
		if families[v.Name] == nil {
			names = append(names, v.Name)
		}
		families[v.Name] = append(families[v.Name], v)
	}
	for _, name := range names {
		kind := families[name][0].Kind // a name has one in a job
		family := userPrefix + name
		if kind == metrics.KindHistogram {
			p.family(family, "summary", "A histogram of the job's.")
		} else {
			p.family(family, "gauge", "A "+string(kind)+" of the job's.")
		}
		for _, v := range families[name] {
			labels := []string{"job", m.job.Name, "operator", v.Operator, "subtask", strconv.Itoa(v.Subtask)}
			if kind != metrics.KindHistogram {
				p.sample(family, float64(v.Value), labels...)
				continue
			}
			for i, q := range v.Quantiles {
				p.sample(family, float64(q), append(labels, "quantile", strconv.FormatFloat(metrics.Quantiles[i], 'g', -1, 64))...)
			}
			p.sample(family+"_count", float64(v.Count), labels...)
		}
	}
}
