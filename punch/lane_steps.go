package punch

import "time"

// steps is what is known of our own sequence. The profile tells at first, but it was measured
// some time ago, and may be wrong: where the ports began anew meanwhile, say.
type steps struct {
	delta int
	rate  float64 // mappings a second that others make

	gcd, seen int       // of the steps between two questions that left together; how many these were
	last      uint16    // the last port that is known
	at        time.Time // when it was given out
	made      int       // mappings of our own since then
}

// after is the port that lies k steps after last.
func (s *steps) after(last uint16, k int) uint16 {
	return sequence{Last: last, Delta: s.delta}.Port(k)
}

// learn takes the ports that one question got, or two that left together (else second is 0),
// and returns the later.
func (s *steps) learn(now time.Time, first, second uint16) (last uint16) {
	apart := int(int16(second - first))
	if size := max(apart, -apart); second != 0 && size > 0 && size <= 4*widest {
		s.seen++
		s.gcd = greatestDivisor(size, s.gcd)
		// One distance may hold others' mappings; if it is no multiple of the profile's step,
		// the profile is wrong, and what several have in common is the step.
		if apart%s.delta != 0 || (apart < 0) != (s.delta < 0) || s.seen > 1 {
			if s.delta = s.gcd; apart < 0 {
				s.delta = -s.gcd
			}
		}
	}
	if s.last != 0 && now.After(s.at) {
		if n, ok := (sequence{Delta: s.delta}).steps(s.last, first); ok && n < maxCrowd {
			s.rate = float64(max(0, n-s.made-1)) / now.Sub(s.at).Seconds()
		}
	}
	last = first
	if second != 0 {
		last = second
	}
	s.last, s.at, s.made = last, now, 0
	return last
}

func greatestDivisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
