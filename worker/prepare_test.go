package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/workloads"
)

// TestAJobReadsAndWritesWhatIsMeasured: a topic that the load does not go to, or
// that nobody looks at, is refused when the job is made of its line.
func TestAJobReadsAndWritesWhatIsMeasured(t *testing.T) {
	input := workloads.Topics{Names: []string{"in"}}
	reads, writes := input, []string{"out"}
	w := *workloads.Lookup("nothing")
	w.Name = "topics"
	w.Pipeline = func(_ any, io workloads.IO) (*pipeline.Graph, error) {
		g := pipeline.New("topics")
		in := pipeline.From(g, "in", io.Source(reads), func(r *connectors.Record) (string, error) { return "", nil })
		for _, topic := range writes {
			pipeline.To(in, topic, io.Sink(topic), func(string, *connectors.Record) {})
		}
		return g, nil
	}
	workloads.Register(&w)
	for _, c := range []struct {
		reads  workloads.Topics
		writes []string
		want   string
	}{
		{input, []string{"out", "late"}, "<nil>"},
		{input, []string{"results"}, `workload topics: it writes topic "results" by IO.Sink: results go to IO.Output and late records to IO.Late`},
		{workloads.Topics{Names: []string{"clicks"}}, []string{"out"}, `workload topics: it reads topics ["clicks"] by IO.Source: the load goes to IO.Input`},
		{workloads.Topics{Pattern: "in.*"}, []string{"out"}, `it reads topics like "in.*"`},
	} {
		reads, writes = c.reads, c.writes
		_, _, _, err := Prepare(Job{Protocol: Protocol, Workload: "topics", Engine: "still", Guarantee: "at-least-once", Config: json.RawMessage(`{}`),
			Kafka: Kafka{Input: input, Output: "out", Late: "late"}},
			map[string]engines.Engine{"still": still{}}, Connectors{
				Source: func(Kafka, workloads.Topics) (connectors.Source, error) { return pipelinetest.Source{Name: "in"}, nil },
				Sink: func(_ Kafka, topic string, _ int64) (connectors.Sink, error) {
					return pipelinetest.Sink{Name: topic}, nil
				},
			})
		if got := fmt.Sprint(err); !strings.Contains(got, c.want) {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
