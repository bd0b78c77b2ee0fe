package netio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// Meta is what is known of a datagram that was received.
type Meta struct {
	Remote netip.AddrPort // who sent it; never IPv4-mapped
	Local  netip.AddrPort // this host's address that it was sent to; the IP is the socket's own, perhaps unspecified, when the socket cannot tell
	TTL    int            // remaining hops; 0: unknown
	Stamp  time.Time      // when the kernel received it, without monotonic reading; zero: unknown
}

// SendOptions modifies one datagram. What the socket cannot do is left out
// silently: a probe without its hop limit is better than none.
type SendOptions struct {
	// Source is this host's address to send from, where the socket is bound to the
	// unspecified address: a peer takes an answer from another address than it asked
	// for a stranger's. The zero Addr, and one that cannot be used for the
	// destination: the system's choice.
	Source       netip.Addr
	TTL          int  // hop limit, 1 to 255; 0: the socket's own
	DontFragment bool // do not fragment on the way (nor at the source, even above the path MTU known)
}

// Conn is a datagram socket as the event loop uses it.
//
// ReadMeta may be called by one goroutine at a time, the other methods by any
// number, also while ReadMeta blocks.
type Conn interface {
	MetaReader
	OptionWriter
	// LocalAddrPort returns the address that the socket is bound to, never
	// IPv4-mapped; the IP may be unspecified.
	LocalAddrPort() netip.AddrPort
	// SetReadDeadline is as in net.PacketConn; a time in the past unblocks ReadMeta.
	SetReadDeadline(t time.Time) error
	// SetWriteDeadline is as in net.PacketConn; a time in the past unblocks WriteOpts
	// where that waits.
	SetWriteDeadline(t time.Time) error
	// Close closes the socket and unblocks ReadMeta.
	Close() error
}

// MetaReader is implemented by sockets that know more of a datagram than its
// sender.
type MetaReader interface {
	// ReadMeta reads one datagram into b. A datagram longer than b is cut to
	// len(b). An error for which [IsTransient] holds leaves the socket usable.
	ReadMeta(b []byte) (n int, m Meta, err error)
}

// OptionWriter is implemented by sockets that can send a datagram with options.
type OptionWriter interface {
	// WriteOpts sends b to to. It does not wait: a datagram that the socket has no
	// room for is lost, and the error is ErrBufferFull.
	WriteOpts(b []byte, to netip.AddrPort, o SendOptions) (int, error)
}

// AddrPortReader is implemented by sockets that read without allocating an
// address, as *net.UDPConn does.
type AddrPortReader interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
}

// AddrPortWriter is implemented by sockets that write without a net.Addr, as
// *net.UDPConn does.
type AddrPortWriter interface {
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// Wrap returns pc as a Conn. Closing one closes the other.
//
// On a *net.UDPConn it switches on the socket options that ReadMeta needs, as
// far as the system has them; [Release] undoes those that would be noticed by
// other users of the socket. While it is wrapped, others should not read from
// it. A socket of another type is used through the interfaces that it
// implements: in particular a struct that embeds *net.UDPConn keeps its own
// ReadFrom and WriteTo in force only if it also defines the UDPAddrPort pair.
//
// The error is non-nil when pc is nil or its local address is not an IP
// address with port.
func Wrap(pc net.PacketConn) (Conn, error) {
	if IsNil(pc) {
		return nil, errors.New("netio: nil net.PacketConn; open one with ListenUDP")
	}
	addr := pc.LocalAddr()
	local := AddrPortOf(addr)
	if !local.IsValid() {
		return nil, fmt.Errorf("netio: local address %v of %T is not IP:port", addr, pc)
	}
	if uc, ok := pc.(*net.UDPConn); ok {
		return wrapUDP(uc, local)
	}
	c := &anyConn{PacketConn: pc, local: local}
	c.metaReader, _ = pc.(MetaReader)
	c.optionWriter, _ = pc.(OptionWriter)
	c.addrPortReader, _ = pc.(AddrPortReader)
	c.addrPortWriter, _ = pc.(AddrPortWriter)
	return c, nil
}

// IsNil reports whether pc is no socket: a nil *net.UDPConn as well, which is left where nobody
// looked at the error of net.ListenUDP.
func IsNil(pc net.PacketConn) bool {
	c, ok := pc.(*net.UDPConn)
	return pc == nil || ok && c == nil
}

// Release hands the socket under c back to its owner: reads no longer report
// ICMP errors and the deadlines are cleared. c must not be used afterwards.
func Release(c Conn) error {
	if r, ok := c.(interface{ release() error }); ok {
		if err := r.release(); err != nil {
			return err
		}
	}
	_ = c.SetWriteDeadline(time.Time{}) // a socket that has none needs none cleared
	return c.SetReadDeadline(time.Time{})
}

// AddrPortOf returns a as an address and port with the IP unmapped; the zero
// value when a is not of that form.
func AddrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case nil:
		return netip.AddrPort{}
	case interface{ AddrPort() netip.AddrPort }: // *net.UDPAddr, *net.TCPAddr
		return unmap(a.AddrPort())
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return unmap(ap)
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// anyConn is a socket that is not the system's.
type anyConn struct {
	net.PacketConn
	local netip.AddrPort

	metaReader     MetaReader
	optionWriter   OptionWriter
	addrPortReader AddrPortReader
	addrPortWriter AddrPortWriter
}

func (c *anyConn) LocalAddrPort() netip.AddrPort { return c.local }

func (c *anyConn) ReadMeta(b []byte) (n int, m Meta, err error) {
	switch {
	case c.metaReader != nil:
		n, m, err = c.metaReader.ReadMeta(b)
	case c.addrPortReader != nil:
		n, m.Remote, err = c.addrPortReader.ReadFromUDPAddrPort(b)
	default:
		var from net.Addr
		n, from, err = c.ReadFrom(b)
		m.Remote = AddrPortOf(from)
	}
	m.Remote, m.Local = unmap(m.Remote), unmap(m.Local)
	if !m.Local.IsValid() {
		m.Local = c.local
	}
	return n, m, err
}

// WriteOpts gives the socket sendWait for a datagram, by its write deadline. It
// has no other way to say that it must not wait; one without deadlines may.
func (c *anyConn) WriteOpts(b []byte, to netip.AddrPort, o SendOptions) (n int, err error) {
	to = unmap(to)
	for range sendTries {
		until := time.Now().Add(sendWait)
		_ = c.SetWriteDeadline(until)
		switch {
		case c.optionWriter != nil:
			n, err = c.optionWriter.WriteOpts(b, to, o)
		case c.addrPortWriter != nil:
			n, err = c.addrPortWriter.WriteToUDPAddrPort(b, to)
		default:
			n, err = c.WriteTo(b, net.UDPAddrFromAddrPort(to))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if time.Now().Before(until) {
			break // somebody else's deadline: the socket is being closed
		}
	}
	return n, writeError(c.LocalAddr(), to, err)
}
