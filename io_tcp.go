package bradawl

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/tap"
	"github.com/bradawl/bradawl/internal/wire"
)

// tcpLocal is a TCP port of the session's: it is listened at, and dialled from.
type tcpLocal struct {
	addr     netip.AddrPort
	host     ice.HostAddr
	listener *tap.Listener
	open     ice.BaseID // of simultaneous open
	passive  ice.BaseID
	asking   bool          // a STUN server is asked about it
	gone     chan struct{} // closed when the host does not have the address any more
}

// wantsTCP reports whether there may be paths of TCP of a family.
func (s *Session) wantsTCP(is4 bool) bool {
	return s.cfg.Policy != RelayOnly && slices.Contains(s.cfg.Networks, networkOf("tcp", is4))
}

// networkOf is the name of a network of one family.
func networkOf(protocol string, is4 bool) string {
	if is4 {
		return protocol + "4"
	}
	return protocol + "6"
}

// openTCP listens at a port that can also be dialled from, as opening a connection from
// both sides at once needs it.
func (s *Session) openTCP(ctx context.Context, h ice.HostAddr) (*tcpLocal, error) {
	ln, err := s.cfg.Listen(ctx, networkOf("tcp", h.Addr.Is4()), netip.AddrPortFrom(h.Addr, s.cfg.Port).String())
	if err != nil {
		return nil, err
	}
	return &tcpLocal{
		addr: netip.AddrPortFrom(h.Addr, netio.AddrPortOf(ln.Addr()).Port()), host: h,
		listener: &tap.Listener{Listener: ln, Tap: s.tapStream}, gone: make(chan struct{}),
	}, nil
}

// addTCP makes it known to the agents. It is called on the loop.
func (s *Session) addTCP(now time.Time, l *tcpLocal) {
	base := ice.Base{Transport: ice.TCP, TCPType: ice.Passive, Addr: l.addr, Interface: l.host.Interface}
	l.passive, _ = s.c.addBase(now, base)
	active := base
	active.TCPType, active.Addr = ice.Active, netip.AddrPortFrom(l.addr.Addr(), 0)
	_, _ = s.c.addBase(now, active)
	base.TCPType = ice.SimultaneousOpen
	l.open, _ = s.c.addBase(now, base)
}

// mapTCPs has STUN servers asked about those of our TCP ports that none is asked about yet.
func (s *Session) mapTCPs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.tcp {
		if l.asking || l.addr.Addr().IsLoopback() || len(s.servers.of(l.addr.Addr().Is4())) == 0 || s.ctx.Err() != nil {
			continue
		}
		l.asking = true
		s.wg.Go(func() { s.mapTCP(l) })
	}
}

// mapTCP finds out where a STUN server sees our TCP port: the connection to it is made from
// that very port, and kept, for with it goes the NAT's mapping. One server tells; when it does
// not, the next is asked.
func (s *Session) mapTCP(l *tcpLocal) {
	ctx, cancel := s.within(l.gone)
	defer cancel()
	wait := lookAgainLeast
	for i := 0; ctx.Err() == nil; i++ {
		all := s.servers.of(l.addr.Addr().Is4())
		began := time.Now()
		if s.mapOnce(ctx, l, all[i%len(all)]); time.Since(began) > lookAgainMost {
			wait = lookAgainLeast // it has lasted
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, lookAgainMost)
	}
}

// mapOnce keeps one connection for as long as it lasts, and with it what the server sees.
func (s *Session) mapOnce(ctx context.Context, l *tcpLocal, server netip.AddrPort) {
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := s.cfg.Dial(soon, networkOf("tcp", server.Addr().Is4()), l.addr, server.String())
	if err != nil {
		s.log.Debugf("STUN over TCP: %v", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer s.loop.Post(func(now time.Time) { s.c.seenAt(now, l.open, netip.AddrPort{}, server.Addr()) })
	for {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		mapped, err := askTCP(conn)
		if err != nil {
			s.log.Debugf("STUN over TCP: %v", err)
			return
		}
		s.loop.Post(func(now time.Time) { s.c.seenAt(now, l.open, mapped, server.Addr()) })
		select {
		case <-time.After(min(s.cfg.Keepalive, stunTCPGap)):
		case <-ctx.Done():
			return
		}
	}
}

// stunTCPGap keeps the connection from being idle for as long as servers allow, whatever the
// NAT does.
const stunTCPGap = 20 * time.Second

var errNoMapping = errors.New("the server's answer makes no sense")

// askTCP is one Binding transaction on a connection.
func askTCP(conn net.Conn) (netip.AddrPort, error) {
	id, err := wire.NewTransactionID(rand.Reader)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var b wire.Builder
	b.Reset(wire.BindingRequest, id)
	if _, err := conn.Write(b.Bytes()); err != nil {
		return netip.AddrPort{}, err
	}
	answer := make([]byte, wire.HeaderSize, 1024)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return netip.AddrPort{}, err
	}
	size := int(answer[2])<<8 | int(answer[3])
	if size > cap(answer)-wire.HeaderSize {
		return netip.AddrPort{}, errNoMapping
	}
	answer = answer[:wire.HeaderSize+size]
	if _, err := io.ReadFull(conn, answer[wire.HeaderSize:]); err != nil {
		return netip.AddrPort{}, err
	}
	var m wire.Message
	if m.Decode(answer) != nil || m.TransactionID() != id {
		return netip.AddrPort{}, errNoMapping
	}
	mapped, ok := m.XORMappedAddress()
	if !ok {
		return netip.AddrPort{}, errNoMapping
	}
	return mapped, nil
}
