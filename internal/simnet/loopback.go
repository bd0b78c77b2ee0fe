package simnet

import (
	"errors"
	"net"
	"sync"
)

// Loopback gives out sockets of a host that are sockets of the real system too, on
// 127.0.0.1: what is read from them, waits in them and wakes their readers is the
// kernel's doing, while what they send crosses the simulated links and NATs. They
// speak of simulated addresses only.
//
// Each is connected to a relay, a second real socket, which hands what it gets to a
// socket of the simulated host and back, and which nobody else's packets get past.
// The world must move by the clock ([World.Go]), the real one: a blocked read of a
// real socket stops the clock of testing/synctest.
//
// Its methods may be called from any goroutine.
type Loopback struct {
	h *Host

	mu      sync.Mutex
	open    map[killer]struct{}
	closed  bool
	running sync.WaitGroup
}

// killer is a socket that ends at once, without waiting for its goroutines.
type killer interface{ kill() }

// Loopback starts loopback mode on the host, beside whatever else runs there. It must
// be closed.
func (h *Host) Loopback() *Loopback {
	return &Loopback{h: h, open: make(map[killer]struct{})}
}

// Close closes all sockets that are still open, resetting connections, and returns
// when every goroutine has ended. Close it before the world is stopped.
func (b *Loopback) Close() error {
	b.mu.Lock()
	b.closed = true
	for s := range b.open {
		s.kill()
	}
	b.mu.Unlock()
	b.running.Wait()
	return nil
}

// start has s killed when b is closed, and runs what moves its bytes, if anything.
func (b *Loopback) start(s killer, run func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return net.ErrClosed
	}
	b.open[s] = struct{}{}
	if run != nil {
		b.running.Go(func() {
			run()
			b.forget(s)
		})
	}
	return nil
}

func (b *Loopback) forget(s killer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, s)
}

// retell makes an error of a real socket speak of simulated addresses.
func retell(err error, local, remote net.Addr) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	told := *op
	told.Source, told.Addr = local, remote
	return &told
}

func loopbackAddr() net.IP { return net.IPv4(127, 0, 0, 1) }
