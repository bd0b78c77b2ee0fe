package turnclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
)

// Allocation is a relayed address as a net.PacketConn: what is written leaves from it,
// what is read arrived at it. Its methods may be called from any goroutine.
type Allocation struct {
	c  *Client
	id AllocationID // the loop's until ready
	path
	tcp *TCPAllocation // that it is a part of; nil: it carries datagrams

	ready    chan error // of the first answer
	closing  chan struct{}
	released chan struct{}
	once     sync.Once
	relErr   error // read after released

	readDeadline  deadline
	writeDeadline netio.WriteDeadline

	events chan Event
	missed int // the loop's

	infoMu  sync.Mutex
	state   State // guarded by infoMu, as are the rest
	relayed []netip.AddrPort
	mapped  netip.AddrPort
	server  Endpoint
	token   []byte
	waiters map[netip.Addr][]chan error
}

// eventQueue is how many events wait for whoever takes them.
const eventQueue = 64

func newAllocationShell(c *Client) *Allocation {
	return &Allocation{
		c: c, path: newPath(c.cfg.ReadBuffer), ready: make(chan error, 1),
		closing: make(chan struct{}), released: make(chan struct{}), readDeadline: newDeadline(),
		events: make(chan Event, eventQueue), waiters: make(map[netip.Addr][]chan error),
	}
}

// Format implements fmt.Formatter: nothing secret is shown.
func (a *Allocation) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "turnclient.Allocation{%v, %v}", a.RelayedAddr(), a.State())
}

// handle takes in an event, on the loop.
func (a *Allocation) handle(e Event) {
	switch e.Kind {
	case EventData:
		a.deliver(e.Peer, e.Data)
		return
	case EventConnected, EventConnEnded:
		a.tcp.handle(e)
	case EventState:
		if e.State == Allocating || e.State == Failed || e.State == Closed {
			a.fall()
		}
		if e.State == Failed {
			a.settleWith(e.Err)
			a.wake(netip.Addr{}, e.Err)
		}
	case EventPermission:
		a.permit(e.Peer.Addr(), e.Err == nil)
		a.wake(e.Peer.Addr(), e.Err)
	case EventDropped:
		a.stats[countDropped].Add(uint64(e.Lost.Datagrams))
	case EventChannel:
		a.bind(e.Peer, e.Channel, e.Err != nil)
	case EventReleased:
		a.relErr = e.Err
		a.settleWith(ErrClosed)
		a.wake(netip.Addr{}, ErrClosed)
		defer close(a.released)
		defer close(a.events)
	}
	a.infoMu.Lock()
	a.state = e.State
	if e.Kind == EventAllocated {
		a.relayed, a.mapped, a.server, a.token = e.Relayed, e.Mapped, e.Server, e.Reservation
	}
	if e.Kind == EventMoved {
		a.mapped = netip.AddrPort{}
	}
	a.infoMu.Unlock()
	if e.Kind == EventAllocated {
		a.settleWith(nil)
	}
	a.publish(e)
}

func (a *Allocation) settleWith(err error) {
	select {
	case a.ready <- err:
	default: // it has stood before
	}
}

// publish hands an event to the user, in place of the oldest if nobody takes them.
func (a *Allocation) publish(e Event) {
	e.Relayed = slices.Clone(e.Relayed)
	for {
		e.Missed = a.missed
		select {
		case a.events <- e:
			a.missed = 0
			return
		default:
		}
		select {
		case <-a.events:
			a.missed++
		default:
		}
	}
}

// wake tells those who wait for a permission; the zero Addr: for any.
func (a *Allocation) wake(ip netip.Addr, err error) {
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	for at, waiting := range a.waiters {
		if ip == at || !ip.IsValid() {
			for _, w := range waiting {
				w <- err // it has room for one
			}
			delete(a.waiters, at)
		}
	}
}

// RelayedAddr returns the relayed address, the first of two. It may change when the
// allocation is lost and made anew: EventAllocated tells.
func (a *Allocation) RelayedAddr() netip.AddrPort {
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	if len(a.relayed) == 0 {
		return netip.AddrPort{}
	}
	return a.relayed[0]
}

// RelayedAddrs returns the relayed addresses, one for each family. The caller owns the
// slice.
func (a *Allocation) RelayedAddrs() []netip.AddrPort {
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	return slices.Clone(a.relayed)
}

