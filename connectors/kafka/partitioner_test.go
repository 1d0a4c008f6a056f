package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestPartitioners: which of four partitions records go to whose keys, origins and
// writing subtasks differ.
func TestPartitioners(t *testing.T) {
	place := func(p Partitioner, subtask int, r *kgo.Record) int {
		return partitioner(p, subtask).ForTopic("t").Partition(r, 4)
	}
	for subtask, want := range []int{0, 1, 2, 3, 0, 1} {
		for _, key := range []string{"a", "b", "c"} {
			if got := place(BySubtask, subtask, &kgo.Record{Key: []byte(key)}); got != want {
				t.Errorf("subtask %d, key %s: partition %d, want %d", subtask, key, got, want)
			}
		}
	}
	// murmur2 of Kafka's own test (UtilsTest.testMurmur2), made positive.
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "abc": 479470107} {
		want := int(hash&0x7fffffff) % 4
		if a, b := place(ByKey, 0, &kgo.Record{Key: []byte(key)}), place(ByKey, 3, &kgo.Record{Key: []byte(key)}); a != b || a != want {
			t.Errorf("key %s: partition %d of subtask 0, %d of subtask 3, want %d", key, a, b, want)
		}
	}
	if got := place(ByOrigin, 1, &kgo.Record{Partition: 7}); got != 3 {
		t.Errorf("origin 7: partition %d", got)
	}
	c := SinkConfig{Brokers: []string{"b"}, Topic: "t", Partitioner: "keys"}
	if err := c.setDefaults(); err == nil {
		t.Error("partitioner keys was taken")
	}
}
