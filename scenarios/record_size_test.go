package scenarios

import (
	"strings"
	"testing"
)

// TestRecordSizeIsTheWorkloads: it was read, checked, and had no effect.
func TestRecordSizeIsTheWorkloads(t *testing.T) {
	with := func(replace ...string) (*File, error) {
		src := strings.NewReplacer(append([]string{"shape: constant", "shape: constant, recordSize: 1KiB"}, replace...)...).Replace(goodScenario)
		return Parse("duel.yaml", "", []byte(src), Options{Vocabulary: testVocabulary()})
	}
	f, err := with()
	if err != nil {
		t.Fatal(err)
	}
	if n := f.Variants[0].Scenario.Workload.Params.(*countParams).RecordBytes; n != 1024 {
		t.Errorf("records of %d bytes", n)
	}
	for want, replace := range map[string][]string{
		"load.recordSize: value \"1KiB\": given twice":     {"keys: 10,", "keys: 10, recordBytes: 50,"},
		"only for a workload with a parameter recordBytes": {"{ name: keyed-count, params: { keys: 10, size: 1KiB } }", "{ name: ysb }"},
		"recordBytes: 40 or more":                          {"recordSize: 1KiB", "recordSize: 10B"},
		"1B to 1MiB":                                       {"recordSize: 1KiB", "recordSize: 2MiB"},
	} {
		src := replace
		if strings.HasPrefix(replace[0], "recordSize") {
			src = []string{"shape: constant", "shape: constant, " + replace[1]}
			_, err = Parse("duel.yaml", "", []byte(strings.NewReplacer(src...).Replace(goodScenario)), Options{Vocabulary: testVocabulary()})
		} else {
			_, err = with(src...)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", replace, err, want)
		}
	}
}
