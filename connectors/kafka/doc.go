// Package kafka reads and writes Kafka topics as connectors' contracts ask:
// partitions are assigned by hand and read from positions that the engine
// keeps, and output is written at most once, at least once or exactly once.
//
// # Running the tests against a real broker
//
// The tests run against an embedded broker (kfake). With
//
//	STREAMDUEL_TEST_BROKERS=127.0.0.1:9092 go test ./connectors/kafka
//
// the same tests run against the brokers named. They create topics under names
// of their own and leave them there.
package kafka
