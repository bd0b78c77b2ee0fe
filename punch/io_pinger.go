package punch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// Pinger measures round-trip time, jitter and loss to remotes that run one too, by
// probes of 8 bytes with don't-fragment set. It answers the probes of the
// remotes that were given to Add, or are being pinged, and of nobody else.
//
// Probes are not encrypted. Who sees them can answer in the remote's place; who does
// not would have to guess 48 random bits.
//
// Its methods may be called from any goroutine.
type Pinger struct {
	loop  *drive.Loop
	local netip.AddrPort

	// The loop's, and everybody's to read once that has ended.
	m     *pingerMachine
	waits map[pingID]chan pingerEvent
}

// NewPinger starts a Pinger. It has exclusive use of conn until Close, and drops what
// is no probe and no answer. The error is a *ConfigError.
func NewPinger(conn net.PacketConn, cfg PingerConfig) (*Pinger, error) {
	if netio.IsNil(conn) {
		return nil, &ConfigError{Field: "conn", Reason: "is nil; open a socket by net.ListenPacket"}
	}
	m, err := newPingerMachine(time.Now(), cfg, rand.Reader)
	if err != nil {
		return nil, err
	}
	p := &Pinger{m: m, local: netio.AddrPortOf(conn.LocalAddr()), waits: make(map[pingID]chan pingerEvent)}
	log := plog.OrDiscard(cfg.LoggerFactory).NewLogger("punch")
	p.loop, err = drive.Run[pingerEvent](m, func(e pingerEvent) {
		log.Tracef("ping %d to %v: %v %d after %v %v", e.ID, e.Remote, e.Kind, e.Sequence, e.RTT, e.Err)
		if e.Kind == pingDone {
			p.waits[e.ID] <- e // has room for the one that there is
			delete(p.waits, e.ID)
		}
	}, drive.Options{Sockets: []net.PacketConn{conn}, KeepSockets: true, Log: log})
	if err != nil {
		var wrong *ConfigError
		if err = connError(conn, err); !errors.As(err, &wrong) {
			wrong = &ConfigError{Field: "conn", Reason: strings.TrimPrefix(err.Error(), "punch: conn ")}
		}
		return nil, wrong
	}
	return p, nil
}

// Add registers a remote: from now on its probes are answered and, unless Interval is
// negative, it is probed. Adding it again does nothing. The error is a *ConfigError
// for an address that cannot be probed or is more than MaxPingRemotes, else a
// *PingError.
func (p *Pinger) Add(remote netip.AddrPort) (err error) {
	errDo := p.loop.Do(func(now time.Time) { err = p.m.Add(now, remote) })
	return p.fail(remote, cmp.Or(err, errDo))
}

// Remove ends what Add began. Pings that are under way go on.
func (p *Pinger) Remove(remote netip.AddrPort) {
	_ = p.loop.Do(func(time.Time) { p.m.Remove(remote) }) // closed: all have ended
}

// Stats are the statistics of a remote since it was added, without its Pings, also
// after Close; false when it is not registered by Add.
func (p *Pinger) Stats(remote netip.AddrPort) (stats PingStats, ok bool) {
	p.look(func(now time.Time) { stats, ok = p.m.Stats(now, remote) })
	return stats, ok
}

// Ping sends n probes to a remote, the first at once and then one every Interval, and
// returns when each was answered or lost. The remote need not have been added.
//
// Loss is no error. The error is a *ConfigError for n or remote, or a *PingError when
// ctx, the Pinger or the socket ended before; what was measured until then comes
// with it.
func (p *Pinger) Ping(ctx context.Context, remote netip.AddrPort, n int) (PingStats, error) {
	var id pingID
	var err error
	done := make(chan pingerEvent, 1)
	errDo := p.loop.Do(func(now time.Time) {
		if id, err = p.m.Ping(now, remote, n); err == nil {
			p.waits[id] = done
		}
	})
	if err := cmp.Or(err, errDo); err != nil {
		return PingStats{Remote: unmapped(remote)}, p.fail(remote, err)
	}
	select {
	case e := <-done:
		return e.Stats, p.fail(remote, e.Err)
	case <-p.loop.Done():
		err = net.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	var stats PingStats
	p.look(func(now time.Time) { stats, _ = p.m.Progress(now, id) })
	_ = p.loop.Do(func(time.Time) {
		p.m.Cancel(id)
		delete(p.waits, id)
	})
	select {
	case e := <-done: // a result beats the end of ctx
		return e.Stats, p.fail(remote, e.Err)
	default:
		return stats, p.fail(remote, err)
	}
}

// Close ends the Pinger and the Pings that are under way, and hands conn back open and
// without a read deadline.
func (p *Pinger) Close() error { return p.loop.Close() }

// look runs fn where it may read the machine.
func (p *Pinger) look(fn func(now time.Time)) {
	if p.loop.Do(fn) != nil {
		<-p.loop.Done() // then nothing changes it any more
		fn(time.Now())
	}
}

func (p *Pinger) fail(remote netip.AddrPort, err error) error {
	var config *ConfigError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &config):
		return config
	case errors.Is(err, drive.ErrClosed):
		err = net.ErrClosed
	}
	return &PingError{Local: p.local, Remote: unmapped(remote), Err: err}
}

var _ pingRunner = (*pingerMachine)(nil)
