package runs

// Predicted is what a model of an engine's controller says that a cell must have
// shown: predicted.json. The model knows what was offered and what was done to the
// sink, and takes from the run only what undisturbed batches cost.
type Predicted struct {
	// About says in words what the model is and what it was given.
	About string `json:"about"`
	// SchedulingDelay in seconds, RateLimit and Backlog in records a second and
	// records, over seconds since the cell's start.
	SchedulingDelay []PredictedPoint `json:"schedulingDelay"`
	RateLimit       []PredictedPoint `json:"rateLimit,omitempty"`
	Backlog         []PredictedPoint `json:"backlog"`
}

// PredictedPoint is a value at a time.
type PredictedPoint struct {
	T float64 `json:"t"`
	V float64 `json:"v"`
}
