package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/netio"
)

// relay is the TURN server.
type relay struct {
	*table
	server *turn.Server
}

// listenRelay starts it on all hosts: over UDP, TCP and, with a certificate, TLS.
func listenRelay(ctx context.Context, c *config, logs logging.LoggerFactory) (*relay, error) {
	r := &relay{table: newTable(c.maxRelays, c.maxSource, c.secret)}
	own := c.hosts[0].public
	relays := &relayPorts{listen: c.hosts[0].ip, public: own, ports: c.relayPorts}
	permit := func(client net.Addr, ip net.IP) bool {
		peer := addrOf(ip)
		return mayReach(own, peer) && r.mayPermit(client, peer)
	}
	cfg := turn.ServerConfig{
		Realm:        "bradawl",
		AuthHandler:  r.key,
		QuotaHandler: r.admit,
		EventHandler: turn.EventHandler{
			OnAllocationCreated: r.made, OnAllocationError: r.failed, OnAllocationDeleted: r.gone,
			OnPermissionCreated: r.permitted, OnPermissionDeleted: r.forbidden,
		},
		LoggerFactory: logs,
	}
	stop := func() {
		for _, p := range cfg.PacketConnConfigs {
			_ = p.PacketConn.Close()
		}
		for _, l := range cfg.ListenerConfigs {
			_ = l.Listener.Close()
		}
	}
	serveStreams := func(l net.Listener) {
		l = messages{l, r.has}
		cfg.ListenerConfigs = append(cfg.ListenerConfigs, turn.ListenerConfig{Listener: l, RelayAddressGenerator: relays, PermissionHandler: permit})
	}
	for _, h := range c.hosts {
		plain, pc, err := listenBoth(ctx, h.ip, c.turnPort)
		if err != nil {
			stop()
			return nil, fmt.Errorf("%w; choose another port by -turn-port, or another address by -listen", err)
		}
		cfg.PacketConnConfigs = append(cfg.PacketConnConfigs, turn.PacketConnConfig{PacketConn: steady{pc}, RelayAddressGenerator: relays, PermissionHandler: permit})
		serveStreams(newStreams(plain))
		c.turnPort = portOf(plain.Addr())
		if c.cert == nil {
			continue
		}
		secure, err := listenTCP(ctx, h.ip, c.turnsPort)
		if err != nil {
			stop()
			return nil, fmt.Errorf("%w; choose another port by -turns-port, or another address by -listen", err)
		}
		serveStreams(tls.NewListener(newStreams(secure), &tls.Config{Certificates: []tls.Certificate{*c.cert}}))
		c.turnsPort = portOf(secure.Addr())
	}
	var err error
	if r.server, err = turn.NewServer(cfg); err != nil {
		stop()
		return nil, fmt.Errorf("TURN server: %w", err)
	}
	return r, nil
}

// mayReach reports whether a TURN server whose clients know it as own may relay to peer.
// It must not be a way into its own network: one with a public address reaches public
// ones alone, one in a private network that network, and one that serves its machine
// alone that machine.
func mayReach(own, peer netip.Addr) bool {
	switch {
	case ipcheck.Unusable(netip.AddrPortFrom(peer, 1), true) != "":
		return false
	case peer == own, ipcheck.Public(peer), own.IsLoopback():
		return true
	}
	return !ipcheck.Public(own) && !peer.IsLoopback() && !peer.IsLinkLocalUnicast()
}

// relayPorts opens the sockets of relays.
type relayPorts struct {
	listen, public netip.Addr
	ports          netio.PortRange
}

// Validate does nothing: the flags were checked.
func (*relayPorts) Validate() error { return nil }

// AllocatePacketConn opens a socket at port, or at one of the range if that is 0.
func (p *relayPorts) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	var pc net.PacketConn
	bind := func(port uint16) (err error) {
		pc, err = netio.ListenUDP(context.Background(), "udp4", netip.AddrPortFrom(p.listen, port).String())
		return err
	}
	var err error
	if port != 0 {
		err = bind(uint16(port))
	} else {
		err = p.ports.Try(nil, bind)
	}
	if err != nil {
		return nil, nil, err
	}
	shown := netip.AddrPortFrom(p.public, uint16(portOf(pc.LocalAddr())))
	return steady{pc}, net.UDPAddrFromAddrPort(shown), nil
}

// AllocateConn refuses: pion/turn has no relays over TCP.
func (*relayPorts) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.ErrUnsupported
}

// steady is a socket whose reads do not fail because of one datagram, as they do on
// Windows when another one was refused: pion/turn gives a socket up at once.
type steady struct{ net.PacketConn }

func (s steady) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(p)
		if err == nil || !netio.IsTransient(err) {
			return n, from, err
		}
	}
}

// listenTCP listens on one address, of which an IPv6 one is no IPv4 one as well.
func listenTCP(ctx context.Context, ip netip.Addr, port int) (net.Listener, error) {
	network := "tcp6"
	if ip.Is4() {
		network = "tcp4"
	}
	return new(net.ListenConfig).Listen(ctx, network, netip.AddrPortFrom(ip, uint16(port)).String())
}

// listenBoth listens over TCP and UDP at one port.
func listenBoth(ctx context.Context, ip netip.Addr, port int) (net.Listener, net.PacketConn, error) {
	network := "udp6"
	if ip.Is4() {
		network = "udp4"
	}
	for tries := 0; ; tries++ {
		l, err := listenTCP(ctx, ip, port)
		if err != nil {
			return nil, nil, err
		}
		pc, err := netio.ListenUDP(ctx, network, netip.AddrPortFrom(ip, uint16(portOf(l.Addr()))).String())
		if err == nil {
			return l, pc, nil
		}
		_ = l.Close()
		if port != 0 || tries == 16 {
			return nil, nil, err
		}
	}
}

func portOf(a net.Addr) int { return int(netio.AddrPortOf(a).Port()) }
