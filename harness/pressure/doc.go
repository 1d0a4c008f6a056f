// Package pressure computes the figures of a fault from what was recorded: how
// intake followed a throttled sink, how new partitions were taken up, how a
// crash was recovered from. It is arithmetic on series and moments; it reads
// no clock and does no I/O, so a report can compute the same again.
//
// Times are seconds on the cell's clock, as in series.csv. Rates are records
// per second. A sample at T covers the time from the sample before it.
//
// # Definitions
//
// Smoothing: w = max(1 s, 3 × the engine's interval), because a micro-batch
// engine takes in a whole batch at once and a shorter mean would see nothing
// but that. Before it, what an engine takes in at one instant, a batch or a
// fetch, is spread over the time until it takes in more, at the most w.
//
// Follow time: the first moment t after the throttle such that the mean intake
// of every stretch of length w within [t, t + 5 s] lies within ±10 % of the
// sink's rate. Only what happens from t on counts, so an engine that follows at
// once has zero. A throttle that ends before any t could be judged leaves the
// figure absent; one that lasts long enough without such a t gives never.
//
// Overshoot: what was taken in above the sink's rate while it was throttled,
// in consecutive stretches of w: the sum of those more than 10 % above. Below it the intake
// may well be right, because there is a queue to work off; what counts there is
// whether the sink was kept busy:
//
// Undershoot: what the throttled sink could have taken and did not get.
//
// Recovered: the first moment after the release at which the mean intake of
// the next w, and of the next 0.2 s, is 90 % or more of the offered rate. Drained: the first moment
// after the release from which the lag stays for w at or below 1.1 times its
// highest value of the five seconds before the throttle. Lag there is records
// due and not yet visible, which under exactly-once rises and falls with each
// commit; its normal state is its normal peak.
//
// Dip: the largest share by which the visible rate of the old partitions,
// averaged over w, fell below what was offered to them. Growth itself takes
// load from the old partitions, which is no dip.
package pressure
