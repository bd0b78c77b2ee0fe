package drive_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// pinger sends a numbered ping to remote every interval and answers pings; it
// counts what happens. It is the toy that the loop is tested with.
type pinger struct {
	remote   netip.AddrPort // zero: only answers
	interval time.Duration
	next     time.Time

	sent    uint32
	out     []machine.Transmit
	events  []string
	polled  int // of out; kept apart so that out can be reused
	buf     [8][5]byte
	notices []machine.Notice
	got     []machine.Datagram // Data copied

	onTimeout func(now time.Time)
}

func (p *pinger) HandleDatagram(now time.Time, d machine.Datagram) {
	keep := d
	keep.Data = append([]byte(nil), d.Data...)
	p.got = append(p.got, keep)
	switch {
	case len(d.Data) == 5 && d.Data[0] == 'q':
		p.send(d.Socket, d.Remote, 'r', binary.BigEndian.Uint32(d.Data[1:]))
	case len(d.Data) == 5 && d.Data[0] == 'r':
		p.events = append(p.events, "pong")
	}
}

func (p *pinger) HandleTimeout(now time.Time) {
	if p.onTimeout != nil {
		p.onTimeout(now)
	}
	if p.next.IsZero() || now.Before(p.next) {
		return
	}
	p.next = now.Add(p.interval)
	p.sent++
	p.send(0, p.remote, 'q', p.sent)
}

func (p *pinger) send(s machine.SocketID, to netip.AddrPort, kind byte, n uint32) {
	b := &p.buf[len(p.out)]
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], n)
	p.out = append(p.out, machine.Transmit{Socket: s, Remote: to, Data: b[:]})
}

func (p *pinger) HandleNotice(now time.Time, n machine.Notice) { p.notices = append(p.notices, n) }

func (p *pinger) NextTimeout() time.Time { return p.next }

func (p *pinger) PollTransmit() (machine.Transmit, bool) {
	if p.polled == len(p.out) {
		p.out, p.polled = p.out[:0], 0
		return machine.Transmit{}, false
	}
	p.polled++
	return p.out[p.polled-1], true
}

func (p *pinger) PollEvent() (string, bool) {
	if len(p.events) == 0 {
		return "", false
	}
	e := p.events[0]
	p.events = p.events[1:]
	return e, true
}

// pipe is an in-memory net.PacketConn that blocks on channels only, so that it
// works inside testing/synctest. What it is sent goes to peer.
type pipe struct {
	local netip.AddrPort
	peer  *pipe
	in    chan datagram

	mu       sync.Mutex
	deadline chan struct{} // closed when it has passed
	passed   bool
	closed   chan struct{}
	once     sync.Once
	fail     chan error // reads fail with what is sent here
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

func newPipe(local string) *pipe {
	return &pipe{
		local:    netip.MustParseAddrPort(local),
		in:       make(chan datagram, 128),
		deadline: make(chan struct{}),
		closed:   make(chan struct{}),
		fail:     make(chan error),
	}
}

func newPipes(a, b string) (*pipe, *pipe) {
	pa, pb := newPipe(a), newPipe(b)
	pa.peer, pb.peer = pb, pa
	return pa, pb
}

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	deadline := p.deadline
	p.mu.Unlock()
	select {
	case <-p.closed:
		return 0, nil, net.ErrClosed
	case <-deadline:
		return 0, nil, os.ErrDeadlineExceeded
	case err := <-p.fail:
		return 0, nil, err
	case d := <-p.in:
		return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
	}
}

func (p *pipe) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
	}
	if p.peer == nil || to.String() != p.peer.local.String() {
		return len(b), nil // lost
	}
	select {
	case p.peer.in <- datagram{p.local, append([]byte(nil), b...)}:
	default: // lost
	}
	return len(b), nil
}

// SetReadDeadline knows only "has passed" and "none", which is what the loop uses.
func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	past := !t.IsZero() && !t.After(time.Now())
	switch {
	case past && !p.passed:
		close(p.deadline)
	case !past && p.passed:
		p.deadline = make(chan struct{})
	}
	p.passed = past
	return nil
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipe) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

func (p *pipe) hasDeadline() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed
}

func (p *pipe) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(p.local) }
func (p *pipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
