package turnclient_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// RFC 8656 section 9: one for an IP, whatever the port.
func TestPermissionIsPerIP(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	for port := range uint16(5) {
		l.send(id, netip.AddrPortFrom(peerA.Addr(), 1000+port), "x")
	}
	l.run(time.Second)
	if n := len(l.requests(wire.CreatePermission)); n != 1 || len(l.toPeers) != 5 {
		t.Errorf("%d requests, %d relayed", n, len(l.toPeers))
	}
	l.fromPeer(netip.AddrPortFrom(peerA.Addr(), 9), l.relayed(), "from a port never written to")
	l.run(time.Second)
	if len(l.data()) != 1 {
		t.Errorf("came in: %q", l.data())
	}
}

// Ports of one peer may come and go by the thousand: those that are not in use any more
// do not keep out new ones, and those that wait or have a channel stay.
func TestPortsOfOnePeerDoNotAddUp(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	for range 9 {
		l.send(id, peerA, "x")
		l.run(200 * time.Millisecond)
	}
	l.up = func(b []byte) []byte {
		if b[1] == 0x08 {
			return nil // peerB's permission is not to be had yet
		}
		return b
	}
	l.send(id, peerB, "waits")
	for port := range uint16(5000) {
		if port%100 == 0 {
			l.run(50 * time.Millisecond)
		}
		if err := l.send(id, netip.AddrPortFrom(peerA.Addr(), 2000+port), "x"); err != nil {
			t.Fatalf("port %d: %v", 2000+port, err)
		}
	}
	if _, peers, permits := l.m.Queued(id); peers > 4096 || permits != 2 {
		t.Errorf("%d peers, %d permits", peers, permits)
	}
	l.up = nil
	l.run(550 * time.Second)
	if len(l.toPeers) != 9+1+5000 {
		t.Errorf("%d relayed", len(l.toPeers))
	}
	if got := l.bound(); !slices.Equal(got, []uint16{0x4000, 0x4000}) {
		t.Errorf("channels bound: %#x; the one in use was to be renewed", got)
	}
}

// Section 9: 300 s, which traffic does not move; renewed before they end while in use.
func TestPermissionIsRenewedWhileInUse(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	for range 100 {
		l.send(id, peerA, "x")
		l.run(20 * time.Second)
		if !server.Permitted(l.now, peerA.Addr()) {
			t.Fatalf("not permitted at %v", l.elapsed())
		}
	}
	if at := times(l.requests(wire.CreatePermission)); len(at) < 2000/300 || len(at) > 2000/200 {
		t.Errorf("asked for at %v", at)
	}
	if len(l.toPeers) != 100 {
		t.Errorf("%d of 100 relayed", len(l.toPeers))
	}
}

// What only comes in keeps a permission, too.
func TestPermissionIsRenewedWhileDataComesIn(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.do(func(now time.Time) { l.m.Permit(now, id, peerA.Addr()) })
	for range 50 {
		l.run(20 * time.Second)
		l.fromPeer(peerA, l.relayed(), "in")
	}
	l.run(time.Second)
	if n := len(l.data()); n != 50 {
		t.Errorf("%d of 50 came in", n)
	}
}

func TestIdlePermissionLapses(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(250 * time.Second) // renewed once: it was used before
	l.run(310 * time.Second)
	if n := len(l.requests(wire.CreatePermission)); n != 2 || server.Permitted(l.now, peerA.Addr()) {
		t.Errorf("%d requests, permitted %v", n, server.Permitted(l.now, peerA.Addr()))
	}
	if _, peers, permits := l.m.Queued(id); peers != 0 || permits != 0 {
		t.Errorf("%d peers and %d permits are kept", peers, permits)
	}
	if e := l.last(turnclient.EventPermission); e.Err == nil || l.m.State(id) != turnclient.Allocated {
		t.Errorf("%+v, state %v", e, l.m.State(id))
	}
	l.send(id, peerA, "again")
	l.run(time.Second)
	if len(l.toPeers) != 2 {
		t.Errorf("%d relayed", len(l.toPeers))
	}
}

