package turnclient_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

func ms(all ...int) (d []time.Duration) {
	for _, n := range all {
		d = append(d, time.Duration(n)*time.Millisecond)
	}
	return d
}

// RFC 8489 section 6.2.1.
func TestSilentServerSchedule(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	id := l.allocate()
	at, err := l.failed(id, time.Minute)
	if got, want := times(l.requests(wire.Allocate)), ms(0, 500, 1500, 3500, 7500, 15500, 31500); !slices.Equal(got, want) {
		t.Errorf("sent at %v, want %v", got, want)
	}
	if at != 39500*time.Millisecond || !errors.Is(err, turnclient.ErrNoAnswer) || errors.Is(err, turnclient.ErrIntegrity) {
		t.Errorf("failed at %v: %v", at, err)
	}
	if !strings.Contains(err.Error(), "192.0.2.1:3478 over udp") || !strings.Contains(err.Error(), "transport=tcp") {
		t.Errorf("%q names neither server nor remedy", err)
	}
}

// RFC 8489 section 6.2.2.
func TestSilentServerOverTCP(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: turnclient.TCP}}})
	l.hosts[serverAddr] = script(func(*lab, netip.AddrPort, *wire.Message) [][]byte { return nil })
	at, err := l.failed(l.allocate(), time.Minute)
	if n := len(l.requests(wire.Allocate)); n != 1 {
		t.Errorf("sent %d times over TCP", n)
	}
	if at != 39540*time.Millisecond || !errors.Is(err, turnclient.ErrNoAnswer) {
		t.Errorf("failed at %v: %v; want 39.5 s after the connection", at, err)
	}
}

// RFC 6298 with Karn's algorithm: no sample from what was sent twice.
func TestRTOFollowsTheRoundTrip(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready() // two clean round trips of 40 ms: RTO = 40 + 4*15 ms
	lost := 0
	l.up = func(b []byte) []byte {
		if b[1] == 0x08 && lost == 0 { // the first CreatePermission
			lost++
			return nil
		}
		return b
	}
	l.send(id, peerA, "a")
	l.run(time.Second)
	at := times(l.requests(wire.CreatePermission))
	if len(at) != 2 || at[1]-at[0] != 100*time.Millisecond {
		t.Fatalf("sent at %v, want 100 ms apart", at)
	}
	// Nor does what follows it begin with a shorter RTO than it had in the end.
	lost = 0
	l.send(id, peerB, "b")
	l.run(time.Second)
	at = times(l.requests(wire.CreatePermission))
	if len(at) != 4 || at[3]-at[2] != 200*time.Millisecond {
		t.Errorf("sent at %v: the repeated request gave a sample, or its RTO is forgotten", at)
	}
	l.send(id, host4(1), "a sample")
	l.run(time.Second)
	lost = 0
	l.send(id, host4(2), "c")
	l.run(time.Second)
	at = times(l.requests(wire.CreatePermission))
	if len(at) != 7 || at[6]-at[5] >= 100*time.Millisecond {
		t.Errorf("sent at %v: the RTO stays doubled after a sample", at)
	}
}

// A path that is slower than the first RTO: the doubled RTO is kept until an answer comes
// in time for a sample, so that requests are not sent twice for ever.
func TestRTOOfASlowPathIsFound(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
	l.delay = 350 * time.Millisecond
	l.serve(serverAddr, authed())
	id := l.ready()
	for i := range 5 {
		l.send(id, host4(i), "x")
		l.run(3 * time.Second)
	}
	if n := len(l.requests(wire.CreatePermission)); n != 5 {
		t.Errorf("5 requests were sent %d times on a path of 700 ms", n)
	}
}

// RFC 8489 sections 5 and 6.3.
func TestForeignTransactionsAreDropped(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{})
	first := true
	l.hosts[serverAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
		b := answerTo(m, 0, nil, granted)
		if first {
			first = false
			b[19] ^= 1
		}
		return one(b)
	})
	id := l.ready()
	if n := len(l.requests(wire.Allocate)); n != 2 || l.m.State(id) != turnclient.Allocated {
		t.Errorf("%d requests, state %v", n, l.m.State(id))
	}
	if got := l.elapsed(); got != 540*time.Millisecond {
		t.Errorf("stood after %v: the transaction should have lived on", got)
	}
}

func TestAnswersFromElsewhereAreDropped(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{})
	l.hosts[serverAddr] = script(func(l *lab, from netip.AddrPort, m *wire.Message) [][]byte {
		l.reply(otherAddr, from, answerTo(m, 0, nil, granted))
		return nil
	})
	id := l.allocate()
	l.run(time.Second)
	if l.m.State(id) != turnclient.Allocating || l.m.Dropped() == 0 {
		t.Errorf("state %v", l.m.State(id))
	}
}

