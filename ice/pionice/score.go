package pionice

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
	"github.com/pion/transport/v2"
	"github.com/pion/transport/v2/stdnet"
)

// Preference tells the local preference (RFC 8445 section 5.1.2.1) of an address of this
// host, the greatest the best, as scores make it. With use false, pion is kept from it.
// The address has no zone and is not IPv4-mapped. It must be safe for concurrent use.
type Preference func(local netip.Addr) (preference uint16, use bool)

// Prefer has an agent that is made of cfg gather host candidates by preference: of
// addresses to be used alone, and those best liked first, interface by interface and within
// each. cfg.IPFilter and cfg.InterfaceFilter still hold. cfg.Net is wrapped; where it is
// nil, it becomes the system's, whose interfaces pion reads once, when Prefer is called.
//
// The order decides between candidates of one type in an agent that is controlling, since
// pion gives them all the same priority; [Rank] decides in a controlling peer.
//
// The error says that an argument is nil, or is what reading the system's interfaces gave.
func Prefer(cfg *pion.AgentConfig, preference Preference) error {
	if cfg == nil || preference == nil {
		return errors.New("pionice: Prefer: nil configuration or preference; give it both")
	}
	if cfg.Net == nil {
		system, err := stdnet.NewNet()
		if err != nil {
			return err
		}
		cfg.Net = system
	}
	cfg.Net = &preferredNet{cfg.Net, preference}
	before := cfg.IPFilter
	cfg.IPFilter = func(ip net.IP) bool {
		_, use := preference.of(ip)
		return use && (before == nil || before(ip))
	}
	return nil
}

// of is the preference for an address in the shape of package net.
func (p Preference) of(ip net.IP) (preference uint16, use bool) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return 0, false
	}
	return p(addr.Unmap())
}

// ofAddr is the preference for an address of an interface.
func (p Preference) ofAddr(a net.Addr) uint16 {
	var ip net.IP
	switch a := a.(type) {
	case *net.IPNet:
		ip = a.IP
	case *net.IPAddr:
		ip = a.IP
	}
	preference, use := p.of(ip)
	if !use {
		return 0
	}
	return preference
}

// preferredNet lists interfaces and their addresses in the order of a preference.
type preferredNet struct {
	transport.Net
	preference Preference
}

// Interfaces lists the interface with the best address first.
func (n *preferredNet) Interfaces() ([]*transport.Interface, error) {
	all, err := n.Net.Interfaces()
	if err != nil {
		return nil, err
	}
	type ranked struct {
		*transport.Interface
		best uint16
	}
	var sorted []ranked
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil { // it has none
			sorted = append(sorted, ranked{i, 0})
			continue
		}
		addrs = slices.Clone(addrs)
		slices.SortStableFunc(addrs, func(a, b net.Addr) int {
			return cmp.Compare(n.preference.ofAddr(b), n.preference.ofAddr(a))
		})
		again := transport.NewInterface(i.Interface)
		for _, a := range addrs {
			again.AddAddress(a)
		}
		sorted = append(sorted, ranked{again, n.preference.ofAddr(addrs[0])})
	}
	slices.SortStableFunc(sorted, func(a, b ranked) int { return cmp.Compare(b.best, a.best) })
	out := make([]*transport.Interface, len(sorted))
	for i, s := range sorted {
		out[i] = s.Interface
	}
	return out, nil
}

// Rank returns a local candidate with the priority that its address's preference gives it,
// for the peer to order its pairs by: convert what pion gathered by [FromPion], rank it, and
// send its text. It changes nothing in pion. Candidates whose address on this host is not
// told, as of those that STUN and TURN servers give pion, stay as they are; so do all with a
// nil preference.
func Rank(c ice.Candidate, preference Preference) ice.Candidate {
	base := c.Addr.Addr()
	if c.Type != ice.Host {
		base = c.Related.Addr()
	}
	if preference == nil || c.Type == ice.Relay || !base.IsValid() || base.IsUnspecified() {
		return c
	}
	if local, use := preference(base.Unmap().WithZone("")); use {
		c.Priority = c.RecommendedPriority(local)
	}
	return c
}
