package turnclient_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// overDTLS is a lab whose server is reached over DTLS.
func overDTLS(t *testing.T) *lab {
	l := newLab(t, turnclient.MachineConfig{
		Credentials: creds, ChannelAfter: 1,
		Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: turnclient.DTLS, Name: "turn.example.org"}},
	})
	l.whole = true
	return l
}

// RFC 7350 section 3: STUN over DTLS MUST use the retransmission rules of UDP.
func TestSilentServerOverDTLS(t *testing.T) {
	l := overDTLS(t)
	l.hosts[serverAddr] = script(func(*lab, netip.AddrPort, *wire.Message) [][]byte { return nil })
	at, err := l.failed(l.allocate(), time.Minute)
	connected := 2 * l.delay
	want := []time.Duration{0, 500, 1500, 3500, 7500, 15500, 31500}
	for i := range want {
		want[i] = want[i]*time.Millisecond + connected
	}
	var s *turnclient.ServerError
	if got := times(l.requests(wire.Allocate)); !slices.Equal(got, want) || at != 39500*time.Millisecond+connected {
		t.Errorf("sent at %v, failed at %v", got, at)
	}
	if !errors.Is(err, turnclient.ErrNoAnswer) || !errors.As(err, &s) || s.Server.Transport != turnclient.DTLS {
		t.Errorf("%v", err)
	}
}

// RFC 7350, RFC 8656 section 12.5: messages are framed as over UDP, one to a record, and
// ChannelData is not padded.
func TestMessagesOverDTLS(t *testing.T) {
	l := overDTLS(t)
	s := l.serve(serverAddr, authed())
	id := l.ready()
	for _, data := range []string{"first", "a", "ab", "abc", "abcd"} {
		if err := l.send(id, peerA, data); err != nil {
			t.Fatal(err)
		}
		l.run(time.Second)
	}
	var got []string
	for _, p := range l.toPeers {
		got = append(got, p.data)
	}
	if want := []string{"first", "a", "ab", "abc", "abcd"}; !slices.Equal(got, want) {
		t.Errorf("the peer got %q", got)
	}
	if s.ChannelData != 4 {
		t.Errorf("%d ChannelData messages", s.ChannelData)
	}
	for _, m := range l.sent {
		if m.raw[0] >= 4 && len(m.raw) != wire.MessageSize(m.raw) {
			t.Errorf("padded: % x", m.raw)
		}
	}
	l.fromPeer(peerA, l.relayed(), "back")
	l.run(time.Second)
	if got := l.data(); !slices.Equal(got, []string{peerA.String() + " back"}) {
		t.Errorf("%q", got)
	}
	l.do(func(now time.Time) { l.m.Close(now, id) })
	l.run(time.Minute)
	if e := l.last(turnclient.EventReleased); e.Err != nil || s.Allocations(l.now) != 0 {
		t.Errorf("%v, %d allocations left", e.Err, s.Allocations(l.now))
	}
}

// A record that is lost is sent again.
func TestLossOverDTLS(t *testing.T) {
	l := overDTLS(t)
	l.serve(serverAddr, authed())
	n := 0
	l.up = func(b []byte) []byte {
		if n++; n%3 == 1 {
			return nil
		}
		return b
	}
	l.ready()
}