// The first write to a new peer waits for its permission; nobody else does.
func TestOnePeerDoesNotHoldUpAnother(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "a0")
	l.run(time.Second)
	l.up = func(b []byte) []byte { // the server never hears of peerB
		if b[1] == 0x08 {
			return nil
		}
		return b
	}
	var wrong []string
	for i := range 50 {
		if err := l.send(id, peerB, fmt.Sprint("b", i)); i >= 32 != errors.Is(err, turnclient.ErrQueueFull) {
			wrong = append(wrong, fmt.Sprint(i, err))
		}
		before := len(l.toPeers)
		if err := l.send(id, peerA, fmt.Sprint("a", i)); err != nil {
			t.Fatal(err)
		}
		l.run(l.delay)
		if len(l.toPeers) != before+1 {
			t.Fatalf("peerA's datagram %d was held up", i)
		}
	}
	if len(wrong) > 0 {
		t.Errorf("the queue is not bounded at 32: %v", wrong)
	}
	l.up = nil
	l.run(10 * time.Second)
	n := 0
	for _, d := range l.toPeers {
		if d.to == peerB {
			if d.data != fmt.Sprint("b", n) {
				t.Errorf("peerB got %q in place %d", d.data, n)
			}
			n++
		}
	}
	if n != 32 {
		t.Errorf("peerB got %d of the 32 that were kept", n)
	}
}

func TestQueuesAreBounded(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.kill(serverAddr)
	big := string(make([]byte, 1200))
	var last error
	for i := range 5000 {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 1)
		if err := l.send(id, to, big); err != nil {
			last = err
		}
	}
	bytes, peers, permits := l.m.Queued(id)
	if bytes > 256<<10 || peers > 4096 || permits > 4096 {
		t.Errorf("%d bytes, %d peers, %d permits", bytes, peers, permits)
	}
	var p *turnclient.PeerError
	if !errors.As(last, &p) {
		t.Errorf("%v", last)
	}
	l.do(func(now time.Time) { l.m.Close(now, id) })
	l.run(time.Minute)
	dropped := 0
	for _, e := range l.all(turnclient.EventDropped) {
		dropped += e.Lost.Datagrams
	}
	if want := bytes / 1200; dropped != want {
		t.Errorf("%d datagrams were said to be dropped, want %d", dropped, want)
	}
}

// A peer that is refused fails alone, also when many are renewed by one request.
func TestRefusedPeerFailsAlone(t *testing.T) {
	for _, bare := range []bool{false, true} {
		t.Run(fmt.Sprint("without code ", bare), func(t *testing.T) { testRefusedPeer(t, bare) })
	}
}

// bare: the refusal has no error code, as pion/turn's has not.
func testRefusedPeer(t *testing.T, bare bool) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
	server := l.serve(serverAddr, authed())
	server.DenyWithoutCode = bare
	id := l.ready()
	var peers []netip.AddrPort
	for i := range 10 {
		peers = append(peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + i)}), 1))
	}
	server.Deny = func(ip netip.Addr) bool { return ip == peers[3].Addr() }
	all := func() (errs []error) {
		for _, p := range peers {
			errs = append(errs, l.send(id, p, "x"))
		}
		return errs
	}
	all()
	l.run(time.Second)
	if len(l.toPeers) != 9 {
		t.Errorf("%d of 9 relayed", len(l.toPeers))
	}
	if e := l.last(turnclient.EventDropped); e.Peer != peers[3] || e.Lost.Datagrams != 1 || !errors.Is(e.Err, turnclient.ErrNotPermitted) {
		t.Errorf("%+v", e)
	}
	for i, err := range all() {
		if (i == 3) != errors.Is(err, turnclient.ErrNotPermitted) {
			t.Errorf("peer %d: %v", i, err)
		}
	}
	// Now another one is refused at the renewal, which is one request for all.
	server.Deny = func(ip netip.Addr) bool { return ip == peers[5].Addr() }
	before := len(l.requests(wire.CreatePermission))
	l.run(241 * time.Second)
	renewals := l.requests(wire.CreatePermission)[before:]
	batch, _ := renewals[0].msg().AppendXORAddresses(nil, wire.AttrXORPeerAddress, 64)
	if len(batch) != 9 {
		t.Errorf("renewed %v by one request, want all 9", batch)
	}
	l.run(20 * time.Second)
	for i, err := range all() {
		if (i == 5) != errors.Is(err, turnclient.ErrNotPermitted) {
			t.Errorf("after the renewal, peer %d: %v", i, err)
		}
	}
	for i, p := range peers {
		if i != 5 && i != 3 && !server.Permitted(l.now, p.Addr()) {
			t.Errorf("peer %d is not permitted any more", i)
		}
	}
}

// A renewal that is not answered is tried again, before the permission ends.
func TestRenewalIsRetried(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(239 * time.Second)
	server.Refuse = map[wire.Method]int{wire.CreatePermission: 500}
	l.run(20 * time.Second)
	server.Refuse = nil
	l.run(38 * time.Second)
	if until := l.now; !server.Permitted(until.Add(10*time.Second), peerA.Addr()) {
		t.Errorf("the permission ends at %v", l.elapsed())
	}
}