// Reservation returns the token for the next port, if Options.Reserve asked for one:
// Options.Token of an allocation made within 30 seconds takes it. The caller owns it.
func (a *Allocation) Reservation() []byte {
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	return slices.Clone(a.token)
}

// MappedAddr returns the server-reflexive address of the allocation's socket. It is not
// valid after the allocation has moved (EventMoved), for the server does not tell.
func (a *Allocation) MappedAddr() netip.AddrPort {
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	return a.mapped
}

// Server returns the endpoint that relays.
func (a *Allocation) Server() Endpoint {
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	return a.server
}

// State returns where the allocation stands.
func (a *Allocation) State() State {
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	return a.state
}

// Events returns a channel of what happens to the allocation; it is closed after
// EventReleased. 64 events wait to be taken, then the oldest go: Event.Missed counts
// them.
func (a *Allocation) Events() <-chan Event { return a.events }

// Observe tells of a measurement of the path to the server that the caller made, as by
// pings of its own through the relay: a round trip, or a loss. It helps to see
// congestion (Congested), which too few requests of the client's own would show.
func (a *Allocation) Observe(trip time.Duration, lost bool) {
	a.c.loop.Post(func(now time.Time) { a.c.m.Observe(now, a.id, trip, lost) })
}

// Stats counts datagrams of an allocation.
type Stats struct {
	In      uint64 // handed to ReadFrom's queue
	Out     uint64 // handed to the socket, or kept until the peer is permitted
	Dropped uint64 // of those kept, dropped in the end; EventDropped says why
	Overrun uint64 // came in and were dropped, because nobody read
	Unsent  uint64 // not taken by the socket; the write said so
}

// Stats returns the counts so far.
func (a *Allocation) Stats() Stats {
	load := func(c counter) uint64 { return a.stats[c].Load() }
	return Stats{In: load(countIn), Out: load(countOut), Dropped: load(countDropped), Overrun: load(countOverrun), Unsent: load(countUnsent)}
}

// Permit asks the server to let data of ip in, and returns once it does. Writing to a
// peer does the same by itself. The permission is kept while data comes or goes. The error
// is a *PeerError, which matches ErrLost, ErrClosed or the cause of ctx where that is why.
func (a *Allocation) Permit(ctx context.Context, ip netip.Addr) error {
	ip = ip.Unmap()
	result := make(chan error, 1)
	a.infoMu.Lock()
	a.waiters[ip] = append(a.waiters[ip], result)
	a.infoMu.Unlock()
	var err error
	if a.c.loop.Do(func(now time.Time) { err = a.c.m.Permit(now, a.id, ip) }) != nil {
		err = ErrClosed
	}
	if err == nil {
		select {
		case err = <-result:
			return err
		default:
		}
		select {
		case err = <-result:
			return err
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-a.closing:
			err = ErrClosed
		}
	}
	a.infoMu.Lock()
	defer a.infoMu.Unlock()
	a.waiters[ip] = slices.DeleteFunc(a.waiters[ip], func(w chan error) bool { return w == result })
	if len(a.waiters[ip]) == 0 {
		delete(a.waiters, ip)
	}
	var named *PeerError
	if errors.As(err, &named) {
		return err
	}
	return &PeerError{netip.AddrPortFrom(ip, 0), err}
}

// WriteToUDPAddrPort sends b to a peer by way of the server, without waiting. The first
// datagrams to a new IP are kept until the server permits it; if it does not, EventDropped
// says so, not the writes that are done by then. Permit asks beforehand.
//
// The error is ErrClosed, os.ErrDeadlineExceeded, a *PeerError, which concerns this
// peer only, one that matches ErrLost while there is no allocation to send by, or the
// socket's.
func (a *Allocation) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if a.writeDeadline.Passed() {
		return 0, a.opError("write", os.ErrDeadlineExceeded)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	r, out, df := a.lookup(to)
	if r == nil || len(b) > maxPayload || to.Port() == 0 {
		return a.writeSlowly(b, to)
	}
	wrote, bind, err := a.write(r, out, b, df, a.c.m.cfg.ChannelAfter)
	if err != nil {
		return 0, a.opError("write", err)
	}
	if wrote || bind {
		a.tellWrote(wrote, bind, to)
	}
	return len(b), nil
}

