package ice_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/wire"
)

// xored returns an IPv4 address as XOR-MAPPED-ADDRESS and its like hold it.
func xored(a netip.Addr) []byte {
	b := a.As4()
	return []byte{b[0] ^ 0x21, b[1] ^ 0x12, b[2] ^ 0xA4, b[3] ^ 0x42}
}

// What the policies are for: nothing that leaves the network of a host, and nothing that
// is signalled, holds the host's own address; with RelayOnly, no outside address of it
// either, and the peers exchange no packet but by the relays.
func TestPoliciesHideTheHost(t *testing.T) {
	for _, c := range []struct {
		policy     ice.Policy
		natA, natB string
	}{
		{ice.NoHost, "port-restricted-cone", "full-cone"},
		{ice.RelayOnly, "port-restricted-cone", "full-cone"},
		{ice.RelayOnly, "open", "open"},
	} {
		w := newWorld(t, 1, c.natA, c.natB, 0, func(w *world) { w.addTURN(nil) })
		var secret []netip.Addr // what nobody else may learn
		var edges []string      // where packets leave
		outer := make(map[netip.Addr]bool)
		for _, p := range w.peers {
			p.cfg.Policy = c.policy
			secret = append(secret, p.site.Addrs()...)
			outer[p.site.Addr()] = true
			edges = append(edges, p.site.Name())
			if p.site.NAT != nil {
				edges[len(edges)-1] = p.site.Name() + "'s NAT"
				outer[p.site.NAT.Addrs()[0]] = true
				if c.policy == ice.RelayOnly {
					secret = append(secret, p.site.NAT.Addrs()...)
				}
			}
		}
		packets := 0
		w.OnTrace(func(e simnet.TraceEvent) {
			if e.Packet == nil || e.What != "out" && e.What != "send" || e.Where != edges[0] && e.Where != edges[1] {
				return
			}
			packets++
			if c.policy == ice.RelayOnly && outer[e.Packet.Dst.Addr()] {
				t.Errorf("policy %d: %v went to the peer itself", c.policy, e.Packet)
			}
			if e.Packet.Dst == w.turn || e.Packet.Dst == w.stun {
				return // servers see where it comes from, and say so in their answers
			}
			for _, a := range secret {
				b := a.As4()
				if e.Packet.Src.Addr() == a || bytes.Contains(e.Packet.Data, b[:]) || bytes.Contains(e.Packet.Data, xored(a)) {
					t.Errorf("policy %d: a packet to %v holds %v", c.policy, e.Packet.Dst, a)
				}
			}
		})
		w.offer()
		if !w.connect(10 * time.Second) {
			t.Fatalf("policy %d: not connected", c.policy)
		}
		if !w.exchange("hello") {
			t.Errorf("policy %d: no data", c.policy)
		}
		w.Run(time.Minute)
		told := 0
		for _, p := range w.peers {
			for _, e := range p.events {
				if e.Kind != ice.EventCandidate {
					continue
				}
				told++
				for _, a := range secret {
					if text := e.Candidate.String(); strings.Contains(text, a.String()) {
						t.Errorf("policy %d: signalled %s", c.policy, text)
					}
				}
			}
		}
		if packets < 20 || told < 2 {
			t.Errorf("policy %d: %d packets and %d candidates show nothing", c.policy, packets, told)
		}
	}
}

// A permission of the TURN server precedes a check by the relay (RFC 8445 section 7.2.1).
func TestPermissionPrecedesTheCheck(t *testing.T) {
	permitted := make(map[netip.Addr]bool)
	sent := 0
	w := newWorld(t, 1, "port-restricted-cone", "port-restricted-cone", 0, func(w *world) {
		w.addTURN(func(b []byte) bool {
			var m wire.Message
			if m.Decode(b) != nil {
				return false
			}
			peer, _ := m.XORPeerAddress()
			switch {
			case m.Method() == wire.CreatePermission && m.Class() == wire.Request, m.Method() == wire.ChannelBind:
				permitted[peer.Addr()] = true
			case m.Method() == wire.Send:
				sent++
				if !permitted[peer.Addr()] {
					t.Errorf("a check went to %v before there was a permission", peer)
				}
			}
			return false
		})
	})
	for _, p := range w.peers {
		p.cfg.Policy = ice.RelayOnly
	}
	w.offer()
	if !w.connect(10*time.Second) || sent == 0 {
		t.Errorf("not connected, or %d checks by the relay", sent)
	}
}
