package fingerprint

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

const ms = time.Millisecond

// play runs an echoRun against a host: reply says after what time a request is
// answered, and with what TTL; 0: never.
func play(run *echoRun, reply func(seq uint16) (time.Duration, int)) (elapsed time.Duration) {
	start := time.Unix(1e9, 0)
	run.deadline = start.Add(1500 * ms)
	type answer struct {
		at  time.Time
		seq uint16
		ttl int
	}
	var coming []answer
	for now := start; ; {
		seq, due, wake, done := run.next(now)
		switch {
		case done:
			return now.Sub(start)
		case due:
			run.requested(now)
			if after, ttl := reply(seq); after > 0 {
				coming = append(coming, answer{now.Add(after), seq, ttl})
			}
			continue
		}
		first := -1
		for i, a := range coming {
			if !a.at.After(wake) && (first < 0 || a.at.Before(coming[first].at)) {
				first = i
			}
		}
		if first < 0 {
			now = wake
			continue
		}
		now = coming[first].at
		run.replied(now, coming[first].seq, coming[first].ttl)
		coming = append(coming[:first], coming[first+1:]...)
	}
}

func TestEchoRun(t *testing.T) {
	for _, tt := range []struct {
		name    string
		reply   func(seq uint16) (time.Duration, int)
		rate    float64
		delta   float64 // -1: unknown
		elapsed time.Duration
	}{
		{"answers", func(uint16) (time.Duration, int) { return 50 * ms, 52 }, 1, 12, 450 * ms},
		{"silent", func(uint16) (time.Duration, int) { return 0, 0 }, 0, -1, 1500 * ms},
		{"answers the first two", func(seq uint16) (time.Duration, int) {
			if seq < 2 {
				return 50 * ms, 250
			}
			return 0, 0
		}, .4, 5, 600 * ms}, // the last went at 400 ms; 200 ms of patience with it
		{"slow and lossy", func(seq uint16) (time.Duration, int) {
			if seq == 1 {
				return 0, 0
			}
			return 400 * ms, 100
		}, .8, 28, 1200 * ms}, // 400 ms and two round trips
		{"too slow", func(seq uint16) (time.Duration, int) { return 2000 * ms, 60 }, 0, -1, 1500 * ms},
		{"the last comes too late", func(seq uint16) (time.Duration, int) { return 1150 * ms, 60 }, .8, 4, 1500 * ms},
		{"tells no TTL", func(uint16) (time.Duration, int) { return 10 * ms, 0 }, 1, -1, 410 * ms},
		{"the path changes once", func(seq uint16) (time.Duration, int) { return 10 * ms, 60 - int(seq)/4 }, 1, 4, 410 * ms},
	} {
		run := &echoRun{requests: 5, gap: 100 * ms}
		elapsed := play(run, tt.reply)
		rate, _ := run.rate()
		delta, ok := run.ttlDelta()
		if !ok {
			delta = -1
		}
		if !near(rate, tt.rate) || delta != tt.delta || elapsed != tt.elapsed || len(run.sent) != 5 {
			t.Errorf("%s: rate %g, delta %g, %v, %d sent; want %g, %g, %v, 5", tt.name, rate, delta, elapsed, len(run.sent), tt.rate, tt.delta, tt.elapsed)
		}
	}
}

// Only the first answer to a request that was sent counts.
func TestEchoRunForgedReplies(t *testing.T) {
	now := time.Unix(1e9, 0)
	run := &echoRun{requests: 2, gap: 100 * ms, deadline: now.Add(time.Second)}
	if _, ok := run.rate(); ok {
		t.Error("a rate of nothing")
	}
	run.replied(now, 0, 64)
	run.requested(now)
	for range 100000 {
		run.replied(now, 0, 60)
		run.replied(now, 0, 50)
		run.replied(now, 1, 50)
		run.replied(now, 65535, 50)
	}
	run.requested(now.Add(100 * ms))
	delta, _ := run.ttlDelta()
	if rate, _ := run.rate(); rate != .5 || delta != 4 || len(run.sent) != 2 {
		t.Errorf("rate %g, delta %g, %d sent; want .5, 4, 2", rate, delta, len(run.sent))
	}
}

func TestInitialTTL(t *testing.T) {
	for received, want := range map[int]int{1: 32, 32: 32, 33: 64, 52: 64, 64: 64, 65: 128, 128: 128, 129: 255, 255: 255} {
		if got := initialTTL(received); got != want {
			t.Errorf("%d was %d, want %d", received, got, want)
		}
	}
}

func TestEchoWire(t *testing.T) {
	token := []byte("0123456789abcdef")
	// RFC 792: type 8, code 0; the checksum over the whole is 0xffff.
	b := appendEcho([]byte("before"), false, 0x1234, 7, token)[6:]
	if !bytes.Equal(b[:2], []byte{8, 0}) || checksum(b) != 0 || binary.BigEndian.Uint16(b[2:]) == 0 || !bytes.Equal(b[4:8], []byte{0x12, 0x34, 0, 7}) {
		t.Errorf("IPv4 request: % x", b)
	}
	if b := appendEcho(nil, true, 0x1234, 7, token); !bytes.Equal(b[:8], []byte{128, 0, 0, 0, 0x12, 0x34, 0, 7}) || !bytes.Equal(b[8:], token) {
		t.Errorf("IPv6 request: % x", b)
	}
	// The example of RFC 1071 section 3.
	if sum := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); sum != ^uint16(0xddf2) {
		t.Errorf("checksum %#x", sum)
	}
	if sum := checksum([]byte{0xff, 0xff, 0xff}); sum != 0x00ff {
		t.Errorf("checksum of odd length %#x", sum)
	}

	reply := bytes.Clone(b)
	reply[0] = 0
	if seq, ok := parseEcho(reply, false, token); !ok || seq != 7 {
		t.Errorf("reply: %d, %v", seq, ok)
	}
	reply[0] = 129
	if seq, ok := parseEcho(reply, true, token); !ok || seq != 7 {
		t.Errorf("IPv6 reply: %d, %v", seq, ok)
	}
	reply[0] = 0
	for name, bad := range map[string][]byte{
		"another's token": append(bytes.Clone(reply[:23]), 'x'), "cut": reply[:23], "longer": append(bytes.Clone(reply), 0),
		"empty": nil, "header cut": reply[:7], "a request": b, "another code": append([]byte{0, 1}, reply[2:]...),
	} {
		if _, ok := parseEcho(bad, false, token); ok {
			t.Errorf("%s was taken", name)
		}
	}
	if _, ok := parseEcho(reply, true, token); ok {
		t.Error("an IPv4 reply was taken for an IPv6 one")
	}
}

// FuzzParseEcho: nothing is taken that does not carry the token.
func FuzzParseEcho(f *testing.F) {
	token := []byte("0123456789abcdef")
	f.Add(append([]byte{0, 0, 1, 2, 3, 4, 0, 5}, token...), false)
	f.Add(append([]byte{129, 0, 1, 2, 3, 4, 0, 5}, token...), true)
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		seq, ok := parseEcho(b, v6, token)
		if ok && (!bytes.HasSuffix(b, token) || len(b) != echoHeader+len(token) || seq != uint16(b[6])<<8|uint16(b[7])) {
			t.Fatalf("% x was taken as %d", b, seq)
		}
	})
}