func TestUnknownAttributesInAnswers(t *testing.T) {
	for name, typ := range map[string]wire.AttrType{"required": 0x7F00, "optional": 0xFF00} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{})
			l.hosts[serverAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
				return one(answerTo(m, 0, nil, func(b *wire.Builder) { granted(b); b.AddRaw(typ, []byte{1, 2, 3, 4}) }))
			})
			id := l.allocate()
			l.run(time.Second)
			want := turnclient.Failed
			if typ >= 0x8000 {
				want = turnclient.Allocated
			}
			if got := l.m.State(id); got != want {
				t.Errorf("state %v, want %v: %v", got, want, l.failures())
			}
		})
	}
}

// A wrong FINGERPRINT makes it no STUN message (RFC 8489 section 7).
func TestWrongFingerprintIsDropped(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{})
	l.hosts[serverAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
		b := answerTo(m, 0, nil, func(b *wire.Builder) { granted(b); b.AddFingerprint() })
		b[len(b)-1] ^= 1
		return one(b)
	})
	id := l.allocate()
	l.run(time.Second)
	if l.m.State(id) != turnclient.Allocating {
		t.Errorf("state %v", l.m.State(id))
	}
}

// RFC 8489 section 9: what stands behind MESSAGE-INTEGRITY is anybody's.
func TestAttributesBehindIntegrityAreIgnored(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
		b := answerTo(m, 0, md5Key, func(b *wire.Builder) {
			b.AddXORAddress(wire.AttrXORRelayedAddress, netip.AddrPortFrom(relayIP, 50000))
			b.AddUint32(wire.AttrLifetime, 600)
		})
		// XOR-MAPPED-ADDRESS of 8.8.8.8:8, spliced in behind, with the length set right.
		b = append(b, 0, 0x20, 0, 8, 0, 1, 8^0x21, 8^0x12, 8^0x21, 8^0x12, 8^0xA4, 8^0x42)
		b[3] += 12
		return one(b)
	})
	id := l.allocate()
	l.run(time.Second)
	if e := l.all(turnclient.EventAllocated); len(e) != 0 || l.m.State(id) != turnclient.Failed {
		t.Errorf("the forged mapped address surfaced: %+v, state %v", e, l.m.State(id))
	}
}

// RFC 8489 sections 9.1.4 and 9.2.5.
func TestUnsignedAnswersAreIgnored(t *testing.T) {
	for name, key := range map[string][]byte{"none": nil, "wrong": []byte("wrong")} {
		for _, code := range []int{0, 400, 403, 437, 486, 500} {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds})
			l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
				return one(answerTo(m, code, key, granted))
			})
			at, err := l.failed(l.allocate(), time.Minute)
			if !errors.Is(err, turnclient.ErrIntegrity) || errors.Is(err, turnclient.ErrNoAnswer) {
				t.Errorf("integrity %s, code %d: %v; want an integrity error", name, code, err)
			}
			if n := len(l.requests(wire.Allocate)); n != 1+7 || at < 5*time.Second {
				t.Errorf("integrity %s, code %d: %d requests, failed at %v; want retransmission to the end", name, code, n, at)
			}
			var unsigned *turnclient.UnsignedError
			if errors.As(err, &unsigned) != (code != 0) || unsigned != nil && unsigned.Code != code {
				t.Errorf("integrity %s, code %d: %v does not tell the code", name, code, err)
			}
			if e := l.all(turnclient.EventServer); code != 0 && (!errors.As(e[0].Err, &unsigned) || e[0].At.Sub(l.start) > time.Second) || len(e) > 2 {
				t.Errorf("integrity %s, code %d: told of %v; want it at once, and once", name, code, e)
			}

			l = newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: turnclient.TCP}}})
			l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
				return one(answerTo(m, code, key, granted))
			})
			if at, err := l.failed(l.allocate(), time.Minute); !errors.Is(err, turnclient.ErrIntegrity) || at > 200*time.Millisecond {
				t.Errorf("TCP, integrity %s, code %d: at %v: %v; want it at once", name, code, at, err)
			}
		}
	}
}

// A signed answer that comes after forged ones counts.
func TestForgedAnswersDoNotSpoilTheTrueOne(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
		return [][]byte{answerTo(m, 403, nil, nil), answerTo(m, 0, []byte("wrong"), granted), answerTo(m, 0, md5Key, granted)}
	})
	if l.ready(); l.elapsed() > 100*time.Millisecond {
		t.Errorf("stood after %v", l.elapsed())
	}
}
