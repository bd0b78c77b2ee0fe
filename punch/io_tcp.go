package punch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// TCP makes a direct TCP connection to a peer that does the same at about the same
// time (simultaneous open). It listens at cfg.Local and dials from it, again and again
// until one connection stands on which the peer has proven the secret, and returns the
// one that both sides keep; the caller closes it. Nothing of the peer's data has been
// read from it.
//
// The error is a *ConfigError for a configuration that cannot work, the system's for a
// port that cannot be listened at, else a *PathError, which matches ErrSilent or
// ErrSecret where these say what happened, and ctx's error when ctx ended first.
func TCP(ctx context.Context, cfg TCPConfig) (net.Conn, error) {
	log := plog.OrDiscard(cfg.LoggerFactory).NewLogger("punch")
	m, err := newTCPMachine(time.Now(), cfg, mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())), rand.Reader)
	if err != nil {
		return nil, err
	}
	listener, err := listenTCP(ctx, m.cfg)
	if err != nil {
		return nil, fmt.Errorf("punch: listen at the port to dial from: %w", err)
	}
	dial := cfg.Dial
	if dial == nil {
		dial = netio.DialTCP
	}
	end := make(chan tcpEvent, 1) // there is one
	loop, err := drive.Run[tcpEvent](m, func(e tcpEvent) {
		log.Debugf("%v %v -> %v %v", e.Kind, e.Local, e.Remote, e.Err)
		if e.Kind != tcpProven {
			end <- e
		}
	}, drive.Options{Dial: dial, Listeners: []net.Listener{listener}, ReadLimit: tcpHandshakeSize, Log: log})
	if err != nil {
		listener.Close()
		return nil, err
	}
	defer loop.Close()
	var e tcpEvent
	select {
	case e = <-end:
	case <-ctx.Done():
		select {
		case e = <-end: // it was there all the same
		default:
			loop.Close() // from here on the machine is ours
			return nil, m.Report(time.Now(), context.Cause(ctx))
		}
	}
	if e.Kind == tcpFailed {
		return nil, e.Err
	}
	conn, ok := loop.Detach(e.Stream)
	if !ok {
		loop.Close()
		return nil, m.Report(time.Now(), errBroke)
	}
	return conn, nil
}

var errBroke = errors.New("the connection broke as soon as both peers had agreed on it")

func listenTCP(ctx context.Context, cfg TCPConfig) (net.Listener, error) {
	listen := cfg.Listen
	if listen == nil {
		listen = (&net.ListenConfig{Control: ReusePort, KeepAlive: -1}).Listen
	}
	if cfg.Local.Addr().IsUnspecified() {
		return listen(ctx, "tcp", fmt.Sprintf(":%d", cfg.Local.Port()))
	}
	return listen(ctx, "tcp", cfg.Local.String())
}

var _ interface {
	machine.Machine[tcpEvent]
	machine.Noticer
} = (*tcpMachine)(nil)
