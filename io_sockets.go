package bradawl

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/internal/tap"
	"github.com/bradawl/bradawl/internal/wire"
)

// systemSockets fills in what a configuration leaves to the system.
func systemSockets(c Config) (
	addrs func() ([]ice.HostAddr, error),
	listenPacket func(context.Context, string, string) (net.PacketConn, error),
	listen func(context.Context, string, string) (net.Listener, error),
	dial func(context.Context, string, netip.AddrPort, string) (net.Conn, error),
) {
	addrs, listenPacket, listen, dial = c.Addrs, c.ListenPacket, c.Listen, c.Dial
	if addrs == nil {
		addrs = systemAddrs(c, ice.SystemAddrs)
	}
	if listenPacket == nil {
		listenPacket = netio.ListenUDP
	}
	if listen == nil {
		listen = netio.ListenTCP
	}
	if dial == nil {
		dial = netio.DialTCP
	}
	return addrs, listenPacket, listen, dial
}

// systemAddrs is what the system tells of the host's addresses. Where it does not let us
// list interfaces, there are no more than those of the default routes, without names: the log
// says so once.
func systemAddrs(c Config, list func(loopback bool) ([]ice.HostAddr, error)) func() ([]ice.HostAddr, error) {
	log := plog.OrDiscard(c.LoggerFactory).NewLogger("bradawl")
	var once sync.Once
	return func() ([]ice.HostAddr, error) {
		hosts, err := list(c.Loopback)
		if slices.ContainsFunc(hosts, func(h ice.HostAddr) bool { return h.Interface.Name == "" }) {
			once.Do(func() {
				log.Warnf("the system does not list its interfaces: only the addresses of the default routes are used; give the others by Config.Addrs")
			})
		}
		return hosts, err
	}
}

type streamKey struct{ local, remote netip.AddrPort }

// local is a socket on one of the host's addresses.
type local struct {
	addr   netip.Addr
	id     machine.SocketID
	socket *tap.Socket
	base   ice.BaseID
	host   ice.HostAddr
	gone   chan struct{} // closed when the host does not have the address any more
}

// openUDP opens a socket on an address.
func (s *Session) openUDP(ctx context.Context, h ice.HostAddr) (*local, error) {
	pc, err := s.listenUDP(ctx, netip.AddrPortFrom(h.Addr, s.cfg.Port))
	if err != nil {
		return nil, err
	}
	return s.tapSocket(pc, h)
}

func (s *Session) listenUDP(ctx context.Context, at netip.AddrPort) (net.PacketConn, error) {
	return s.cfg.ListenPacket(ctx, networkOf("udp", at.Addr().Is4()), at.String())
}

// effect opens and closes the sockets that take the place of others for the control. It is
// called on the loop.
func (s *Session) effect(t machine.Transmit) {
	switch t.Op {
	case machine.OpenSocket:
		s.opening[t.Socket] = true
		s.wg.Go(func() {
			n := machine.Notice{Kind: machine.SocketOpened, Socket: t.Socket}
			if l, err := s.openAs(t.Socket, t.Local); err != nil {
				n.Kind, n.Err = machine.SocketFailed, err
			} else {
				n.Local = l.socket.LocalAddrPort()
			}
			s.loop.Post(func(now time.Time) {
				wanted := s.opening[t.Socket]
				delete(s.opening, t.Socket)
				if !wanted {
					s.wg.Go(func() { s.closeSocket(t.Socket) })
					return
				}
				s.c.HandleNotice(now, n)
			})
		})
	case machine.CloseSocket:
		if _, ok := s.opening[t.Socket]; ok {
			s.opening[t.Socket] = false // it is closed when it is open
			return
		}
		s.wg.Go(func() { s.closeSocket(t.Socket) })
	}
}

// openAs opens a socket that has its number already.
func (s *Session) openAs(id machine.SocketID, at netip.AddrPort) (*local, error) {
	pc, err := s.listenUDP(s.ctx, at)
	if err != nil {
		return nil, err
	}
	l, err := s.tapSocketAs(id, pc, ice.HostAddr{Addr: at.Addr()})
	if err != nil {
		return nil, err
	}
	return l, s.use(l)
}

// use makes a socket one of the loop's. On an error it is closed.
func (s *Session) use(l *local) error {
	err := s.loop.AddSocket(l.id, l.socket)
	if err != nil {
		_ = l.socket.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sockets[l.id] == l.socket {
			delete(s.sockets, l.id)
		}
	}
	return err
}

func (s *Session) closeSocket(id machine.SocketID) {
	_ = s.loop.RemoveSocket(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, id)
}

func (s *Session) tapSocket(pc net.PacketConn, h ice.HostAddr) (*local, error) {
	s.mu.Lock()
	id := s.nextSocket
	s.nextSocket++
	s.mu.Unlock()
	return s.tapSocketAs(id, pc, h)
}

