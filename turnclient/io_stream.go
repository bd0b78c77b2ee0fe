package turnclient

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// TCPAllocation is a relayed address of TCP (RFC 6062): peers are connected to from it
// and, as it is a net.Listener, accepted at it. Its methods may be called from any
// goroutine.
type TCPAllocation struct {
	a        *Allocation
	accepted chan *TCPConn

	mu        sync.Mutex
	listening bool                        // guarded by mu, as are the rest
	closed    bool                        // nobody takes from accepted any more
	dials     map[ConnID]chan<- connected // each with room for one
}

// connected is what came of a Dial.
type connected struct {
	conn *TCPConn
	err  error
}

// backlog is how many connections wait to be accepted before further ones are closed.
const backlog = 128

// AllocateTCP gets a relayed address of TCP and returns it once it stands. Of the
// Config's servers only those that are reached over TCP or TLS are asked. It may be
// called several times, beside Allocate.
//
// The error is a *ConfigError if there is no such server, else as of Allocate.
func (c *Client) AllocateTCP(ctx context.Context) (*TCPAllocation, error) {
	t := &TCPAllocation{a: newAllocationShell(c), accepted: make(chan *TCPConn, backlog), dials: make(map[ConnID]chan<- connected)}
	t.a.tcp = t
	if err := c.allocate(ctx, t.a, func(now time.Time) (AllocationID, error) { return c.m.AllocateTCP(now) }); err != nil {
		return nil, err
	}
	return t, nil
}

// Dial makes a connection from the relayed address to a peer. The permission that some
// servers want for it comes along by itself. While the allocation is being made anew, the
// connection waits for that. The net.Conn is a *TCPConn.
//
// A server has one connection to each peer of an allocation (ErrConnectionExists), and
// after it has failed to reach one it is not asked for the same peer again for 10 s:
// until then the error matches ErrHeld, and the *ServerError in it says until when
// (RetryAfter). When ctx ends before the server has answered, a later Dial to the same
// peer goes on with what this one began; without one, the connection is closed as soon
// as it stands.
//
// The error is ErrClosed, a *PeerError, or one that matches ErrLost.
func (t *TCPAllocation) Dial(ctx context.Context, peer netip.AddrPort) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, &PeerError{peer, context.Cause(ctx)}
	}
	result := make(chan connected, 1)
	var id ConnID
	err := ErrClosed
	_ = t.a.c.loop.Do(func(now time.Time) { // of a closed loop, err says so
		if id, err = t.a.c.m.Connect(now, t.a.id, peer); err == nil {
			t.await(id, result)
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case r := <-result:
		return r.unpack()
	case <-ctx.Done():
		err = &PeerError{peer, context.Cause(ctx)}
	case <-t.a.closing:
		err = ErrClosed
	}
	t.await(id, nil)
	select {
	case r := <-result: // it came just now
		return r.unpack()
	default:
	}
	t.a.c.loop.Post(func(now time.Time) { t.a.c.m.CloseConn(now, id) })
	return nil, err
}

func (r connected) unpack() (net.Conn, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.conn, nil
}

// await makes result what is told of the connection; nil: nothing.
func (t *TCPAllocation) await(id ConnID, result chan<- connected) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if result == nil {
		delete(t.dials, id)
	} else {
		t.dials[id] = result
	}
}

// Accept is AcceptContext without a context.
func (t *TCPAllocation) Accept() (net.Conn, error) { return t.AcceptContext(context.Background()) }

// AcceptContext returns the next connection that a permitted peer makes to the relayed
// address: see Permit. The net.Conn is a *TCPConn. From the first call on, connections
// are taken from the server as they come, and up to 128 wait to be accepted; before,
// the server keeps each for 30 s.
//
// An allocation that is lost and made anew goes on to accept, at its new address:
// EventAllocated tells. While there is none, AcceptContext waits. The error is a
// *net.OpError with ErrClosed or ctx's error.
func (t *TCPAllocation) AcceptContext(ctx context.Context) (net.Conn, error) {
	if err := t.listen(); err != nil {
		return nil, t.a.opError("accept", err)
	}
	select {
	case c := <-t.accepted:
		return c, nil
	default:
	}
	select {
	case c := <-t.accepted:
		return c, nil
	case <-t.a.closing:
		return nil, t.a.opError("accept", ErrClosed)
	case <-ctx.Done():
		select {
		case c := <-t.accepted:
			return c, nil
		default:
			return nil, t.a.opError("accept", context.Cause(ctx))
		}
	}
}

