package natpairs

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	transport2 "github.com/pion/transport/v2"
	transport5 "github.com/pion/transport/v5"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/simnet"
)

// network is a simulated host as pion wants its networks, but for the interfaces: what one
// major version of pion calls UDP and TCP has the same methods in all of them.
type network[UDP, TCP any] struct{ host *simnet.Host }

func (n network[UDP, TCP]) ListenPacket(network, address string) (net.PacketConn, error) {
	pc, err := n.host.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return udp{PacketConn: pc}, nil
}

func (n network[UDP, TCP]) ListenUDP(network string, local *net.UDPAddr) (none UDP, err error) {
	address := ":0"
	if local != nil {
		address = local.String()
	}
	pc, err := n.ListenPacket(network, address)
	if err != nil {
		return none, err
	}
	return pc.(UDP), nil
}

func (n network[UDP, TCP]) DialTCP(network string, _, remote *net.TCPAddr) (none TCP, err error) {
	// pion waits for it while it gathers, and would for the system's two minutes.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := n.host.DialContext(ctx, network, remote.String())
	if err != nil {
		return none, err
	}
	return any(tcp{conn}).(TCP), nil
}

func (network[UDP, TCP]) ResolveUDPAddr(_, address string) (*net.UDPAddr, error) {
	a, err := netip.ParseAddrPort(address)
	return net.UDPAddrFromAddrPort(a), err
}

func (network[UDP, TCP]) ResolveTCPAddr(_, address string) (*net.TCPAddr, error) {
	a, err := netip.ParseAddrPort(address)
	return net.TCPAddrFromAddrPort(a), err
}

// its is the one interface that a host has, and its addresses.
func (n network[UDP, TCP]) its() (net.Interface, []net.Addr) {
	var all []net.Addr
	for _, a := range n.host.Addrs() {
		all = append(all, &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, a.BitLen())})
	}
	return net.Interface{Index: 1, MTU: 1500, Name: "sim0", Flags: net.FlagUp | net.FlagRunning}, all
}

// net2 and net5 are networks for v2 and for v4 of pion/ice. What they do not have is not
// asked for.
type (
	network2 = network[transport2.UDPConn, transport2.TCPConn]
	rest2    struct{ transport2.Net }
	net2     struct {
		rest2
		network2
	}
	network5 = network[transport5.UDPConn, transport5.TCPConn]
	rest5    struct{ transport5.Net }
	net5     struct {
		rest5
		network5
	}
)

func (n net2) Interfaces() ([]*transport2.Interface, error) {
	own, addrs := n.its()
	i := transport2.NewInterface(own)
	for _, a := range addrs {
		i.AddAddress(a)
	}
	return []*transport2.Interface{i}, nil
}

func (n net5) Interfaces() ([]*transport5.Interface, error) {
	own, addrs := n.its()
	i := transport5.NewInterface(own)
	for _, a := range addrs {
		i.AddAddress(a)
	}
	return []*transport5.Interface{i}, nil
}

// udp is a simulated socket as a real one is that did not ask for more: an ICMP error is no
// error of a read. pion's loops end at the first one that they get.
type udp struct{ net.PacketConn }

func (u udp) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := u.PacketConn.ReadFrom(b)
		if err == nil || !netio.IsTransient(err) {
			return n, from, err
		}
	}
}

func (u udp) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	n, from, err := u.ReadFrom(b)
	if err != nil {
		return n, nil, err
	}
	return n, from.(*net.UDPAddr), nil
}

func (u udp) WriteToUDP(b []byte, to *net.UDPAddr) (int, error) { return u.WriteTo(b, to) }
func (udp) RemoteAddr() net.Addr                                { return nil }
func (udp) SetReadBuffer(int) error                             { return nil }
func (udp) SetWriteBuffer(int) error                            { return nil }
func (udp) Read([]byte) (int, error)                            { return 0, errors.ErrUnsupported }
func (udp) Write([]byte) (int, error)                           { return 0, errors.ErrUnsupported }

func (u udp) ReadMsgUDP(b, _ []byte) (n, oobn, flags int, from *net.UDPAddr, err error) {
	n, from, err = u.ReadFromUDP(b)
	return n, 0, 0, from, err
}

func (u udp) WriteMsgUDP(b, _ []byte, to *net.UDPAddr) (n, oobn int, err error) {
	n, err = u.WriteTo(b, to)
	return n, 0, err
}

// tcp is a simulated connection with the methods that a real one has.
type tcp struct{ net.Conn }

func (t tcp) ReadFrom(r io.Reader) (int64, error)  { return io.Copy(struct{ io.Writer }{t.Conn}, r) }
func (tcp) CloseRead() error                       { return nil }
func (tcp) CloseWrite() error                      { return nil }
func (tcp) SetLinger(int) error                    { return nil }
func (tcp) SetKeepAlive(bool) error                { return nil }
func (tcp) SetKeepAlivePeriod(time.Duration) error { return nil }
func (tcp) SetNoDelay(bool) error                  { return nil }
func (tcp) SetReadBuffer(int) error                { return nil }
func (tcp) SetWriteBuffer(int) error               { return nil }
