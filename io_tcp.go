package bradawl

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/wire"
)

// tcpLocal is a TCP port of the session's: it is listened at, and dialled from.
type tcpLocal struct {
	addr    netip.AddrPort
	host    ice.HostAddr
	open    ice.BaseID // of simultaneous open
	passive ice.BaseID
}

// openTCP listens at a port that can also be dialled from, as opening a connection from
// both sides at once needs it.
func (s *Session) openTCP(ctx context.Context, network string, h ice.HostAddr) (net.Listener, error) {
	ln, err := s.cfg.Listen(ctx, network, netip.AddrPortFrom(h.Addr, s.cfg.Port).String())
	if err != nil {
		return nil, err
	}
	s.tcp = append(s.tcp, tcpLocal{addr: netip.AddrPortFrom(h.Addr, netio.AddrPortOf(ln.Addr()).Port()), host: h})
	return ln, nil
}

// bases are what the agents get of it.
func (l tcpLocal) bases() []ice.Base {
	return []ice.Base{
		{Transport: ice.TCP, TCPType: ice.Passive, Addr: l.addr, Interface: l.host.Interface},
		{Transport: ice.TCP, TCPType: ice.Active, Addr: netip.AddrPortFrom(l.addr.Addr(), 0), Interface: l.host.Interface},
		{Transport: ice.TCP, TCPType: ice.SimultaneousOpen, Addr: l.addr, Interface: l.host.Interface},
	}
}

// mapTCP finds out where a STUN server sees our TCP port: the connection to it is made from
// that very port, and kept, for with it goes the NAT's mapping.
func (s *Session) mapTCP(l tcpLocal, server netip.AddrPort) {
	for wait := lookAgainLeast; s.ctx.Err() == nil; wait = min(2*wait, lookAgainMost) {
		s.mapOnce(l, server)
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
		}
	}
}

// mapOnce keeps one connection for as long as it lasts.
func (s *Session) mapOnce(l tcpLocal, server netip.AddrPort) {
	network := "tcp6"
	if server.Addr().Is4() {
		network = "tcp4"
	}
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	conn, err := s.cfg.Dial(ctx, network, l.addr, server.String())
	if err != nil {
		s.log.Debugf("STUN over TCP: %v", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { _ = conn.Close() })()
	for {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		mapped, err := askTCP(conn)
		if err != nil {
			s.log.Debugf("STUN over TCP: %v", err)
			return
		}
		s.loop.Post(func(now time.Time) {
			s.c.ice.AddMapped(now, l.open, mapped)
			s.c.pump(now)
		})
		select {
		case <-time.After(stunTCPGap):
		case <-s.ctx.Done():
			return
		}
	}
}

// stunTCPGap keeps the connection from being idle for as long as NATs and servers allow.
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
