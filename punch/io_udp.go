package punch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
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
// A peer that was done first may have sent data already. UDP reads it and hands it back in
// Path.Early, where the peer's first datagram often is: take that before reading from
// conn. After it has returned, probes of a peer that has not heard of it yet may still
// arrive at conn: IsProbe tells them.
//
// It takes one to two and a half round trips. It waits for all of Timeout even where no
// address in Peer may be probed: the peer's own probes may come, and a path to where they come
// from is as good. The error is a *ConfigError for a
// configuration that cannot work, one that matches net.ErrClosed for a conn that is closed
// already, else a *PathError, which matches ErrSilent or
// ErrSecret where these say what happened, and ctx's error when ctx ended first.
func UDP(ctx context.Context, conn net.PacketConn, cfg UDPConfig) (Path, error) {
	if netio.IsNil(conn) {
		return Path{}, &ConfigError{Field: "conn", Reason: "is nil; open a socket by net.ListenPacket"}
	}
	log := plog.OrDiscard(cfg.LoggerFactory).NewLogger("punch")
	m, err := newUDPMachine(time.Now(), cfg, rand.Reader)
	if err != nil {
		return Path{}, err
	}
	if ctx.Err() != nil {
		return Path{}, m.Report(time.Now(), context.Cause(ctx))
	}
	events := make(chan udpEvent, maxUDPEvents)
	loop, err := drive.Run[udpEvent](m, func(e udpEvent) { events <- e }, drive.Options{
		Sockets: []net.PacketConn{conn}, KeepSockets: true, Log: log,
	})
	if err != nil {
		return Path{}, connError(conn, err)
	}
	defer loop.Close()
	var end udpEvent
	for end.Kind < udpAgreed {
		select {
		case end = <-events:
			log.Debugf("%v %v %v", end.Kind, end.Path.Remote, end.Err)
			continue
		default:
		}
		select {
		case end = <-events:
			log.Debugf("%v %v %v", end.Kind, end.Path.Remote, end.Err)
		case <-ctx.Done():
			loop.Close()
			// A result that came just now counts: the peer was told of it.
			for len(events) > 0 && end.Kind < udpAgreed {
				end = <-events
			}
			if end.Kind < udpAgreed {
				return Path{}, m.Report(time.Now(), context.Cause(ctx))
			}
		}
	}
	if end.Kind == udpFailed {
		return Path{}, end.Err
	}
	loop.Close() // from here on the machine is ours
	end.Path.Early = m.Early()
	if !end.Path.Local.IsValid() || end.Path.Local.Addr().IsUnspecified() {
		end.Path.Local = netio.AddrPortOf(conn.LocalAddr())
	}
	return end.Path, nil
}

// connError says in the words of whoever called why conn cannot be used. err is the loop's.
func connError(conn net.PacketConn, err error) error {
	switch at := conn.LocalAddr(); {
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("punch: conn is closed already; hand over one that is open: %w", net.ErrClosed)
	case !netio.AddrPortOf(at).IsValid():
		return badConfig("conn", at, `is no IP address with port to send from; open the socket by net.ListenPacket("udp", ":0")`)
	}
	return fmt.Errorf("punch: conn cannot be used: %w", cmp.Or(errors.Unwrap(err), err)) // without the loop's name for it
}

var _ interface {
	machine.Machine[udpEvent]
	machine.Noticer
} = (*udpMachine)(nil)