func (a *Allocation) tellWrote(wrote, bind bool, to netip.AddrPort) {
	a.c.loop.Post(func(now time.Time) {
		if wrote {
			a.c.m.Wrote(now, a.id)
		}
		if bind {
			a.c.m.Bind(now, a.id, to)
		}
	})
}

// writeSlowly lets the machine send b, or keep it.
func (a *Allocation) writeSlowly(b []byte, to netip.AddrPort) (int, error) {
	var err error
	if a.c.loop.Do(func(now time.Time) { err = a.c.m.Send(now, a.id, to, b) }) != nil {
		err = ErrClosed
	}
	if err != nil {
		return 0, a.opError("write", err)
	}
	a.count(countOut)
	return len(b), nil
}

// WriteTo is WriteToUDPAddrPort for a *net.UDPAddr.
func (a *Allocation) WriteTo(b []byte, to net.Addr) (int, error) {
	at := netio.AddrPortOf(to)
	if !at.IsValid() {
		return 0, a.opError("write", fmt.Errorf("%v is no IP address with port; use a *net.UDPAddr", to))
	}
	return a.WriteToUDPAddrPort(b, at)
}

// ReadFromUDPAddrPort reads the next datagram of a permitted peer into b and returns
// its length and the peer; what does not fit into b is lost.
//
// The error is ErrClosed or os.ErrDeadlineExceeded.
func (a *Allocation) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	var p *packet
	expired := a.readDeadline.wait()
	select {
	case <-expired:
		return 0, netip.AddrPort{}, a.readEnded()
	default:
	}
	select {
	case p = <-a.read:
	default:
		for p == nil {
			select {
			case p = <-a.read:
			case <-expired:
				// It may have been moved, which makes another channel.
				if again := a.readDeadline.wait(); again != expired {
					expired = again
					continue
				}
				return 0, netip.AddrPort{}, a.readEnded()
			}
		}
	}
	n, from := copy(b, p.data), p.from
	packets.Put(p)
	return n, from, nil
}

// ReadFrom is ReadFromUDPAddrPort with a *net.UDPAddr.
func (a *Allocation) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := a.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// LocalAddr returns the relayed address as a *net.UDPAddr.
func (a *Allocation) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(a.RelayedAddr()) }

// SetDeadline sets both deadlines.
func (a *Allocation) SetDeadline(t time.Time) error {
	return errors.Join(a.SetReadDeadline(t), a.SetWriteDeadline(t))
}

// SetReadDeadline makes reads fail from t on, those that wait included; zero: never.
func (a *Allocation) SetReadDeadline(t time.Time) error {
	if a.isClosed() {
		return a.opError("set", ErrClosed)
	}
	a.readDeadline.set(t)
	return nil
}

// SetWriteDeadline makes writes fail from t on; zero: never. No write waits.
func (a *Allocation) SetWriteDeadline(t time.Time) error {
	if a.isClosed() {
		return a.opError("set", ErrClosed)
	}
	a.writeDeadline.Set(t)
	return nil
}

// Close deletes the allocation at the server, waiting at most two seconds for the
// answer, and unblocks reads. The error says that it may still stand there until it
// expires. Closing again returns the same.
func (a *Allocation) Close() error {
	a.end()
	if a.c.loop.Do(func(now time.Time) { a.c.m.Close(now, a.id) }) != nil {
		return nil // the client was closed, and this with it
	}
	select {
	case <-a.released:
		return a.relErr
	case <-a.c.loop.Done():
		return nil
	}
}

// abandon closes the allocation without waiting; Client.Close waits for it.
func (a *Allocation) abandon() {
	a.end()
	a.c.loop.Post(func(now time.Time) { a.c.m.Close(now, a.id) })
}

func (a *Allocation) end() {
	a.once.Do(func() {
		close(a.closing)
		a.readDeadline.end()
		if a.tcp != nil {
			a.tcp.shut()
		}
	})
}

func (a *Allocation) isClosed() bool {
	select {
	case <-a.closing:
		return true
	default:
		return false
	}
}

// readEnded says why reads fail.
func (a *Allocation) readEnded() error {
	if a.isClosed() {
		return a.opError("read", ErrClosed)
	}
	return a.opError("read", os.ErrDeadlineExceeded)
}

func (a *Allocation) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "turn", Err: err}
}

var _ interface {
	net.PacketConn
	netio.AddrPortReader
	netio.AddrPortWriter
} = (*Allocation)(nil)
