package main

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/bradawl/bradawl"
)

// endpoint is a WireGuard endpoint: a PeerID. Where the peer is at the moment is the
// connection's business, so that WireGuard sees nobody move.
type endpoint struct{ peer bradawl.PeerID }

func (endpoint) ClearSrc()             {}
func (endpoint) SrcToString() string   { return "" }
func (endpoint) SrcIP() netip.Addr     { return netip.Addr{} }
func (e endpoint) DstToString() string { return e.peer.String() }
func (e endpoint) DstToBytes() []byte  { return e.peer.Bytes() }

// DstIP is what handshakes are counted by, to limit their rate: one for each peer.
func (e endpoint) DstIP() netip.Addr { return netip.AddrFrom16([16]byte(e.peer.Bytes())) }

// bind is WireGuard's socket: it sends over connections to peers, which it dials when there is
// something to send, and takes those of peers that dial the session.
type bind struct {
	s *bradawl.Session

	mu   sync.Mutex
	open *opened // nil: it is closed
}

const (
	maxWaiting = 16  // packets to a peer that is being dialled; WireGuard sends again what matters
	batch      = 64  // packets that WireGuard takes at once
	queue      = 256 // packets that wait to be taken

	// After a dial that failed none begins for a while, twice as long each time: WireGuard goes
	// on sending, and each dial asks the rendezvous.
	minPause, maxPause = time.Second, 30 * time.Second
)

// opened is a bind between Open and Close.
type opened struct {
	s      *bradawl.Session
	call   func(context.Context, bradawl.PeerID) (*bradawl.Conn, error) // s.Dial
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	in     chan *packet

	mu      sync.Mutex
	conns   map[bradawl.PeerID]*bradawl.Conn // the last one to each peer
	waiting map[bradawl.PeerID][][]byte      // for a dial
	failed  map[bradawl.PeerID]pause         // what was dialled in vain since the last connection
}

// pause is a time without dials.
type pause struct {
	long  time.Duration
	until time.Time
}

type packet struct {
	from bradawl.PeerID
	size int
	data [bradawl.MaxDatagram]byte
}

var packets = sync.Pool{New: func() any { return new(packet) }}

// Open implements conn.Bind. A session has no port to ask for.
func (b *bind) Open(uint16) ([]wgconn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != nil {
		return nil, 0, wgconn.ErrBindAlreadyOpen
	}
	o := newOpened(b.s)
	o.wg.Go(o.accept)
	b.open = o
	return []wgconn.ReceiveFunc{o.receive}, 0, nil
}

