// Package control holds the decisions of the micro-batch engine that are pure
// functions of their input: when the next batch is due, how fast it may be, and
// which records it takes. Nothing here reads a clock, a log or a source.
//
// The rules are those of Spark 4.1: discretized streams (RecurringTimer,
// PIDRateEstimator, DirectKafkaInputDStream) and structured streaming
// (ProcessingTimeExecutor, KafkaMicroBatchStream). Known answers taken from
// Spark's own tests are in testdata, each file naming its source.
package control
