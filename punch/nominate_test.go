package punch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// puppet is a peer that says what the test wants, with the right secret.
type puppet struct {
	tag tag
	n   byte
}

var (
	low  = tag{1} // of a peer that agrees
	high = tag{0xff}
)

func (p *puppet) message(class wire.Class, id wire.TransactionID, nominate, ready bool, mapped netip.AddrPort) []byte {
	var b wire.Builder
	b.Reset(wire.MessageType{Method: wire.Binding, Class: class}, id)
	if nominate {
		b.AddUseCandidate()
	}
	if mapped.IsValid() {
		b.AddXORAddress(wire.AttrXORMappedAddress, mapped)
	}
	state := [stateSize]byte{stateVersion}
	if ready {
		state[1] = flagReady
	}
	copy(state[4:], p.tag[:])
	b.AddRaw(wire.AttrPunchState, state[:])
	b.AddIntegrity(secret)
	b.AddFingerprint()
	return b.Bytes()
}

func (p *puppet) request(nominate, ready bool) []byte {
	p.n++
	return p.message(wire.Request, wire.TransactionID{p.tag[0], p.n}, nominate, ready, netip.AddrPort{})
}

// answer answers what the machine sent last.
func (p *puppet) answer(t *testing.T, x machine.Transmit, ready bool) []byte {
	t.Helper()
	var m wire.Message
	if err := m.Decode(x.Data); err != nil || m.Class() != wire.Request {
		t.Fatalf("no request: %v", err)
	}
	return p.message(wire.Success, m.TransactionID(), false, ready, addrA)
}

func requests(all []machine.Transmit) (n int, last machine.Transmit) {
	for _, x := range all {
		var m wire.Message
		if m.Decode(x.Data) == nil && m.Class() == wire.Request {
			n, last = n+1, x
		}
	}
	return n, last
}

func isNomination(x machine.Transmit) bool {
	var m wire.Message
	return m.Decode(x.Data) == nil && m.UseCandidate()
}

// begun is a machine whose tag is 0x80…, that has sent its first probe to addrB, and
// a puppet with the tag given.
func begun(t *testing.T, peer tag) (*udpMachine, *puppet, machine.Transmit) {
	t.Helper()
	m := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
	m.tag = tag{0x80}
	m.HandleTimeout(epoch)
	return m, &puppet{tag: peer}, sent(m)[0]
}

func give(m *udpMachine, now time.Time, from netip.AddrPort, data []byte) {
	m.HandleDatagram(now, machine.Datagram{Local: addrA, Remote: from, Data: data})
}

func kinds(m *udpMachine) (all []udpEventKind) {
	for _, e := range events(m) {
		all = append(all, e.Kind)
	}
	return all
}

func has(all []udpEventKind, k udpEventKind) bool {
	for _, have := range all {
		if have == k {
			return true
		}
	}
	return false
}

func TestOnlyTheGreaterTagNominates(t *testing.T) {
	m, p, x := begun(t, low)
	give(m, epoch, addrB, p.request(true, false)) // against the rule
	give(m, epoch, addrB, p.answer(t, x, false))
	if got := kinds(m); !has(got, udpNominated) || has(got, udpAgreed) {
		t.Errorf("peer of the lesser tag nominates: %v", got)
	}
	m, p, x = begun(t, high)
	give(m, epoch, addrB, p.answer(t, x, false))
	if got := kinds(m); has(got, udpNominated) {
		t.Errorf("we nominate against the rule: %v", got)
	}
	sent(m)
	give(m, epoch, addrB, p.request(true, false))
	if got := kinds(m); !has(got, udpAgreed) {
		t.Errorf("not agreed after the nomination of a valid pair: %v", got)
	}
}

// Who agrees because its own probe was answered at last tells the peer at once.
func TestAgreementIsTold(t *testing.T) {
	m, p, x := begun(t, high)
	give(m, epoch, addrB, p.request(true, false))
	sent(m)
	give(m, epoch, addrB, p.answer(t, x, false))
	if !has(kinds(m), udpAgreed) {
		t.Fatal("not agreed")
	}
	n, last := requests(sent(m))
	var msg wire.Message
	if n != 1 || msg.Decode(last.Data) != nil {
		t.Fatalf("%d requests", n)
	}
	if state, _ := msg.Get(wire.AttrPunchState); len(state) != stateSize || state[1]&flagReady == 0 {
		t.Error("the news is not in it")
	}
}

func TestNominatorWaitsForAnAnswerAsLongAsTheRoundTripAsks(t *testing.T) {
	for _, rtt := range []time.Duration{10 * time.Millisecond, 600 * time.Millisecond} {
		m, p, x := begun(t, low)
		now := epoch.Add(rtt)
		give(m, now, addrB, p.answer(t, x, false))
		nominations := 0
		for m.state == nominating {
			for _, x := range sent(m) {
				if isNomination(x) {
					nominations++
				}
			}
			now = m.NextTimeout()
			m.HandleTimeout(now)
		}
		silence := now.Sub(epoch.Add(rtt))
		if m.state != agreed || nominations < patience || silence < 4*rtt+patienceTime {
			t.Errorf("round trip %v: state %d after %d nominations and %v of silence", rtt, m.state, nominations, silence)
		}
		// A sign of life starts the wait anew, and ready ends it.
		m, p, x = begun(t, low)
		give(m, epoch, addrB, p.answer(t, x, false))
		for now = epoch; now.Sub(epoch) < 8*time.Second; {
			for _, x := range sent(m) {
				if isNomination(x) {
					give(m, now, addrB, p.answer(t, x, false))
				}
			}
			if now = m.NextTimeout(); now.IsZero() {
				t.Fatal("agreed although the peer says that it does not yet")
			}
			m.HandleTimeout(now)
		}
		give(m, now, addrB, p.request(false, true))
		if m.state != agreed {
			t.Error("not agreed after ready")
		}
	}
}