func (s *Session) tapSocketAs(id machine.SocketID, pc net.PacketConn, h ice.HostAddr) (*local, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &local{addr: h.Addr, id: id, host: h, gone: make(chan struct{})}
	var err error
	l.socket, err = tap.NewSocket(pc, func(b []byte, m netio.Meta) bool {
		return s.take(b, machine.Datagram{Socket: l.id, Local: m.Local, Remote: m.Remote}, ice.Route{Socket: l.id, Remote: m.Remote})
	})
	if err != nil {
		_ = pc.Close()
		return nil, err
	}
	s.sockets[l.id] = l.socket
	return l, nil
}

func (l *local) spec() ice.Base {
	return ice.Base{Socket: l.id, Addr: netip.AddrPortFrom(l.addr, l.socket.LocalAddrPort().Port()), Interface: l.host.Interface}
}

// usable leaves out what no socket can be bound to.
func usable(hosts []ice.HostAddr) (all []ice.HostAddr) {
	for _, h := range hosts {
		h.Addr = h.Addr.Unmap()
		if h.Addr.IsValid() && !slices.ContainsFunc(all, func(o ice.HostAddr) bool { return o.Addr == h.Addr }) {
			all = append(all, h)
		}
	}
	return all
}

func (s *Session) tapStream(c net.Conn) *tap.Stream {
	key := streamKey{netio.AddrPortOf(c.LocalAddr()), netio.AddrPortOf(c.RemoteAddr())}
	var t *tap.Stream
	t = tap.NewStream(c, func(frame []byte) bool {
		return s.takeData(frame)
	}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.streams[key] == t {
			delete(s.streams, key)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[key] = t
	return t
}

func (s *Session) dialStream(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error) {
	c, err := s.cfg.Dial(ctx, network, local, remote)
	if err != nil || isQuery(drive.StreamOf(ctx)) { // what STUN servers say there is not framed
		return c, err
	}
	return s.tapStream(c), nil
}

// take takes in a datagram on a reader's goroutine, if it is data of a connection, or
// something else that was sealed for one.
func (s *Session) take(b []byte, d machine.Datagram, from ice.Route) bool {
	if s.cfg.Plaintext && !wire.IsSTUN(b) && !s.isSealed(b) && s.takePlain(b, from) {
		return true
	}
	index, ok := seal.Index(b)
	if !ok {
		return false
	}
	c := s.connAt(index)
	if c == nil {
		return false
	}
	into := b[seal.Header:seal.Header]
	if s.cfg.Plaintext {
		into = nil // what does not open may be somebody's data
	}
	payload, kind, err := c.keys.Open(into, b)
	switch {
	case err != nil && s.cfg.Plaintext:
		return s.takePlain(b, from)
	case err != nil:
		c.stats[countRejected].Add(1)
	case kind == seal.Data:
		c.deliver(payload)
		if !c.heard.Load() && c.heard.CompareAndSwap(false, true) || !c.knows(from) {
			s.loop.Post(func(now time.Time) { s.c.heardFrom(now, c.number, d, from) })
		}
	default:
		payload = append([]byte(nil), payload...)
		s.loop.Post(func(now time.Time) { s.c.handed(now, c.number, kind, payload, d, from) })
	}
	return true
}

// takeData takes sealed data that came framed; all else goes by the loop, which knows the
// connection it came on.
func (s *Session) takeData(frame []byte) bool {
	index, ok := seal.Index(frame)
	if !ok || seal.KindOf(frame) != seal.Data {
		return false
	}
	c := s.connAt(index)
	if c == nil {
		return false
	}
	payload, _, err := c.keys.Open(nil, frame)
	if err != nil {
		c.stats[countRejected].Add(1)
		return true
	}
	c.deliver(payload)
	return true
}

// isSealed reports whether a datagram may be sealed for a connection of ours, for what is
// not may begin with the same bytes.
func (s *Session) isSealed(b []byte) bool {
	index, ok := seal.Index(b)
	return ok && s.connAt(index) != nil
}

// takePlain takes data that is not sealed, from where a connection's peer is known to be.
func (s *Session) takePlain(b []byte, from ice.Route) bool {
	s.mu.RLock()
	c := s.plain[from]
	s.mu.RUnlock()
	if c == nil {
		return false
	}
	c.deliver(b)
	return true
}

func (s *Session) connAt(index uint32) *Conn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byIndex[index]
}

// outlets are what routes are to a writer.
func (s *Session) outlets(routes []ice.Route) (all []tap.Outlet) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range routes {
		o := tap.Outlet{Remote: r.Remote}
		if r.Stream != 0 {
			o.Stream = s.streams[streamKey{r.Local, r.Remote}]
		} else {
			o.Socket = s.sockets[r.Socket]
			o.Source.Source = r.Local.Addr()
		}
		if o.OK() {
			all = append(all, o)
		}
	}
	return all
}
