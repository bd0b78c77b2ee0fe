package bradawl

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/punch/portmap"
)

// Times of asking routers for ports, where none has given one.
const (
	mapAgainLeast = time.Minute
	mapAgainMost  = 10 * time.Minute
)

// carrier is the range of those behind a provider's NAT (RFC 6598), which may speak PCP.
var carrier = netip.MustParsePrefix("100.64.0.0/10")

// newPortmap makes what asks the routers for ports; nil: nothing does.
func (s *Session) newPortmap() (*portmap.Client, error) {
	c := &s.cfg
	if c.NoPortMapping || c.Policy == RelayOnly || c.Loopback && c.Gateways == nil {
		return nil, nil
	}
	return portmap.New(portmap.Config{Gateways: c.Gateways, ListenPacket: c.routerSockets, Dial: c.routerDial, LoggerFactory: c.LoggerFactory})
}

// mapLocal keeps a port of the router's for one of our sockets, until gone is closed or the
// session is.
func (s *Session) mapLocal(protocol portmap.Protocol, internal netip.AddrPort, base ice.BaseID, gone <-chan struct{}) {
	ip := internal.Addr()
	if s.ports == nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.Is4() && !ip.IsPrivate() && !carrier.Contains(ip) {
		return
	}
	s.wg.Go(func() {
		for wait := mapAgainLeast; ; wait = min(2*wait, mapAgainMost) {
			m, err := s.ports.Map(s.ctx, protocol, internal, 0)
			if err == nil {
				s.publish(Event{Kind: EventMapped, At: time.Now(), Reason: m.Info().Method.String() + " at " + m.Info().Gateway.String() + " maps " + m.External().String()})
				s.followMapping(m, base, gone)
				return
			}
			s.log.Debugf("port mapping: %v", err)
			select {
			case <-time.After(wait):
			case <-gone:
				return
			case <-s.ctx.Done():
				return
			}
		}
	})
}

// followMapping tells the agents the outside address, and each that takes its place.
func (s *Session) followMapping(m *portmap.Mapping, base ice.BaseID, gone <-chan struct{}) {
	use := func(i portmap.Info) {
		s.loop.Post(func(now time.Time) {
			var outside netip.AddrPort
			if i.Public && i.External.Addr().Is4() { // a pinhole is for the host's own address, which is known
				outside = i.External
			}
			s.c.routed(now, base, outside)
		})
	}
	use(m.Info())
	for {
		select {
		case i, ok := <-m.Changes():
			if !ok {
				return
			}
			use(i)
		case <-gone:
			_ = m.Close()
			return
		case <-s.ctx.Done():
			return // closing the client deletes what it has
		}
	}
}

// routerWords are what the routers said, in their own words.
func (s *Session) routerWords() (all []string) {
	if s.ports == nil {
		return nil
	}
	for _, w := range s.ports.Words() {
		all = append(all, w.String())
	}
	return all
}
