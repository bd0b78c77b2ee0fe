package bradawl

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
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

// look compares the host's addresses with those in use: new ones get sockets, those of
// addresses that are gone are closed once the paths have moved.
func (s *Session) look(told bool) {
	s.looking.Lock()
	defer s.looking.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	hosts, err := s.cfg.Addrs()
	if err != nil {
		s.log.Debugf("addresses: %v", err)
		return
	}
	hosts = usable(hosts)
	gone := s.leave(hosts)
	fresh, failures := s.open(s.ctx, hosts)
	for _, err := range failures {
		s.log.Debugf("a new local address: %v", err)
	}
	// A socket in place of one that broke, or a port that was taken before, is no move.
	now := addrsOf(hosts)
	moved := !slices.Equal(now, s.hosts)
	s.hosts = now
	if !moved && !told && fresh.isEmpty() && gone.isEmpty() {
		return
	}
	s.begin(fresh, func(now time.Time) {
		for _, ip := range gone.addrs() {
			s.c.removeHost(now, ip)
		}
		s.c.networkChanged(now, moved)
	})
	for _, l := range gone.udp {
		close(l.gone)
		s.closeSocket(l.id)
	}
	for _, l := range gone.tcp {
		close(l.gone)
		_ = s.loop.RemoveListener(l.listener)
	}
	if s.ports != nil {
		s.ports.Recheck()
	}
}

// addrsOf are the addresses in order, each once.
func addrsOf(hosts []ice.HostAddr) (all []netip.Addr) {
	for _, h := range hosts {
		all = append(all, h.Addr)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// ends are sockets and TCP ports on the host's addresses.
type ends struct {
	udp []*local
	tcp []*tcpLocal
}

func (e *ends) isEmpty() bool { return len(e.udp)+len(e.tcp) == 0 }

// addrs are the addresses, each once.
func (e *ends) addrs() (all []netip.Addr) {
	for _, l := range e.udp {
		all = append(all, l.addr)
	}
	for _, l := range e.tcp {
		all = append(all, l.addr.Addr())
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// close closes what no loop has got.
func (e *ends) close() {
	for _, l := range e.udp {
		_ = l.socket.Close()
	}
	for _, l := range e.tcp {
		_ = l.listener.Close()
	}
}

// leave takes away what is on addresses that the host does not have any more.
func (s *Session) leave(hosts []ice.HostAddr) (gone ends) {
	has := func(a netip.Addr) bool {
		return slices.ContainsFunc(hosts, func(h ice.HostAddr) bool { return h.Addr == a })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locals = slices.DeleteFunc(s.locals, func(l *local) bool {
		if has(l.addr) {
			return false
		}
		gone.udp = append(gone.udp, l)
		return true
	})
	s.tcp = slices.DeleteFunc(s.tcp, func(l *tcpLocal) bool {
		if has(l.addr.Addr()) {
			return false
		}
		gone.tcp = append(gone.tcp, l)
		return true
	})
	return gone
}

// open opens what is wanted on addresses and is not there yet.
func (s *Session) open(ctx context.Context, hosts []ice.HostAddr) (fresh ends, failures []error) {
	s.mu.RLock()
	has := ends{slices.Clone(s.locals), slices.Clone(s.tcp)}
	s.mu.RUnlock()
	for _, h := range hosts {
		if s.wantsUDP(h.Addr.Is4()) && !slices.ContainsFunc(has.udp, func(l *local) bool { return l.addr == h.Addr }) {
			if l, err := s.openUDP(ctx, h); err != nil {
				failures = append(failures, err)
			} else {
				fresh.udp = append(fresh.udp, l)
			}
		}
		if s.wantsTCP(h.Addr.Is4()) && !slices.ContainsFunc(has.tcp, func(l *tcpLocal) bool { return l.addr.Addr() == h.Addr }) {
			if l, err := s.openTCP(ctx, h); err != nil {
				failures = append(failures, err)
			} else {
				fresh.tcp = append(fresh.tcp, l)
			}
		}
	}
	return fresh, failures
}

// begin has the loop and the agents use what was opened; then is run on the loop after that.
func (s *Session) begin(fresh ends, then func(now time.Time)) {
	s.mu.Lock()
	s.locals = append(s.locals, fresh.udp...) // before the loop has them, and may tell that one broke
	s.mu.Unlock()
	fresh.udp = slices.DeleteFunc(fresh.udp, func(l *local) bool {
		err := s.use(l)
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.locals = slices.DeleteFunc(s.locals, func(o *local) bool { return o == l })
		}
		return err != nil
	})
	fresh.tcp = slices.DeleteFunc(fresh.tcp, func(l *tcpLocal) bool {
		err := s.loop.AddListener(l.listener)
		if err != nil {
			_ = l.listener.Close()
		}
		return err != nil
	})
	s.mu.Lock()
	s.tcp = append(s.tcp, fresh.tcp...)
	s.mu.Unlock()
	_ = s.loop.Do(func(now time.Time) {
		for _, l := range fresh.udp {
			if !isClosed(l.gone) { // it has broken meanwhile
				l.base, _ = s.c.addBase(now, l.spec())
			}
		}
		for _, l := range fresh.tcp {
			s.addTCP(now, l)
		}
		then(now)
	})
	for _, l := range fresh.udp {
		s.mapLocal(portmap.UDP, l.spec().Addr, l.base, l.gone)
	}
	for _, l := range fresh.tcp {
		s.mapLocal(portmap.TCP, l.addr, l.passive, l.gone)
	}
	s.mapTCPs()
}

// broke takes in that a socket receives nothing any more: the next look opens another, which
// comes by itself if nobody looks regularly. It is called on the loop.
func (s *Session) broke(id machine.SocketID) {
	s.mu.Lock()
	i := slices.IndexFunc(s.locals, func(l *local) bool { return l.id == id })
	if i < 0 {
		s.mu.Unlock()
		return
	}
	l := s.locals[i]
	s.locals = slices.Delete(s.locals, i, i+1)
	s.mu.Unlock()
	close(l.gone)
	s.wg.Go(func() {
		s.closeSocket(id)
		if s.cfg.WatchInterval > 0 {
			return
		}
		wait := time.NewTimer(lookAfterBreak)
		defer wait.Stop()
		select {
		case <-wait.C:
			s.look(false)
		case <-s.ctx.Done():
		}
	})
}

// lookAfterBreak keeps sockets that break as soon as they are opened from being opened without
// a pause.
const lookAfterBreak = time.Second

// wantsUDP reports whether UDP sockets of a family are wanted.
func (s *Session) wantsUDP(is4 bool) bool {
	return slices.Contains(s.cfg.Networks, networkOf("udp", is4))
}
