package turnclient

import (
	"net/netip"
	"testing"
)

// sink is a sender that takes everything.
type sink struct{}

func (sink) send([]byte) error { return nil }
func (sink) isStream() bool    { return false }

// Ports of one peer may be many in time: each has its way past the loop, and those with a
// channel keep it.
func TestRoutesDoNotAddUp(t *testing.T) {
	p := newPath(1)
	ip := netip.MustParseAddr("198.51.100.1")
	first := netip.AddrPortFrom(ip, 1)
	p.stand(sink{}, false)
	p.permit(ip, true)
	p.bind(first, 0x4000, false)
	for port := range uint16(3 * maxPeers) {
		if r, _, _ := p.lookup(netip.AddrPortFrom(ip, 2+port)); r == nil {
			t.Fatalf("no route to port %d", 2+port)
		}
	}
	if r, _, _ := p.lookup(first); len(p.routes) > maxPeers || r.channel.Load() != 0x4000 || p.channels[0x4000] != r {
		t.Errorf("%d routes, channel %#x", len(p.routes), r.channel.Load())
	}
}

// A channel that was refused is asked for again, but not with every few datagrams.
func TestRefusedChannelIsAskedForRarely(t *testing.T) {
	p := newPath(1)
	to := netip.MustParseAddrPort("198.51.100.1:1")
	p.stand(sink{}, false)
	p.permit(to.Addr(), true)
	r, out, _ := p.lookup(to)
	var asked []int
	for i := range 2 * retryChannel {
		_, bind, err := p.write(r, out, []byte("x"), false, 8)
		if err != nil {
			t.Fatal(err)
		}
		if bind {
			asked = append(asked, i+1)
			p.bind(to, 0, true)
		}
	}
	if len(asked) != 2 || asked[0] != 8 || asked[1] != 8+retryChannel+8 {
		t.Errorf("asked for with datagram %v", asked)
	}
}
