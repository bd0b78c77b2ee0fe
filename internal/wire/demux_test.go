package wire

import "testing"

// TestClassifyAllFirstBytes is RFC 7983 section 7 with RFC 9443's QUIC ranges.
func TestClassifyAllFirstBytes(t *testing.T) {
	ranges := []struct {
		from, to int
		want     Kind
	}{
		{0, 3, STUN}, {4, 15, Bradawl}, {16, 19, ZRTP}, {20, 63, DTLS}, {64, 79, TURNChannel},
		{80, 127, QUIC}, {128, 191, RTP}, {192, 255, QUIC},
	}
	seen := 0
	for _, r := range ranges {
		for c := r.from; c <= r.to; c++ {
			seen++
			b := message()
			b[0] = byte(c)
			if got := Classify(b); got != r.want {
				t.Errorf("first byte %d: %v, want %v", c, got, r.want)
			}
			want := r.want
			if want == STUN {
				want = Unknown // the first byte alone is no STUN message
			}
			if got := Classify(b[:1]); got != want {
				t.Errorf("first byte %d alone: %v, want %v", c, got, want)
			}
		}
	}
	if seen != 256 {
		t.Errorf("%d first bytes tested", seen)
	}
	if Classify(nil) != Unknown {
		t.Error("an empty datagram is of a kind")
	}
	if STUN.String() != "stun" || Kind(200).String() != "unknown" {
		t.Error("names of kinds")
	}
}

func TestIsSTUN(t *testing.T) {
	for name, b := range map[string][]byte{
		"short":         message()[:19],
		"cookie":        append([]byte{0, 1, 0, 0}, make([]byte, 16)...),
		"one more byte": append(message(), 0),
		"length off":    func() []byte { b := message(); b[3] = 4; return b }(),
	} {
		if IsSTUN(b) {
			t.Errorf("%s: taken for STUN", name)
		}
	}
	if !IsSTUN(message()) || !IsSTUN(vectors()[0].raw) {
		t.Error("STUN is not seen")
	}
}
