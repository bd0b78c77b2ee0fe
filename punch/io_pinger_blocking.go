package punch

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

// blockingSlice is the longest that PingBlocking waits in the system at a time, which
// cannot be told that ctx has ended.
const blockingSlice = 20 * time.Millisecond

// PingBlocking is Ping over a socket of its own in blocking mode, on an OS thread of
// its own: the system wakes that thread itself when the answer is there, or when the
// time that the probe has is over (SO_RCVTIMEO, which does nothing on the sockets of
// package net). Probes leave the moment their time is taken, with neither event loop
// nor scheduler in between. It costs a thread while it lasts; for many remotes, or a
// socket that exists already, there is Pinger. BenchmarkPinger compares the two.
//
// local may be invalid, or have port 0: the system chooses. A local port that is in
// use can be shared if the socket that has it was opened with ReusePort.
//
// n, cfg and what is returned are as in Ping. On systems other than Linux, macOS and
// the BSDs the error matches errors.ErrUnsupported. When ctx ends, it returns within
// 20 ms.
func PingBlocking(ctx context.Context, local, remote netip.AddrPort, n int, cfg PingerConfig) (PingStats, error) {
	local, remote = unmapped(local), unmapped(remote)
	m, err := newPingerMachine(time.Now(), cfg, rand.Reader)
	if err != nil {
		return PingStats{Remote: remote}, err
	}
	if _, err := m.Ping(time.Now(), remote, n); err != nil {
		var config *ConfigError
		if !errors.As(err, &config) {
			err = &PingError{Local: local, Remote: remote, Err: err}
		}
		return PingStats{Remote: remote}, err
	}
	conn, err := netio.DialBlocking(ctx, local, remote)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return PingStats{Remote: remote}, &PingError{Local: local, Remote: remote, Err: err}
	}
	defer conn.Close()
	var stats PingStats
	ended := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and whatever the system
		// has learned of it (priority, affinity) with it.
		runtime.LockOSThread()
		ended <- runBlocking(ctx, conn, m, func(e pingerEvent) (done bool, err error) {
			if e.Kind != pingDone {
				return false, nil
			}
			stats = e.Stats
			return true, e.Err
		})
	}()
	if err = <-ended; err == nil {
		return stats, nil
	}
	if stats.Remote != remote { // it did not get as far as pingDone
		stats, _ = m.Progress(time.Now(), m.last)
	}
	return stats, &PingError{Local: conn.LocalAddrPort(), Remote: remote, Err: err}
}

type pingRunner interface {
	machine.Machine[pingerEvent]
	machine.Noticer
}

// runBlocking runs a machine over a blocking socket until onEvent says that it is
// done, or fails, or ctx ends.
func runBlocking(ctx context.Context, conn *netio.Blocking, m pingRunner, onEvent func(pingerEvent) (done bool, err error)) error {
	var done bool
	var failed error
	transmit := func(t machine.Transmit) { _ = conn.Send(t.Data) } // as ever: what could not be sent is lost
	event := func(e pingerEvent) {
		if !done {
			done, failed = onEvent(e)
		}
	}
	var buf [64]byte // more than a probe, so that a longer datagram is seen to be one
	for {
		machine.Drain(m, transmit, event)
		now := time.Now()
		if next := m.NextTimeout(); !next.IsZero() && !next.After(now) {
			m.HandleTimeout(now)
			machine.Drain(m, transmit, event)
		}
		if done {
			return failed
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait := blockingSlice
		if next := m.NextTimeout(); !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		n, meta, err := conn.Receive(buf[:], wait)
		var unreachable *netio.UnreachableError
		switch {
		case err == nil:
			m.HandleDatagram(time.Now(), machine.Datagram{Local: meta.Local, Remote: meta.Remote, Data: buf[:n], Stamp: meta.Stamp})
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.As(err, &unreachable):
			m.HandleNotice(time.Now(), machine.Notice{Kind: machine.Unreachable, Local: conn.LocalAddrPort(), Remote: unreachable.Remote, Reason: unreachable.Reason, Err: err})
		case !netio.IsTransient(err):
			m.HandleNotice(time.Now(), machine.Notice{Kind: machine.SocketFailed, Local: conn.LocalAddrPort(), Err: err})
		}
	}
}
