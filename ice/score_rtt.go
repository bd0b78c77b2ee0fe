package ice

import (
	"math"
	"slices"
	"time"
)

// samplesKept is how many round trips count.
const samplesKept = 5

// RTTSamples are round-trip times measured from a local address, the latest last: to the
// STUN server, and to the peer once there are any. The last five count; a negative one is
// taken for 0. nil: none.
type RTTSamples []time.Duration

// Add appends a sample and drops the sixth last. It leaves other copies of the slice alone.
func (s *RTTSamples) Add(rtt time.Duration) {
	kept := (*s)[max(0, len(*s)-samplesKept+1):]
	*s = append(slices.Clip(kept), rtt)
}

// last returns a copy of the samples that count.
func (s RTTSamples) last() []time.Duration {
	l := slices.Clone(s[max(0, len(s)-samplesKept):])
	for i := range l {
		l[i] = max(l[i], 0)
	}
	return l
}

// Median returns the middle one of the samples that count; 0 if there are none.
func (s RTTSamples) Median() time.Duration {
	l := s.last()
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	low, high := l[(len(l)-1)/2], l[len(l)/2]
	return low + (high-low)/2
}

// Deviation returns the standard deviation of the samples that count.
func (s RTTSamples) Deviation() time.Duration {
	l := s.last()
	mean, squares := 0.0, 0.0
	for _, d := range l {
		mean += float64(d) / float64(len(l))
	}
	for _, d := range l {
		squares += (float64(d) - mean) * (float64(d) - mean) / float64(len(l))
	}
	return time.Duration(math.Sqrt(squares))
}

// Quality returns the samples' worth, 0 to 1; Neutral if there are none:
//
//	clamp(100 / (median + 1), 0.01, 1) / (1 + deviation/median)
//
// with the median in milliseconds. Up to 99 ms the first factor is 1, at 199 ms 0.5; the
// second takes off what the round trips vary. A median below 1 ms counts as 1 ms beside
// the deviation, for there it is the host's own scheduling that varies.
func (s RTTSamples) Quality() float64 {
	if len(s) == 0 {
		return Neutral
	}
	ms := milliseconds(s.Median())
	return clamp(100/(ms+1), 0.01, 1) / (1 + milliseconds(s.Deviation())/max(ms, 1))
}

// literal is the term as ScoreConfig.LiteralRTT has it.
func (s RTTSamples) literal() float64 {
	if len(s) == 0 {
		return Neutral
	}
	return max(0.01, 100/(milliseconds(s.Median())+1)) / 100
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
