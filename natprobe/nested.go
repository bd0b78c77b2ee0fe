package natprobe

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/bradawl/bradawl/internal/machine"
)

// maxHops is how many of the first routers are asked for: by packets that live no longer.
const maxHops = 3

// Address space between a customer's NAT and the carrier's.
var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	dsLiteSpace = netip.MustParsePrefix("192.0.0.0/29")  // RFC 6333
)

func isCarrier(a netip.Addr) bool { return sharedSpace.Contains(a) || dsLiteSpace.Contains(a) }

// nesting tells whether there is more than one NAT in a row: by the outside address that
// the first router itself knows, where it was asked, and by the addresses of the routers
// behind it. That there is only one can be told by the first alone.
func (r *Report) nesting(hops []netip.Addr, gateway netip.Addr) {
	r.unsay("nested")
	if r.NAT != Yes {
		return
	}
	local, mapped := r.Local.Addr(), r.Mapped.Addr()
	r.Nested = VerdictUnknown
	if gateway = gateway.Unmap(); gateway.IsValid() && gateway.Is4() == mapped.Is4() {
		r.Nested = verdict(gateway != mapped)
		why := fmt.Sprintf("the router's outside address is %v, as the server sees it", gateway)
		if gateway != mapped {
			why = fmt.Sprintf("the router's outside address is %v, and the server sees %v", gateway, mapped)
		}
		r.say("nested", r.Nested.String(), 0.95, why)
		return
	}
	// Where the servers or our own outside address are numbered so, these are ordinary
	// addresses, as in a test lab.
	ordinary := isCarrier(local) || isCarrier(mapped) || isCarrier(r.Server.Addr())
	var private []string
	for i, h := range hops {
		switch {
		case !h.IsValid():
		case isCarrier(h) && !ordinary:
			r.Nested = Yes
			// Some carriers number routers so whose customers have public addresses.
			r.say("nested", "yes", 0.75, fmt.Sprintf("router %d, %v, is in the address space of carriers' NATs", i+1, h))
			return
		case i > 0 && h.IsPrivate():
			private = append(private, fmt.Sprintf("router %d is %v", i+1, h))
		}
	}
	switch {
	case isCarrier(local):
		r.say("nested", "unknown", 0, fmt.Sprintf("the own address %v is a carrier's: its NAT is at least one", local))
	case len(private) > 0:
		r.say("nested", "unknown", 0, strings.Join(private, ", ")+": perhaps a second NAT, or only a private network on the way")
	}
}

// unsay takes a conclusion back.
func (r *Report) unsay(about string) {
	for i, c := range r.Conclusions {
		if c.About == about {
			r.Conclusions = append(r.Conclusions[:i:i], r.Conclusions[i+1:]...)
			return
		}
	}
}

// sendHops asks for the first routers: requests that were answered already are sent again
// with few hops to live, from a socket for each, so that what comes back tells the hop.
func (m *Discovery) sendHops() {
	if m.hopsSent || m.translated() != Yes {
		return
	}
	for _, on := range hopSockets {
		if p := m.find(askMapping, on); p == nil || !p.answered {
			return
		}
	}
	m.hopsSent = true
	for i, on := range hopSockets {
		p := m.find(askMapping, on)
		for range 2 { // one may be lost
			m.packets++
			m.out.Push(machine.Transmit{Op: machine.Send, Socket: p.sock.id, Remote: p.dest, Data: p.request, TTL: i + 1})
		}
	}
}

var hopSockets = [maxHops]role{mapper, pairEven, pairOdd}
