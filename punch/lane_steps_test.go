package punch

import (
	"testing"
	"time"
)

func TestStepsLearnFromWhatIsSeen(t *testing.T) {
	s := steps{delta: 1, rate: 1000}
	now := epoch
	if last := s.learn(now, 2000, 2003); last != 2003 || s.delta != 1 {
		t.Errorf("last %d, step %d: one distance may hold others' mappings", last, s.delta)
	}
	s.made = 8
	// 8 of ours, 3 of others and the question: 12 steps of 3.
	if last := s.learn(now.Add(time.Second), 2039, 2042); last != 2042 || s.delta != 3 || s.rate != 3 {
		t.Errorf("last %d, step %d, rate %v", last, s.delta, s.rate)
	}
	if got := s.after(2042, 5); got != 2057 {
		t.Errorf("5 steps on: %d", got)
	}
	s = steps{delta: 2}
	if s.learn(now, 5000, 4999); s.delta != -1 {
		t.Errorf("step %d, want what was seen, as it is no multiple of the profile's", s.delta)
	}
	s = steps{delta: -3, rate: 4}
	if last := s.learn(now, 5000, 0); last != 5000 || s.delta != -3 || s.rate != 4 {
		t.Errorf("one question: last %d, %+v", last, s)
	}
	if s.learn(now, 5000, 40000); s.delta != -3 {
		t.Error("learned from a distance that cannot be")
	}
}
