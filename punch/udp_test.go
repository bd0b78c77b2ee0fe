package punch

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

var (
	epoch  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	addrA  = netip.MustParseAddrPort("192.0.2.1:1000")
	addrB  = netip.MustParseAddrPort("192.0.2.2:2000")
	secret = []byte("0123456789abcdef")
)

func newMachine(t testing.TB, seed byte, c UDPConfig) *udpMachine {
	t.Helper()
	if c.Secret == nil {
		c.Secret = secret
	}
	m, err := newUDPMachine(epoch, c, rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.illegal != 0 {
			t.Errorf("%d transitions that the table does not have", m.illegal)
		}
	})
	return m
}

// sent takes what the machine sends.
func sent(m *udpMachine) (all []machine.Transmit) {
	for x, ok := m.PollTransmit(); ok; x, ok = m.PollTransmit() {
		all = append(all, x)
	}
	return all
}

func events(m *udpMachine) (all []udpEvent) {
	for e, ok := m.PollEvent(); ok; e, ok = m.PollEvent() {
		all = append(all, e)
	}
	return all
}

// carry brings what one machine sends to the other, as coming from there.
func carry(now time.Time, from, to *udpMachine, as netip.AddrPort) {
	for _, x := range sent(from) {
		to.HandleDatagram(now, machine.Datagram{Remote: as, Local: x.Remote, Data: x.Data})
	}
}

func TestScheduleOfProbes(t *testing.T) {
	m := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB, netip.MustParseAddrPort("192.0.2.3:3000")}})
	var at [2][]time.Duration
	for now := epoch; now.Sub(epoch) < 5*time.Second; now = m.NextTimeout() {
		m.HandleTimeout(now)
		for _, x := range sent(m) {
			i := 0
			if x.Remote != addrB {
				i = 1
			}
			at[i] = append(at[i], now.Sub(epoch)/time.Millisecond)
		}
	}
	want := []time.Duration{0, 33, 66, 132, 265, 531, 1064, 2130, 4130}
	for i := range want {
		if len(at[0]) != len(want) || at[0][i] != want[i] || at[1][i] != want[i]+5 {
			t.Fatalf("probes at %v and %v ms, want %v and each 5 ms later", at[0], at[1], want)
		}
	}
}

func TestWrongSecretIsNamed(t *testing.T) {
	a := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
	b := newMachine(t, 2, UDPConfig{Peer: []netip.AddrPort{addrA}, Secret: []byte("another secret!!")})
	for now := epoch; !now.IsZero(); now = machine.Earliest(a.NextTimeout(), b.NextTimeout()) {
		a.HandleTimeout(now)
		b.HandleTimeout(now)
		carry(now, a, b, addrA)
		carry(now, b, a, addrB)
	}
	all := events(a)
	if len(all) != 2 || all[0].Kind != udpForged || all[0].Path.Remote != addrB || !errors.Is(all[1].Err, ErrSecret) || errors.Is(all[1].Err, ErrSilent) {
		t.Fatalf("events %v", all)
	}
}

// A NAT that hairpins, or an address that is ours as well as the peer's, brings our
// own probes back, authentic in everything but who they are from.
func TestOwnProbesComingBackAreNobody(t *testing.T) {
	m := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
	for now := epoch; !now.IsZero(); now = m.NextTimeout() {
		m.HandleTimeout(now)
		for _, x := range sent(m) {
			m.HandleDatagram(now, machine.Datagram{Remote: addrB, Data: x.Data})
			if out := sent(m); len(out) > 0 {
				t.Fatalf("answered its own probe: %v", out)
			}
		}
	}
	if all := events(m); len(all) != 1 || !errors.Is(all[0].Err, ErrSilent) {
		t.Fatalf("events %v", all)
	}
}

// Only the first peer that proves the secret counts, and what was recorded of one
// attempt is of no use in the next.
func TestReplayedProbesMakeNoPath(t *testing.T) {
	a := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
	b := newMachine(t, 2, UDPConfig{Peer: []netip.AddrPort{addrA}})
	a.HandleTimeout(epoch)
	b.HandleTimeout(epoch)
	var recorded [][]byte
	for _, x := range sent(b) {
		recorded = append(recorded, x.Data)
	}
	sent(a)
	for _, data := range recorded {
		a.HandleDatagram(epoch, machine.Datagram{Remote: addrB, Data: data})
	}
	for _, x := range sent(a) { // answers and probes go nowhere: b is gone
		_ = x
	}
	for now := a.NextTimeout(); !now.IsZero(); now = a.NextTimeout() {
		for _, data := range recorded {
			a.HandleDatagram(now, machine.Datagram{Remote: addrB, Data: data})
		}
		a.HandleTimeout(now)
		sent(a)
	}
	all := events(a)
	if len(all) != 1 || all[0].Kind != udpFailed {
		t.Fatalf("events %v", all)
	}
}