// listen makes the machine take connections, if it does not yet.
func (t *TCPAllocation) listen() error {
	t.mu.Lock()
	listening := t.listening
	t.listening = true
	t.mu.Unlock()
	if t.a.isClosed() {
		return ErrClosed
	}
	if listening {
		return nil
	}
	err := ErrClosed
	_ = t.a.c.loop.Do(func(now time.Time) { err = t.a.c.m.Listen(now, t.a.id) }) // of a closed loop, err says so
	return err
}

// Permit asks the server to let connections of ip in, and returns once it does. The
// permission is kept until the allocation is closed. The error is that of
// [Allocation.Permit].
func (t *TCPAllocation) Permit(ctx context.Context, ip netip.Addr) error { return t.a.Permit(ctx, ip) }

// RelayedAddr returns the relayed address, the first of two. It may change when the
// allocation is lost and made anew: EventAllocated tells.
func (t *TCPAllocation) RelayedAddr() netip.AddrPort { return t.a.RelayedAddr() }

// RelayedAddrs returns the relayed addresses, one for each family. The caller owns the
// slice.
func (t *TCPAllocation) RelayedAddrs() []netip.AddrPort { return t.a.RelayedAddrs() }

// Addr returns the relayed address as a *net.TCPAddr.
func (t *TCPAllocation) Addr() net.Addr { return net.TCPAddrFromAddrPort(t.RelayedAddr()) }

// MappedAddr returns the server-reflexive address of the control connection.
func (t *TCPAllocation) MappedAddr() netip.AddrPort { return t.a.MappedAddr() }

// Server returns the endpoint that relays.
func (t *TCPAllocation) Server() Endpoint { return t.a.Server() }

// State returns where the allocation stands.
func (t *TCPAllocation) State() State { return t.a.State() }

// Events returns a channel of what happens to the allocation, as Allocation.Events does.
// EventConnected is told as a connection comes to stand, EventConnEnded of one that
// could not be had; what becomes of it later is its holder's to see.
func (t *TCPAllocation) Events() <-chan Event { return t.a.Events() }

// Close deletes the allocation at the server, waiting at most two seconds for the answer,
// and ends Accept and Dial. The server then closes the connections that were made by way
// of it (RFC 6062 section 5.5); whoever holds them closes them, too. The error says that
// the allocation may still stand there until it expires. Closing again returns the same.
func (t *TCPAllocation) Close() error { return t.a.Close() }

// shut closes what nobody will accept any more.
func (t *TCPAllocation) shut() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	for {
		select {
		case c := <-t.accepted:
			_ = c.Close() // nobody is left to tell
		default:
			return
		}
	}
}

// handle takes in what became of a connection, on the loop.
func (t *TCPAllocation) handle(e Event) {
	c := t.a.c
	if e.Kind == EventConnEnded {
		t.answer(e, nil, e.Err)
		return
	}
	c.m.DetachConn(e.Conn)
	c.wg.Go(func() { // it ends soon: the reader has stopped behind the last message
		raw, ok := c.loop.Detach(e.stream)
		if !ok {
			t.release(e.Conn)
			t.answer(e, nil, &PeerError{e.Peer, errBroke})
			return
		}
		tap := raw.(*streamTap) // as Client.dial made it
		tap.gone()
		t.answer(e, &TCPConn{netConn: tap.Conn, t: t, id: e.Conn, local: t.localFor(e.Peer), remote: e.Peer}, nil)
	})
}

// answer hands a connection, or why there is none, to whoever waits for it.
func (t *TCPAllocation) answer(e Event, conn *TCPConn, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dial := t.dials[e.Conn]
	delete(t.dials, e.Conn)
	switch {
	case dial != nil:
		dial <- connected{conn, err}
		return
	case conn == nil:
		return
	case e.Incoming && !t.closed:
		select {
		case t.accepted <- conn:
			return
		default: // as a listener does whose backlog is full
		}
	}
	t.a.c.wg.Go(func() { _ = conn.Close() }) // it may wait, and nobody is left to tell
}

func (t *TCPAllocation) release(id ConnID) {
	t.a.c.loop.Post(func(now time.Time) { t.a.c.m.CloseConn(now, id) })
}

// localFor is the relayed address that a peer sees.
func (t *TCPAllocation) localFor(peer netip.AddrPort) netip.AddrPort {
	for _, r := range t.RelayedAddrs() {
		if r.Addr().Is4() == peer.Addr().Is4() {
			return r
		}
	}
	return netip.AddrPort{}
}

var _ net.Listener = (*TCPAllocation)(nil)
