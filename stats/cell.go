package stats

import (
	"math"
	"time"
)

// Never is the latency of what did not succeed.
const Never = time.Duration(math.MaxInt64)

// Count is how events ended: how many are Succeeded, Failed and TimedOut.
type Count struct {
	Succeeded uint64
	Failed    uint64
	TimedOut  uint64
	// Cancelled counts neither for nor against.
	Cancelled uint64
	// Unreached is attempts to connect that failed before the first check: the peer was
	// offline, say. They are no verdict on the NATs.
	Unreached uint64
}

// outcomeOf is which of a Count's fields an event adds to.
func (c *Count) outcomeOf(e *Event) *uint64 {
	switch {
	case e.Status == StatusSuccess:
		return &c.Succeeded
	case e.Status == StatusCancelled:
		return &c.Cancelled
	case e.Stage == StageConnect && e.Tries == 0:
		return &c.Unreached
	case e.Status == StatusTimeOut:
		return &c.TimedOut
	}
	return &c.Failed
}

// Attempts is how many events count for the success rate: those that succeeded, failed or
// timed out.
func (c Count) Attempts() uint64 { return c.Succeeded + c.Failed + c.TimedOut }

// Events is how many there were in all.
func (c Count) Events() uint64 { return c.Attempts() + c.Cancelled + c.Unreached }

// Rate is the success rate.
func (c Count) Rate() Rate { return Rate{Successes: c.Succeeded, N: c.Attempts()} }

func (c *Count) add(o Count) {
	c.Succeeded += o.Succeeded
	c.Failed += o.Failed
	c.TimedOut += o.TimedOut
	c.Cancelled += o.Cancelled
	c.Unreached += o.Unreached
}

func (c *Count) subtract(o Count) {
	c.Succeeded -= min(c.Succeeded, o.Succeeded)
	c.Failed -= min(c.Failed, o.Failed)
	c.TimedOut -= min(c.TimedOut, o.TimedOut)
	c.Cancelled -= min(c.Cancelled, o.Cancelled)
	c.Unreached -= min(c.Unreached, o.Unreached)
}

// Tally is what a Cell knows of its events.
type Tally struct {
	Count
	Latency Sketch // of those that succeeded

	// micros is the sum of the latencies of those that succeeded: whole numbers, so that it
	// is exact below 2^53, and what was added can be taken away again.
	micros float64
}

// add counts an event; bin is its latency's.
func (t *Tally) add(e *Event, bin int) {
	*t.outcomeOf(e)++
	if e.Status == StatusSuccess {
		t.Latency.addBin(bin, 1)
		t.micros += float64(e.Latency.Microseconds())
	}
}

// Merge adds what another tally has.
func (t *Tally) Merge(o *Tally) {
	t.Count.add(o.Count)
	t.Latency.Merge(&o.Latency)
	t.micros += o.micros
}

func (t *Tally) subtract(o *Tally) {
	t.Count.subtract(o.Count)
	t.Latency.subtract(&o.Latency)
	if t.micros = max(0, t.micros-o.micros); t.Succeeded == 0 {
		t.micros = 0 // also where it was beyond what is exact
	}
}

func (t *Tally) reset() {
	t.Count, t.micros = Count{}, 0
	t.Latency.reset()
}

// Mean is the mean latency of the events that succeeded, each in whole microseconds; 0 of
// none.
func (t *Tally) Mean() time.Duration {
	if t.Succeeded == 0 {
		return 0
	}
	return time.Duration(math.Round(t.micros / float64(t.Succeeded) * 1000))
}

// Total is the sum of the latencies of the events that succeeded, in seconds.
func (t *Tally) Total() float64 { return t.micros / 1e6 }

// Quantile returns the latency that a share q of all attempts do not exceed, within 1 %. An
// attempt that failed or timed out took longer than any that succeeded: where q is more
// than the success rate, the answer is Never. 0 of nothing. For the quantiles of those that
// succeeded alone, see Latency.
func (t *Tally) Quantile(q float64) time.Duration {
	n := t.Attempts()
	if n == 0 {
		return 0
	}
	rank := rankOf(q, n)
	if rank >= t.Latency.n {
		return Never
	}
	return t.Latency.ranked(rank)
}

// Cell is the events of one Key.
type Cell struct {
	Key
	Tally
}