// An answer counts only from where the probe went (RFC 8445 7.2.5.2.1).
func TestAnswerFromElsewhereIsDropped(t *testing.T) {
	a := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
	b := newMachine(t, 2, UDPConfig{Peer: []netip.AddrPort{addrA}})
	a.HandleTimeout(epoch)
	carry(epoch, a, b, addrA)
	for _, x := range sent(b) {
		var m wire.Message
		if m.Decode(x.Data) == nil && m.Class() == wire.Success {
			a.HandleDatagram(epoch, machine.Datagram{Remote: netip.MustParseAddrPort("192.0.2.9:9"), Data: x.Data})
			if all := events(a); len(all) != 0 {
				t.Fatalf("events %v", all)
			}
			a.HandleDatagram(epoch, machine.Datagram{Remote: addrB, Data: x.Data})
		}
	}
	if all := events(a); len(all) == 0 || all[0].Kind != udpValid {
		t.Fatalf("events %v", all)
	}
}

// converge runs both machines without loss until both agree.
func converge(t *testing.T, a, b *udpMachine) (now time.Time) {
	t.Helper()
	now = epoch
	for range 100 {
		a.HandleTimeout(now)
		b.HandleTimeout(now)
		carry(now, a, b, addrA)
		carry(now, b, a, addrB)
		if a.state == agreed && b.state == agreed {
			return now
		}
		if next := machine.Earliest(a.NextTimeout(), b.NextTimeout()); next.After(now) {
			now = next
		}
	}
	t.Fatal("no agreement")
	return now
}

func TestEarlyDataIsBounded(t *testing.T) {
	a := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
	b := newMachine(t, 2, UDPConfig{Peer: []netip.AddrPort{addrA}})
	now := converge(t, a, b)
	for i := range maxEarly + 4 {
		a.HandleDatagram(now, machine.Datagram{Remote: addrB, Data: []byte{64, byte(i)}})
	}
	a.HandleDatagram(now, machine.Datagram{Remote: netip.MustParseAddrPort("192.0.2.9:9"), Data: []byte("stranger")})
	early := a.Early()
	if len(early) != maxEarly || !bytes.Equal(early[0], []byte{64, 0}) {
		t.Fatalf("kept %d datagrams: %v", len(early), early)
	}
}

func TestAddressesThatMustNotBeProbed(t *testing.T) {
	var peer []netip.AddrPort
	for _, s := range []string{"0.0.0.0:1", "[::]:1", "127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "224.0.0.1:1", "[ff02::1]:1", "255.255.255.255:1", "192.0.2.1:0"} {
		peer = append(peer, netip.MustParseAddrPort(s))
	}
	peer = append(peer, netip.AddrPort{})
	m := newMachine(t, 1, UDPConfig{Peer: peer})
	for i := range 100 {
		m.AddRemote(epoch, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 9))
	}
	m.HandleTimeout(epoch.Add(time.Second))
	out := sent(m)
	if len(out) != MaxPeerAddrs {
		t.Errorf("%d probes, want %d", len(out), MaxPeerAddrs)
	}
	for _, x := range out {
		if x.Remote.Addr().As4()[0] != 198 {
			t.Errorf("probe to %v", x.Remote)
		}
	}
	if got := len(m.Report(epoch, nil).Tried); got != 2*MaxPeerAddrs {
		t.Errorf("report lists %d addresses, want %d probed and as many passed over", got, MaxPeerAddrs)
	}
	m = newMachine(t, 1, UDPConfig{Peer: peer[2:3], Loopback: true})
	m.HandleTimeout(epoch)
	if out := sent(m); len(out) != 1 {
		t.Errorf("%d probes to loopback although that is wanted", len(out))
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	_, err := newUDPMachine(epoch, UDPConfig{Secret: []byte("short")}, rand.NewChaCha8([32]byte{}))
	var c *ConfigError
	if !errors.As(err, &c) || c.Field != "Secret" {
		t.Fatalf("error %v", err)
	}
	if bytes.Contains([]byte(err.Error()), []byte("short")) {
		t.Errorf("the error shows the secret: %v", err)
	}
}
