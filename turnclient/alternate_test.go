package turnclient_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// sends300 answers signed requests with a 300 that names to, signed or not.
func sends300(to netip.AddrPort, key []byte) script {
	return after401(func(m *wire.Message) [][]byte {
		return one(answerTo(m, 300, key, func(b *wire.Builder) { b.AddAddress(wire.AttrAlternateServer, to) }))
	})
}

var (
	public1 = netip.MustParseAddrPort("8.8.8.1:3478")
	public2 = netip.MustParseAddrPort("8.8.8.2:3478")
)

func at300(t *testing.T) *lab {
	return newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: public1, Name: "turn.example.org"}}})
}

// RFC 8489 section 10.
func TestSignedRedirectIsFollowed(t *testing.T) {
	l := at300(t)
	l.hosts[public1] = sends300(public2, md5Key)
	l.serve(public2, authed())
	l.ready()
	e := l.last(turnclient.EventAllocated)
	if e.Server != (turnclient.Endpoint{Addr: public2, Name: "turn.example.org"}) {
		t.Errorf("%+v", e.Server)
	}
	if len(l.sockets) != 1 {
		t.Errorf("%d sockets", len(l.sockets))
	}
}

func TestRedirectNamesTheCertificate(t *testing.T) {
	l := at300(t)
	l.hosts[public1] = after401(func(m *wire.Message) [][]byte {
		return one(answerTo(m, 300, md5Key, func(b *wire.Builder) {
			b.AddAddress(wire.AttrAlternateServer, netip.MustParseAddrPort("[2001:db8::2]:3478")) // of the other family
			b.AddAddress(wire.AttrAlternateServer, public2)
			b.AddString(wire.AttrAlternateDomain, "other.example.org")
		}))
	})
	l.serve(public2, authed())
	l.ready()
	if e := l.last(turnclient.EventAllocated); e.Server.Name != "other.example.org" || e.Server.Addr != public2 {
		t.Errorf("%+v", e.Server)
	}
}

func TestUnsignedRedirectIsNeverFollowed(t *testing.T) {
	for name, s := range map[string]script{
		"to the first request": func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
			return one(answerTo(m, 300, nil, func(b *wire.Builder) { b.AddAddress(wire.AttrAlternateServer, public2) }))
		},
		"to a signed request": sends300(public2, nil),
		"wrongly signed":      sends300(public2, []byte("wrong")),
	} {
		l := at300(t)
		l.hosts[public1] = s
		l.serve(public2, authed())
		_, err := l.failed(l.allocate(), time.Minute)
		if !errors.Is(err, turnclient.ErrIntegrity) {
			t.Errorf("%s: %v", name, err)
		}
		for _, m := range l.sent {
			if m.to == public2 {
				t.Fatalf("%s: it was followed", name)
			}
		}
	}
}

func TestRedirectLoopEnds(t *testing.T) {
	l := at300(t)
	l.hosts[public1] = sends300(public2, md5Key)
	l.hosts[public2] = sends300(public1, md5Key)
	at, err := l.failed(l.allocate(), time.Minute)
	var s *turnclient.ServerError
	if !errors.As(err, &s) || s.Code != 300 || at > time.Second {
		t.Errorf("at %v: %v", at, err)
	}
	l.run(4 * time.Minute)
	before := len(l.requests(wire.Allocate))
	l.failed(l.allocate(), time.Minute)
	if n := len(l.requests(wire.Allocate)) - before; n > 4 {
		t.Errorf("%d requests", n)
	}
}

func TestRedirectChainEnds(t *testing.T) {
	l := at300(t)
	for i := range 20 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, byte(1 + i)}), 3478)
		l.hosts[addr] = sends300(netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, byte(2 + i)}), 3478), md5Key)
	}
	l.failed(l.allocate(), time.Minute)
	asked := make(map[netip.AddrPort]bool)
	for _, m := range l.sent {
		asked[m.to] = true
	}
	if len(asked) > 6 {
		t.Errorf("%d servers asked", len(asked))
	}
}

// What others named is forgotten once it is not used: there is always room for more.
func TestAlternatesAreForgotten(t *testing.T) {
	l := at300(t)
	for i := range 30 {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 9, byte(i)}), 3478)
		l.hosts[public1] = sends300(to, md5Key)
		l.serve(to, authed())
		id := l.ready()
		if got := l.last(turnclient.EventAllocated).Server.Addr; got != to {
			t.Fatalf("round %d: %v serves: %v", i, got, l.failures())
		}
		l.do(func(now time.Time) { l.m.Close(now, id) })
		l.run(time.Minute)
	}
}

func TestRedirectIntoThePrivateNetworkIsRefused(t *testing.T) {
	for _, to := range []string{"127.0.0.1:3478", "10.0.0.1:3478", "192.168.1.1:80", "169.254.169.254:80", "224.0.0.1:1", "0.0.0.0:1", "100.64.0.1:1", "8.8.8.8:0"} {
		l := at300(t)
		l.hosts[public1] = sends300(netip.MustParseAddrPort(to), md5Key)
		l.failed(l.allocate(), time.Minute)
		for _, m := range l.sent {
			if m.to != public1 {
				t.Errorf("%s: asked %v", to, m.to)
			}
		}
	}
}
