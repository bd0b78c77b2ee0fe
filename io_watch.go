package bradawl

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/punch/portmap"
)

// watch looks at the host's addresses, for systems do not all tell of changes.
func (s *Session) watch() {
	if s.cfg.WatchInterval < 0 {
		return
	}
	tick := time.NewTicker(s.cfg.WatchInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look(false)
		case <-s.ctx.Done():
			return
		}
	}
}

// look compares the host's addresses with those in use: new ones get a socket, those of
// addresses that are gone are closed once the paths have moved.
func (s *Session) look(told bool) {
	s.looking.Lock()
	defer s.looking.Unlock()
	hosts, err := s.cfg.Addrs()
	if err != nil {
		s.log.Debugf("addresses: %v", err)
		return
	}
	hosts = usable(hosts)
	s.mu.Lock()
	var gone []*local
	s.locals = slices.DeleteFunc(s.locals, func(l *local) bool {
		if slices.ContainsFunc(hosts, func(h ice.HostAddr) bool { return h.Addr == l.addr }) {
			return false
		}
		gone = append(gone, l)
		return true
	})
	have := make(map[netip.Addr]bool)
	for _, l := range s.locals {
		have[l.addr] = true
	}
	s.mu.Unlock()
	var fresh []*local
	for _, h := range hosts {
		if have[h.Addr] || !s.wantsUDP(h.Addr) {
			continue
		}
		l, err := s.openUDP(s.ctx, h)
		if err != nil {
			s.log.Debugf("a new local address: %v", err)
			continue
		}
		if s.loop.AddSocket(l.id, l.socket) != nil {
			_ = l.socket.Close()
			continue
		}
		fresh = append(fresh, l)
	}
	if len(fresh) == 0 && len(gone) == 0 && !told {
		return
	}
	s.mu.Lock()
	s.locals = append(s.locals, fresh...)
	s.mu.Unlock()
	_ = s.loop.Do(func(now time.Time) {
		for _, l := range fresh {
			l.base, _ = s.c.addBase(now, l.spec())
		}
		for _, l := range gone {
			s.c.removeHost(now, l.addr)
		}
		s.c.networkChanged(now)
	})
	for _, l := range gone {
		close(l.gone)
		s.closeSocket(l.id)
	}
	for _, l := range fresh {
		s.mapLocal(portmap.UDP, l.spec().Addr, l.base, l.gone)
	}
	if s.ports != nil {
		s.ports.Recheck()
	}
}

// wantsUDP reports whether UDP sockets on an address are wanted.
func (s *Session) wantsUDP(a netip.Addr) bool {
	if a.Is4() {
		return slices.Contains(s.cfg.Networks, "udp4")
	}
	return slices.Contains(s.cfg.Networks, "udp6")
}
