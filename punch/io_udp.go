package punch

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// UDP finds a direct path to a peer that does the same at about the same time, and
// returns it once both use it. It has exclusive use of conn meanwhile, and hands it
// back open and without a read deadline; conn should be the socket that asked the
// STUN servers for the addresses that the peer was told, since a NAT maps each
// socket apart.
//
// After it has returned, probes of a peer that has not heard of it yet may still
// arrive at conn: IsProbe tells them.
//
// It takes one to two and a half round trips. The error is a *ConfigError for a
// configuration that cannot work, else a *PathError, which matches ErrSilence or
// ErrSecret where these say what happened, and ctx's error when ctx ended first.
func UDP(ctx context.Context, conn net.PacketConn, cfg UDPConfig) (Path, error) {
	if conn == nil {
		return Path{}, &ConfigError{Field: "conn", Reason: "is nil; open a socket by net.ListenPacket"}
	}
	log := plog.OrDiscard(cfg.LoggerFactory).NewLogger("punch")
	m, err := NewUDPMachine(time.Now(), cfg, rand.Reader)
	if err != nil {
		return Path{}, err
	}
	// Learned and valid once for each address, and one end: never more.
	events := make(chan UDPEvent, 2*(MaxPeerAddrs+MaxLearnedAddrs)+1)
	loop, err := drive.Run[UDPEvent](m, func(e UDPEvent) { events <- e }, drive.Options{
		Sockets: []net.PacketConn{conn}, KeepSockets: true, Log: log,
	})
	if err != nil {
		return Path{}, err
	}
	defer loop.Close()
	for {
		var e UDPEvent
		select {
		case e = <-events:
		default:
			select {
			case e = <-events:
			case <-ctx.Done():
				loop.Close()
				return Path{}, m.Report(time.Now(), context.Cause(ctx))
			}
		}
		log.Debugf("%v %v %v", e.Kind, e.Path.Remote, e.Err)
		switch e.Kind {
		case UDPFailed:
			return Path{}, e.Err
		case UDPAgreed:
			loop.Close() // from here on the machine is ours
			e.Path.Early = m.Early()
			if local := netio.AddrPortOf(conn.LocalAddr()); !e.Path.Local.IsValid() || e.Path.Local.Addr().IsUnspecified() {
				e.Path.Local = netip.AddrPortFrom(local.Addr(), local.Port())
			}
			return e.Path, nil
		}
	}
}

var _ interface {
	machine.Machine[UDPEvent]
	machine.Noticer
} = (*UDPMachine)(nil)