// Sections 11.4 and 12.6: data of those who are not permitted is dropped.
func TestDataWithoutPermissionIsDropped(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	local := l.sockets[l.sent[len(l.sent)-1].socket]
	indication := func(from netip.AddrPort, data string) []byte {
		var b wire.Builder
		b.Reset(wire.MessageType{Method: wire.Data, Class: wire.Indication}, wire.TransactionID{1})
		b.AddXORAddress(wire.AttrXORPeerAddress, from)
		b.AddString(wire.AttrData, data)
		return b.Bytes()
	}
	noPeer := indication(peerA, "no peer")
	noPeer[21] = 0x77 // XOR-PEER-ADDRESS becomes something unknown
	channel := func(number uint16, length int, data string) []byte {
		return append([]byte{byte(number >> 8), byte(number), byte(length >> 8), byte(length)}, data...)
	}
	for name, b := range map[string][]byte{
		"indication from a stranger": indication(peerB, "stranger"),
		"indication without a peer":  noPeer,
		"unbound channel":            channel(0x4FFF, 5, "wrong"),
		"reserved channel":           channel(0x5000, 5, "wrong"),
		"truncated channel data":     channel(0x4000, 6, "wrong"),
		"truncated header":           {0x40, 0},
		"garbage":                    []byte("\x00\x17garbage"),
		"empty":                      {},
	} {
		dropped := l.m.Dropped()
		l.reply(serverAddr, local, b)
		l.run(time.Second)
		if len(l.data()) != 0 || l.m.Dropped() != dropped+1 {
			t.Errorf("%s: %q came in, %d dropped", name, l.data(), l.m.Dropped()-dropped)
		}
	}
	l.reply(serverAddr, local, indication(peerA, "good"))
	l.reply(serverAddr, local, indication(peerA, ""))
	l.reply(serverAddr, local, channel(0x4000, 7, "channel and padding")) // section 12.5: over UDP padding MAY be there
	l.reply(serverAddr, local, channel(0x4000, 0, ""))
	l.run(time.Second)
	want := []string{"good", "", "channel", ""}
	for i, w := range want {
		want[i] = peerA.String() + " " + w
	}
	if got := l.data(); !slices.Equal(got, want) {
		t.Errorf("came in: %q", got)
	}
}

// Section 11.6.
func TestICMPErrorsAreTold(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	local := l.sockets[l.sent[len(l.sent)-1].socket]
	icmp := func(peer netip.AddrPort) []byte {
		var b wire.Builder
		b.Reset(wire.MessageType{Method: wire.Data, Class: wire.Indication}, wire.TransactionID{1})
		b.AddXORAddress(wire.AttrXORPeerAddress, peer)
		b.AddICMP(3, 4, 1280)
		return b.Bytes()
	}
	l.reply(serverAddr, local, icmp(peerB))
	l.reply(serverAddr, local, icmp(peerA))
	l.run(time.Second)
	all := l.all(turnclient.EventUnreachable)
	var e *turnclient.ICMPError
	if len(all) != 1 || !errors.As(all[0].Err, &e) || *e != (turnclient.ICMPError{Peer: peerA, Type: 3, Code: 4, MTU: 1280}) {
		t.Errorf("%+v", all)
	}
}

func TestUnusablePeers(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	before := len(l.sent)
	for _, to := range []string{"0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "198.51.100.1:0", "[2001:db8::1]:1", "[fe80::1%eth0]:1"} {
		var p *turnclient.PeerError
		if err := l.send(id, netip.MustParseAddrPort(to), "x"); !errors.As(err, &p) {
			t.Errorf("%s: %v", to, err)
		}
	}
	var p *turnclient.PeerError
	if err := l.send(id, peerA, string(make([]byte, 65500))); !errors.As(err, &p) {
		t.Errorf("too long: %v", err)
	}
	l.run(time.Second)
	if len(l.sent) != before {
		t.Errorf("%d messages were sent", len(l.sent)-before)
	}
	if err := l.send(id, netip.MustParseAddrPort("[::ffff:198.51.100.1]:1000"), "mapped"); err != nil {
		t.Error(err)
	}
	l.run(time.Second)
	if len(l.toPeers) != 1 || l.toPeers[0].to != peerA {
		t.Errorf("relayed %+v", l.toPeers)
	}
}