func newOpened(s *bradawl.Session) *opened {
	o := &opened{
		s: s, call: s.Dial, in: make(chan *packet, queue),
		conns: make(map[bradawl.PeerID]*bradawl.Conn), waiting: make(map[bradawl.PeerID][][]byte), failed: make(map[bradawl.PeerID]pause),
	}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// Close implements conn.Bind.
func (b *bind) Close() error {
	b.mu.Lock()
	o := b.open
	b.open = nil
	b.mu.Unlock()
	if o != nil {
		o.mu.Lock() // no dial begins from here on
		o.cancel()
		o.mu.Unlock()
		o.wg.Wait()
	}
	return nil
}

// Send implements conn.Bind. It does not wait.
func (b *bind) Send(bufs [][]byte, ep wgconn.Endpoint) error {
	to, ok := ep.(endpoint)
	if !ok {
		return wgconn.ErrWrongEndpointType
	}
	b.mu.Lock()
	o := b.open
	b.mu.Unlock()
	if o == nil {
		return net.ErrClosed
	}
	c := o.connTo(to.peer, bufs)
	if c == nil {
		return nil // they wait
	}
	return write(c, bufs)
}

func write(c *bradawl.Conn, bufs [][]byte) (err error) {
	for _, b := range bufs {
		if _, wrong := c.Write(b); wrong != nil {
			err = wrong // what is lost is lost; the next ones may not be
		}
	}
	return err
}

// path is how the peer is reached.
func (b *bind) path(peer bradawl.PeerID) bradawl.Path {
	b.mu.Lock()
	o := b.open
	b.mu.Unlock()
	if o == nil {
		return bradawl.Path{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.conns[peer]; c != nil {
		return c.Path()
	}
	return bradawl.Path{}
}

// connTo returns the connection to a peer. Where there is none, it keeps the packets, dials,
// and returns nil; so soon after a dial that failed, the packets are lost.
func (o *opened) connTo(peer bradawl.PeerID, bufs [][]byte) *bradawl.Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.conns[peer]; c != nil {
		return c
	}
	waiting, dialling := o.waiting[peer]
	if !dialling && time.Now().Before(o.failed[peer].until) {
		return nil
	}
	for _, b := range bufs[:min(len(bufs), maxWaiting-len(waiting))] {
		waiting = append(waiting, append([]byte(nil), b...)) // b is WireGuard's
	}
	o.waiting[peer] = waiting
	if !dialling && o.ctx.Err() == nil {
		o.wg.Go(func() { o.dial(peer) })
	}
	return nil
}

func (o *opened) dial(peer bradawl.PeerID) {
	c, err := o.call(o.ctx, peer)
	if err == nil {
		o.take(c)
	}
	o.mu.Lock()
	waiting := o.waiting[peer]
	delete(o.waiting, peer)
	if err != nil {
		c = o.conns[peer] // the peer may have dialled meanwhile
	}
	if c == nil {
		long := min(max(minPause, 2*o.failed[peer].long), maxPause)
		o.failed[peer] = pause{long, time.Now().Add(long)}
	}
	o.mu.Unlock()
	if c != nil {
		_ = write(c, waiting)
	}
}

// accept takes the connections of peers that dial. Whether they may is asked of the session's
// AllowPeer, and of WireGuard, which knows their keys.
func (o *opened) accept() {
	for {
		c, err := o.s.Accept(o.ctx)
		if err != nil {
			return
		}
		o.take(c)
	}
}

// take makes a connection the one to its peer. If both sides have dialled at once there are
// two: each side sends on its last one, and reads both.
func (o *opened) take(c *bradawl.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conns[c.Peer()] = c
	delete(o.failed, c.Peer())
	o.wg.Go(func() { o.read(c) })
}

func (o *opened) read(c *bradawl.Conn) {
	defer context.AfterFunc(o.ctx, func() { c.Close() })()
	for {
		p := packets.Get().(*packet)
		var err error
		if p.size, err = c.Read(p.data[:]); err != nil {
			break
		}
		p.from = c.Peer()
		select {
		case o.in <- p:
		case <-o.ctx.Done():
		}
	}
	c.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns[c.Peer()] == c {
		delete(o.conns, c.Peer())
	}
}

// receive is the ReceiveFunc: it waits for one packet, and takes what else there is.
func (o *opened) receive(bufs [][]byte, sizes []int, eps []wgconn.Endpoint) (n int, err error) {
	for n < len(bufs) {
		var p *packet
		if n > 0 {
			select {
			case p = <-o.in:
			default:
				return n, nil
			}
		} else {
			select {
			case p = <-o.in:
			case <-o.ctx.Done():
				return 0, net.ErrClosed
			}
		}
		sizes[n], eps[n] = copy(bufs[n], p.data[:p.size]), endpoint{p.from}
		packets.Put(p)
		n++
	}
	return n, nil
}

// ParseEndpoint implements conn.Bind: "endpoint=" is followed by a PeerID.
func (*bind) ParseEndpoint(s string) (wgconn.Endpoint, error) {
	peer, err := bradawl.ParsePeerID(s)
	return endpoint{peer}, err
}

// SetMark implements conn.Bind, for which sessions have no use.
func (*bind) SetMark(uint32) error { return nil }

// BatchSize implements conn.Bind.
func (*bind) BatchSize() int { return batch }
