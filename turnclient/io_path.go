package turnclient

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/bradawl/bradawl/internal/wire"
)

// path is what reads and writes of one allocation use, past the loop: which peers are
// permitted, which channels stand, and where to send. The loop keeps it up to date.
type path struct {
	read chan *packet

	mu       sync.RWMutex
	out      sender // nil: there is no allocation
	df       bool   // Send indications carry DONT-FRAGMENT
	grants   map[netip.Addr]*grant
	routes   map[netip.AddrPort]*route
	channels map[uint16]*route

	heard, sent, wrote, armed atomic.Bool // for usage

	stats [numCounters]atomic.Uint64
}

// sender sends a message to the server, at once or not at all.
type sender interface {
	send(b []byte) error
	isStream() bool
}

// grant is a permission that stands.
type grant struct{ used atomic.Bool }

// route is how data gets to one peer that is permitted.
type route struct {
	addr    netip.AddrPort
	grant   *grant
	channel atomic.Uint32 // 0: none
	sends   atomic.Int32  // until a channel is asked for
	used    atomic.Bool
}

type counter int

const (
	countIn counter = iota
	countOut
	countOverrun // came in while ReadBuffer was full
	countDropped // waited in vain
	countUnsent  // the socket would not take it
	numCounters
)

func (p *path) count(c counter) { p.stats[c].Add(1) }

func newPath(readBuffer int) path {
	return path{
		read:   make(chan *packet, readBuffer),
		grants: make(map[netip.Addr]*grant), routes: make(map[netip.AddrPort]*route), channels: make(map[uint16]*route),
	}
}

// packet is a datagram that waits to be read.
type packet struct {
	from netip.AddrPort
	data []byte
}

var packets = sync.Pool{New: func() any { return &packet{data: make([]byte, 0, 1500)} }}

// buffers are for messages to the server.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1600); return &b }}

// mark sets a flag, writing to memory that others share only if it must.
func mark(b *atomic.Bool) {
	if !b.Load() {
		b.Store(true)
	}
}

// lookup returns the route to a permitted peer and where to send, or nil.
func (p *path) lookup(to netip.AddrPort) (r *route, out sender, df bool) {
	p.mu.RLock()
	r, out, df = p.routes[to], p.out, p.df
	p.mu.RUnlock()
	if r != nil || out == nil {
		return r, out, df
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.route(to), p.out, p.df
}

// route returns the route to a permitted peer, making it if need be.
func (p *path) route(to netip.AddrPort) *route {
	r, g := p.routes[to], p.grants[to.Addr()]
	if r != nil || g == nil || p.out == nil {
		return r
	}
	if len(p.routes) >= maxPeers { // of those without a channel nothing but counts is kept
		maps.DeleteFunc(p.routes, func(_ netip.AddrPort, r *route) bool { return r.channel.Load() == 0 })
	}
	if len(p.routes) < maxPeers {
		r = &route{addr: to, grant: g}
		p.routes[to] = r
	}
	return r
}

// write sends data to a peer that is permitted. wrote says that the machine wants to
// know of it; bind, that a channel should be bound.
func (p *path) write(r *route, out sender, data []byte, dontFragment bool, channelAfter int) (wrote, bind bool, err error) {
	buf := buffers.Get().(*[]byte)
	channel := uint16(r.channel.Load())
	if channel != 0 {
		*buf, err = wire.AppendChannelData((*buf)[:0], channel, data, out.isStream())
	} else {
		*buf, err = wire.AppendSend((*buf)[:0], wire.TransactionID{}, r.addr, data, dontFragment)
	}
	if err == nil {
		err = out.send(*buf)
	}
	buffers.Put(buf)
	if err != nil {
		p.count(countUnsent)
		return false, false, err
	}
	p.count(countOut)
	mark(&p.sent)
	mark(&p.wrote)
	mark(&r.used)
	mark(&r.grant.used)
	if channel == 0 && channelAfter > 0 {
		bind = int(r.sends.Add(1)) == channelAfter
	}
	return !p.armed.Load() && p.armed.CompareAndSwap(false, true), bind, nil
}

// take takes in a message of the server, if it is data that can be handed over: all
// else is for the machine.
func (p *path) take(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	if b[0] >= 4 {
		number, data, err := wire.DecodeChannelData(b)
		if err != nil {
			return false
		}
		p.mu.RLock()
		r := p.channels[number]
		known := r != nil && p.grants[r.addr.Addr()] != nil
		p.mu.RUnlock()
		if !known {
			return false
		}
		mark(&r.used)
		mark(&r.grant.used)
		p.deliver(r.addr, data)
		return true
	}
	from, data, ok := wire.DecodeData(b)
	if !ok {
		return false
	}
	p.mu.RLock()
	g := p.grants[from.Addr()]
	p.mu.RUnlock()
	if g == nil {
		return false
	}
	mark(&g.used)
	p.deliver(from, data)
	return true
}

func (p *path) deliver(from netip.AddrPort, data []byte) {
	mark(&p.heard)
	k := packets.Get().(*packet)
	k.from, k.data = from, append(k.data[:0], data...)
	select {
	case p.read <- k:
		p.count(countIn)
	default:
		packets.Put(k)
		p.count(countOverrun)
	}
}

// What the loop does to the path.

func (p *path) stand(out sender, df bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.out, p.df = out, df
}

// move takes in that the server is reached by another socket.
func (p *path) move(out sender) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = out
}

// fall takes in that there is no allocation.
func (p *path) fall() { p.stand(nil, false) }

func (p *path) clear() {
	clear(p.grants)
	clear(p.routes)
	clear(p.channels)
	p.armed.Store(false)
}

func (p *path) permit(ip netip.Addr, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch g := p.grants[ip]; {
	case ok && g == nil:
		p.grants[ip] = new(grant)
	case !ok && g != nil:
		delete(p.grants, ip)
		for to, r := range p.routes {
			if r.grant == g {
				delete(p.routes, to)
				delete(p.channels, uint16(r.channel.Load()))
			}
		}
	}
}

// retryChannel is after how many more datagrams a channel is asked for again that the
// server refused.
const retryChannel = 1024

func (p *path) bind(peer netip.AddrPort, number uint16, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.route(peer)
	if r == nil {
		return
	}
	delete(p.channels, uint16(r.channel.Load()))
	r.channel.Store(uint32(number))
	r.sends.Store(0)
	if refused {
		r.sends.Store(-retryChannel)
	}
	if number != 0 {
		p.channels[number] = r
	}
}

// usage is what the machine asks.

func (p *path) usedPermission(ip netip.Addr) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	g := p.grants[ip]
	return g != nil && g.used.Swap(false)
}

func (p *path) usedChannel(peer netip.AddrPort) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	r := p.routes[peer]
	return r != nil && r.used.Swap(false)
}
