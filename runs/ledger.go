package runs

// AnomalyIDs is how many ids of each anomaly a ledger.json keeps.
const AnomalyIDs = 1000

// Ledger is ledger.json: the exact counts, and the first [AnomalyIDs] inputs
// of each anomaly to look into.
type Ledger struct {
	Records Records `json:"records"`
	// Anomalies are by the name of their count: duplicates, losses, …
	Anomalies map[string][]RecordID `json:"anomalies,omitempty"`
}

// RecordID names an input record.
type RecordID struct {
	Partition int32 `json:"partition"`
	Sequence  int64 `json:"sequence"`
	// Copies is how often it was seen, for duplicates.
	Copies int64 `json:"copies,omitempty"`
	// Detail says what else is known, such as the key and both counts.
	Detail string `json:"detail,omitempty"`
}
