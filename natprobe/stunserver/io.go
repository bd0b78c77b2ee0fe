package stunserver

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
	"github.com/bradawl/bradawl/internal/stund"
)

// Server is a running STUN server. Its methods are safe for concurrent use.
type Server struct {
	loop  *drive.Loop
	addrs []netip.AddrPort
}

// Listen opens the server's sockets, for UDP and for TCP two on each address, and
// starts to answer. ctx governs the opening alone. The error is a *ConfigError, or says which
// address could not be listened on.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	conns, listeners, addrs, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	m, err := stund.NewMachine(addrs, c.AnswersPerSecond, rand.Uint64())
	if err != nil {
		closeAll(conns)
		closeAll(listeners)
		return nil, &ConfigError{"ListenPacket", "it opened sockets that do not make a server: " + err.Error()}
	}
	if c.Classic {
		m.ServeClassic()
	}
	log := plog.OrDiscard(c.LoggerFactory).NewLogger("stunserver")
	loop, err := drive.Run(m, nil, drive.Options{Sockets: conns, Listeners: listeners, Log: log})
	if err != nil {
		closeAll(conns)
		closeAll(listeners)
		return nil, fmt.Errorf("stunserver: %w", err)
	}
	return &Server{loop: loop, addrs: addrs}, nil
}

// Addrs returns the addresses that the server listens on: first address with
// first and second port, then, if there is one, the second address likewise. The
// slice is the caller's.
func (s *Server) Addrs() []netip.AddrPort { return slices.Clone(s.addrs) }

// Close closes the sockets and returns after every goroutine of the server has
// ended. Every call returns the same.
func (s *Server) Close() error { return s.loop.Close() }

// open opens the sockets in the order of their SocketIDs. A port that the system
// may choose for the first address can be taken on the second, so that several
// are tried then.
func (c Config) open(ctx context.Context) (conns []net.PacketConn, listeners []net.Listener, addrs []netip.AddrPort, err error) {
	const tries = 16
	for range tries {
		conns, addrs, err = c.openOnce(ctx)
		if err == nil {
			listeners, err = c.openTCP(ctx, addrs)
			if err == nil {
				break
			}
			closeAll(conns)
		}
		if ctx.Err() != nil || c.Port1 > 0 && c.Port2 > 0 {
			break
		}
	}
	return conns, listeners, addrs, err
}

// openTCP listens at the addresses that UDP has.
func (c Config) openTCP(ctx context.Context, addrs []netip.AddrPort) (listeners []net.Listener, err error) {
	if c.NoTCP {
		return nil, nil
	}
	for _, a := range addrs {
		network := "tcp6"
		if a.Addr().Is4() {
			network = "tcp4"
		}
		l, err := c.Listen(ctx, network, a.String())
		if err != nil {
			closeAll(listeners)
			return nil, fmt.Errorf("stunserver: cannot listen on TCP %v: %w", a, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func (c Config) openOnce(ctx context.Context) (conns []net.PacketConn, addrs []netip.AddrPort, err error) {
	ips := []netip.Addr{c.IP1}
	if c.IP2.IsValid() {
		ips = append(ips, c.IP2)
	}
	ports := [2]uint16{uint16(max(c.Port1, 0)), uint16(max(c.Port2, 0))}
	rows := make([][]net.PacketConn, c.Readers) // each with one socket for each address
	for _, ip := range ips {
		for i := range ports {
			asked := netip.AddrPortFrom(ip, ports[i])
			all, err := c.listen(ctx, asked)
			if err != nil {
				closeAll(slices.Concat(rows...))
				return nil, nil, fmt.Errorf("stunserver: cannot listen on UDP %v: %w", asked, err)
			}
			for r, pc := range all {
				rows[r] = append(rows[r], pc)
			}
			ports[i] = netio.AddrPortOf(all[0].LocalAddr()).Port()
			addrs = append(addrs, netip.AddrPortFrom(ip, ports[i]))
		}
	}
	return slices.Concat(rows...), addrs, nil
}

// listen opens the sockets of one address, one for each reader.
func (c Config) listen(ctx context.Context, at netip.AddrPort) ([]net.PacketConn, error) {
	network := "udp6"
	if at.Addr().Is4() {
		network = "udp4"
	}
	if c.ListenPacket == nil {
		return netio.ListenParallel(ctx, network, at.String(), c.Readers)
	}
	pc, err := c.ListenPacket(ctx, network, at.String())
	return []net.PacketConn{pc}, err
}

func closeAll[C io.Closer](all []C) {
	for _, c := range all {
		_ = c.Close() // the error that led here is the one to tell
	}
}
