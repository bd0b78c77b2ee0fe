package punch

import (
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// FuzzUDPMachine feeds two machines in the middle of an attempt with anything, some of
// it authentic but for one change. They must not panic, answer without authenticity,
// nor grow.
func FuzzUDPMachine(f *testing.F) {
	b := newMachine(f, 2, UDPConfig{Peer: []netip.AddrPort{addrA}})
	b.HandleTimeout(epoch)
	for _, x := range sent(b) {
		f.Add(x.Data, uint16(0), byte(0), uint16(1))
		f.Add(x.Data, uint16(30), byte(1), uint16(2000))
	}
	f.Add([]byte{}, uint16(0), byte(0), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, change byte, port uint16) {
		a := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
		b := newMachine(t, 2, UDPConfig{Peer: []netip.AddrPort{addrA}})
		a.HandleTimeout(epoch)
		b.HandleTimeout(epoch)
		sent(a)
		a.HandleDatagram(epoch, machine.Datagram{Remote: netip.AddrPortFrom(addrB.Addr(), port), Data: data})
		out := sent(a)
		if len(out) > 2 { // an answer and a triggered probe
			t.Fatalf("%d datagrams for one", len(out))
		}
		var m wire.Message
		if len(out) > 0 && (m.Decode(data) != nil || m.CheckIntegrity(secret) != nil) {
			t.Fatal("answered what is not authentic")
		}
		for _, x := range sent(b) {
			if int(at) < len(x.Data) {
				x.Data[at] ^= change
			}
			a.HandleDatagram(epoch, machine.Datagram{Remote: addrB, Data: x.Data})
			if out := sent(a); change != 0 && int(at) < len(x.Data)-8 && len(out) > 0 { // the fingerprint at the end is not looked at
				t.Fatalf("answered a probe with byte %d changed by %#x", at, change)
			}
		}
		if len(a.targets) > MaxPeerAddrs+maxLearnedAddrs || len(a.early) > maxEarly {
			t.Fatal("grew out of bounds")
		}
	})
}
