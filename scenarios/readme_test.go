package scenarios

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var block = regexp.MustCompile("(?s)```yaml( fragment (\\w+))?\n(.*?)```")

// Documentation that can rot is tested: each example of README.md loads.
func TestTheExamplesOfTheReadmeLoad(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := block.FindAllStringSubmatch(string(readme), -1)
	if len(found) != 7 {
		t.Fatalf("%d examples", len(found))
	}
	// A fragment stands in for the same field of a whole scenario that suits
	// all of them.
	whole := map[string]string{
		"head":    "schema: streamduel/scenario/v1\nname: x\nquestion: X?\nworkload: { name: keyed-count }\nguarantees: [at-least-once]\n",
		"load":    "load: { rate: 5000/s }\n",
		"phases":  "phases: [{ name: steady, duration: 5s }]\n",
		"engines": "engines: { microbatch: {}, dataflow: {} }\n",
		"gates":   "",
	}
	for _, b := range found {
		field, text := b[2], b[3]
		for _, one := range strings.Split(text, "---\n") {
			src := one
			if field != "" {
				src = whole["head"]
				for _, f := range []string{"load", "phases", "engines", "gates"} {
					switch {
					case f == field:
						src += one
					case f == "phases" && field == "gates":
						src += "phases: [{ name: steady, duration: 5s }]\n"
					default:
						src += whole[f]
					}
				}
				if field == "gates" {
					src = strings.Replace(src, "[at-least-once]", "[at-least-once, exactly-once]", 1)
				}
			}
			if _, err := fromSource("README.md", "", []byte(src), Options{Vocabulary: testVocabulary()}); err != nil {
				t.Errorf("%v\nin\n%s", err, one)
			}
		}
	}
}

func TestTheReadmeNamesEveryField(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"schema", "name", "question", "workload", "topics", "parallelism", "load", "engines", "guarantees",
		"durability", "state", "discovery", "phases", "gates", "matrix", "recordSize", "weights", "badInput", "bad", "eventTime", "lag", "backlog", "speed", "down", "subscribe", "reset",
	} {
		if !strings.Contains(string(readme), name) {
			t.Errorf("README.md does not mention %s", name)
		}
	}
}
