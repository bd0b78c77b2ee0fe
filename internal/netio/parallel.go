package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ParallelError says that the system cannot spread one port over several sockets.
// It matches errors.ErrUnsupported.
type ParallelError struct{ Sockets int }

// Error names what was asked for and the remedy.
func (e *ParallelError) Error() string {
	return fmt.Sprintf("netio: this system does not spread what arrives at one port over %d sockets; use 1", e.Sockets)
}

// Is matches errors.ErrUnsupported.
func (e *ParallelError) Is(target error) bool { return target == errors.ErrUnsupported }

// ListenParallel opens n UDP sockets on one port, for a server that reads each with
// a goroutine of its own; network and address are as for [ListenUDP]. For port 0
// all share the port that the system chooses. Linux, FreeBSD and DragonFly spread
// remote endpoints over the sockets, each always to the same one; other Unix
// systems give everything to one of them. An answer may leave from any.
//
// One socket is opened as ListenUDP does. More than one share the port
// (SO_REUSEPORT) with whatever program of the same user asks for the same. Where
// the system has no such thing, as Windows, the error is a *[ParallelError]. After
// an error nothing is left open.
func ListenParallel(ctx context.Context, network, address string, n int) ([]net.PacketConn, error) {
	if n == 1 {
		pc, err := ListenUDP(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return []net.PacketConn{pc}, nil
	}
	if n < 1 {
		return nil, fmt.Errorf("netio: %d sockets asked for; want at least 1", n)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("netio: local address %q: %w", address, err)
	}
	if port != "0" && port != "" {
		return listenAll(ctx, network, address, n)
	}
	// Asked for any port, a system may choose one that others share already. So a
	// socket that does not share finds a port that is free; another program can take
	// it in between, hence the repetition.
	const tries = 16
	for try := 1; ; try++ {
		chosen, err := freePort(ctx, network, address)
		if err != nil {
			return nil, err
		}
		all, err := listenAll(ctx, network, chosen, n)
		if err == nil || try == tries || !errors.Is(err, errAddrInUse) {
			return all, err
		}
	}
}

func freePort(ctx context.Context, network, address string) (string, error) {
	pc, err := ListenUDP(ctx, network, address)
	if err != nil {
		return "", err
	}
	return pc.LocalAddr().String(), pc.Close()
}

func listenAll(ctx context.Context, network, address string, n int) ([]net.PacketConn, error) {
	var all []net.PacketConn
	for range n {
		pc, err := listenUDP(ctx, network, address, spread)
		if err != nil {
			for _, pc := range all {
				_ = pc.Close() // the error to tell is the one that led here
			}
			if errors.Is(err, errors.ErrUnsupported) {
				err = &ParallelError{Sockets: n}
			}
			return nil, err
		}
		all = append(all, pc)
	}
	return all, nil
}

// spread lets sockets share a port and what arrives at it. Unlike [ReusePort] it
// keeps other users' programs out.
func spread(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = spreadPort(fd) }); cerr != nil {
		return cerr
	}
	return err
}
