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

func host4(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 1)
}

// bound are the channel numbers that were asked for, in order.
func (l *lab) bound() (all []uint16) {
	for _, s := range l.requests(wire.ChannelBind) {
		n, _ := s.msg().ChannelNumber()
		all = append(all, n)
	}
	return all
}

// RFC 8656 section 12: 0x4000 to 0x4FFF only, and round again.
func TestChannelNumbers(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.m.NextChannel(id, 0x4FFE)
	for i := range 4 {
		l.send(id, host4(i), "x")
		l.run(200 * time.Millisecond)
	}
	if got := l.bound(); !slices.Equal(got, []uint16{0x4FFE, 0x4FFF, 0x4000, 0x4001}) {
		t.Errorf("%x", got)
	}
}

// Neither number nor peer is bound otherwise until 5 minutes after the end; the same
// pair may be at any time.
func TestChannelsRestBeforeReuse(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.m.NextChannel(id, 0x4FFF)
	use := func(p netip.AddrPort) {
		l.send(id, p, "x")
		l.run(time.Second)
		l.send(id, p, "y") // the permission may have been new
		l.run(time.Second)
	}
	use(host4(1))
	l.run(1160*time.Second - l.elapsed()) // renewed at 540 s, for it was used; lapsed at 1140 s
	if server.Channels(l.now) != 0 {
		t.Fatal("the channel was kept")
	}
	l.m.NextChannel(id, 0x4FFF)
	use(host4(2)) // another peer takes another number
	use(host4(1)) // the same peer takes the same
	if got := l.bound(); !slices.Equal(got, []uint16{0x4FFF, 0x4FFF, 0x4000, 0x4FFF}) {
		t.Fatalf("%x", got)
	}
	start := l.elapsed()
	l.run(start + 1460*time.Second - l.elapsed())
	l.m.NextChannel(id, 0x4FFF)
	use(host4(3))
	if got := l.bound(); got[len(got)-1] != 0x4FFF {
		t.Errorf("%x: the number was not used again after its rest", got)
	}
}

func TestChannelIsRenewedWhileInUse(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	for range 200 {
		l.send(id, peerA, "x")
		l.run(10 * time.Second)
		if server.Channels(l.now) != 1 || !server.Permitted(l.now, peerA.Addr()) {
			t.Fatalf("lost at %v", l.elapsed())
		}
	}
	if n := len(l.bound()); n > 5 || server.ChannelData != 200 {
		t.Errorf("%d ChannelBind requests, %d ChannelData", n, server.ChannelData)
	}
}

// Section 12: the server may use the channel before its answer arrives.
func TestChannelDataBeforeTheBindSuccess(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
	l.serve(serverAddr, authed())
	id := l.ready()
	var late []byte
	l.down = func(b []byte) []byte {
		if b[0] == 0x01 && b[1] == 0x09 {
			late = b
			return nil
		}
		return b
	}
	l.send(id, peerA, "x")
	l.run(90 * time.Millisecond)
	for len(l.requests(wire.ChannelBind)) == 0 {
		l.run(10 * time.Millisecond)
	}
	l.run(l.delay)
	l.fromPeer(peerA, l.relayed(), "early")
	l.run(l.delay)
	if late == nil || len(l.all(turnclient.EventChannel)) != 0 || len(l.data()) != 1 {
		t.Errorf("came in: %q, bound %v", l.data(), l.all(turnclient.EventChannel))
	}
}

// Section 12.3: an unexpected 400 means that the two disagree: start afresh.
func TestBindOutOfStepStartsAfresh(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 2})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	server.Refuse = map[wire.Method]int{wire.ChannelBind: 400}
	l.send(id, peerA, "y")
	l.run(100 * time.Millisecond)
	server.Refuse = nil
	l.run(time.Second)
	if n := len(l.all(turnclient.EventAllocated)); n != 2 || server.Allocations(l.now) != 1 || server.Made != 2 {
		t.Errorf("%d allocations told, %d stand, %d made", n, server.Allocations(l.now), server.Made)
	}
	if l.m.State(id) != turnclient.Permitted {
		t.Errorf("state %v: %v", l.m.State(id), l.failures())
	}
}

// Any other refusal leaves the peer on Send indications.
func TestRefusedChannelIsDoneWithout(t *testing.T) {
	for _, code := range []int{403, 508, 500} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
		server := l.serve(serverAddr, authed())
		id := l.ready()
		server.Refuse = map[wire.Method]int{wire.ChannelBind: code}
		for range 20 {
			if err := l.send(id, peerA, "x"); err != nil {
				t.Fatal(err)
			}
			l.run(time.Second)
		}
		if n := len(l.bound()); len(l.toPeers) != 20 || n != 1 {
			t.Errorf("%d: %d of 20 relayed, %d ChannelBind requests", code, len(l.toPeers), n)
		}
		var s *turnclient.ServerError
		if told := l.all(turnclient.EventChannel); len(told) != 1 || told[0].Channel != 0 || !errors.As(told[0].Err, &s) || s.Code != code {
			t.Errorf("%d: told %+v", code, told)
		}
	}
}

// Section 12.5: over TCP padded to 4, the length is not.
func TestChannelDataOverTCPIsPadded(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1, Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: turnclient.TCP}}})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	before := len(l.toPeers)
	for _, data := range []string{"", "1", "12", "123", "1234"} {
		l.send(id, peerA, data)
		last := l.sent[len(l.sent)-1].raw
		if len(last)%4 != 0 || int(last[3]) != len(data) {
			t.Errorf("%q was sent as %x", data, last)
		}
	}
	l.run(time.Second)
	if len(l.toPeers) != before+5 || l.toPeers[before].data != "" {
		t.Errorf("relayed %+v", l.toPeers[before:])
	}
	l.chop = true
	for _, data := range []string{"", "1", "12", "123", "1234"} {
		l.fromPeer(peerA, l.relayed(), data)
	}
	l.run(time.Second)
	if n := len(l.data()); n != 5 {
		t.Errorf("%q came in", l.data())
	}
}