// The nominator's data on the pair means that it waits no longer, whatever was lost.
func TestDataIsTheLastWord(t *testing.T) {
	m, p, x := begun(t, high) // the peer nominates, but all its nominations are lost
	give(m, epoch, addrB, p.answer(t, x, false))
	give(m, epoch, addrB, []byte("@data"))
	if got := kinds(m); !has(got, udpAgreed) || string(m.Early()[0]) != "@data" {
		t.Errorf("%v", got)
	}
	m, p, x = begun(t, low) // we nominate
	give(m, epoch, addrB, p.answer(t, x, false))
	give(m, epoch, addrB, []byte("@data"))
	if got := kinds(m); !has(got, udpAgreed) {
		t.Errorf("%v", got)
	}
	m, _, _ = begun(t, high)
	give(m, epoch, addrB, []byte("@data")) // from an address that has proven nothing
	give(m, epoch, netip.MustParseAddrPort("192.0.2.9:9"), []byte("@stranger"))
	if got := kinds(m); len(got) != 0 || len(m.Early()) != 0 {
		t.Errorf("%v, early %q", got, m.Early())
	}
}

func TestSecondPeerWithTheSameSecretIsNobody(t *testing.T) {
	m, p, _ := begun(t, low)
	give(m, epoch, addrB, p.request(false, false))
	sent(m)
	other := &puppet{tag: tag{2}}
	give(m, epoch, netip.MustParseAddrPort("192.0.2.9:9"), other.request(false, false))
	if out := sent(m); len(out) != 0 {
		t.Errorf("answered: %v", out)
	}
}

func TestLearnedAddressesAreBounded(t *testing.T) {
	m, p, _ := begun(t, low)
	for i := range 40 {
		give(m, epoch, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 9), p.request(false, false))
	}
	for _, bad := range []string{"224.0.0.1:9", "0.0.0.0:9", "255.255.255.255:9", "198.51.100.1:0"} {
		give(m, epoch, netip.MustParseAddrPort(bad), p.request(false, false))
	}
	targets := map[netip.AddrPort]bool{}
	for _, x := range sent(m) {
		targets[x.Remote] = true
	}
	if m.learned != maxLearnedAddrs || len(targets) != maxLearnedAddrs {
		t.Errorf("learned %d, sent to %d addresses, want %d", m.learned, len(targets), maxLearnedAddrs)
	}
	m, p, _ = begun(t, low)
	for _, bad := range []string{"224.0.0.1:9", "0.0.0.0:9", "255.255.255.255:9", "198.51.100.1:0"} {
		give(m, epoch, netip.MustParseAddrPort(bad), p.request(false, false))
	}
	if out := sent(m); len(out) != 0 {
		t.Errorf("answered addresses that are nobody's: %v", out)
	}
}

// A probe seen on its way and sent again in the name of others makes us send nothing,
// and takes no room from the peer's true addresses.
func TestCopiedProbesAreNoAmplifier(t *testing.T) {
	m, p, _ := begun(t, low)
	probe := p.request(false, false)
	give(m, epoch, addrB, probe)
	sent(m)
	for i := range 40 {
		give(m, epoch, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1}), uint16(i+1)), probe)
	}
	if out := sent(m); len(out) != 0 || m.learned != 0 {
		t.Errorf("%d datagrams, %d addresses learned from copies", len(out), m.learned)
	}
	// Even one that was never seen before gets no more than an answer and a probe.
	give(m, epoch, netip.MustParseAddrPort("198.51.100.1:9"), p.request(false, false))
	n := len(sent(m))
	for now := m.NextTimeout(); !now.IsZero(); now = m.NextTimeout() {
		m.HandleTimeout(now)
		for _, x := range sent(m) {
			if x.Remote != addrB {
				n++
			}
		}
	}
	if n > 2 {
		t.Errorf("%d datagrams for one", n)
	}
}

func TestAnswersLeaveFromWhereTheProbeCame(t *testing.T) {
	m, p, _ := begun(t, low)
	give(m, epoch, addrB, p.request(false, false))
	if out := sent(m); len(out) == 0 || out[0].Local != addrA {
		t.Errorf("answer %+v", out)
	}
	// And so do the probes that follow, as a relay lets nobody else in.
	now := m.NextTimeout()
	m.HandleTimeout(now)
	if n, last := requests(sent(m)); n != 1 || last.Local != addrA {
		t.Errorf("%d probes, from %v, want one from %v", n, last.Local, addrA)
	}
}
