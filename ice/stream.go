package ice

import (
	"errors"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// stream is a TCP connection of a pair (RFC 6544), or one that came in and has not said
// yet whose it is. Everything on it is framed (RFC 4571).
type stream struct {
	m      *Machine
	id     machine.StreamID
	base   *base
	local  netip.AddrPort // once it stands
	remote netip.AddrPort
	pair   *pair
	held   bool // a check on it waits for the peer's credentials
	up     bool
	in     wire.Deframer
	timer  machine.Timer // until the first check
}

const (
	// strangers is how many connections may be there that have not said whose they are.
	strangers = 64
	// strangerTime is how long they have for it.
	strangerTime = 5 * time.Second
	// redialGap is the time, +-50 %, between two dials of a pair that opens simultaneously,
	// where a refusal only says that the other side's has not crossed ours. It must not
	// grow: each SYN holds the way open for no longer than a round trip.
	redialGap = 50 * time.Millisecond
	// reopenMost is what the time between two dials of a connection that broke grows to.
	reopenMost = time.Second
)

var (
	errNotICE = errors.New("what came first on the connection is no check")
	errHungUp = errors.New("the peer closed the connection")
)

// connected reports whether the pair has a connection; if not, one is dialled.
func (p *pair) connected(now time.Time) bool {
	if p.stream != nil {
		return p.stream.up
	}
	m := p.g.a.m
	m.nextStream++
	s := &stream{m: m, id: m.nextStream, base: p.base, remote: p.remote.addr, pair: p}
	m.streams[s.id] = s
	p.stream = s
	p.next = time.Time{}
	m.out.Push(machine.Transmit{Op: machine.Dial, Stream: s.id, Local: p.base.addr, Remote: p.remote.addr})
	return false
}

// hangUp ends the pair's connection.
func (p *pair) hangUp() {
	if s := p.stream; s != nil {
		p.stream = nil
		s.close()
	}
}

func (s *stream) close() {
	if !s.gone() {
		s.forget()
		s.m.out.Push(machine.Transmit{Op: machine.Close, Stream: s.id})
	}
}

// gone reports whether the connection has ended.
func (s *stream) gone() bool { return s.m.streams[s.id] != s }

// drop ends a connection without waiting for what was written.
func (s *stream) drop() {
	s.forget()
	s.m.out.Push(machine.Transmit{Op: machine.Reset, Stream: s.id})
}

func (s *stream) forget() {
	delete(s.m.streams, s.id)
	s.m.timers.Stop(&s.timer)
}

// write sends one frame.
func (s *stream) write(b []byte) {
	if !s.up {
		return
	}
	framed, err := wire.AppendFrame(nil, b)
	if err != nil {
		return // longer than any message of ours, and than Send takes
	}
	s.m.out.Push(machine.Transmit{Op: machine.Write, Stream: s.id, Data: framed})
}

// belongsTo reports whether a check of g may come on s: one connection is one pair's.
func (s *stream) belongsTo(g *generation) bool { return s.pair == nil || s.pair.g == g }

// streamNotice takes in what happened to a connection.
func (m *Machine) streamNotice(now time.Time, n machine.Notice) {
	s := m.streams[n.Stream]
	switch {
	case n.Kind == machine.Accepted:
		m.accept(now, n)
	case s == nil:
	case n.Kind == machine.Connected && !s.up:
		s.up, s.local = true, n.Local
		p := s.pair
		p.schedule(now)
		p.request(now, p.g.nominating == p)
		p.g.a.settle(now)
	case n.Kind == machine.Received:
		s.received(now, n.Data)
	case n.Kind == machine.Closed:
		err := n.Err
		if err == nil {
			err = errHungUp
		}
		s.lost(now, err)
	}
}

// accept takes in a connection to one of the passive bases.
func (m *Machine) accept(now time.Time, n machine.Notice) {
	b := m.listening(n.Local)
	waiting := 0
	for _, s := range m.streams {
		if s.pair == nil && !s.held {
			waiting++
		}
	}
	if b == nil || waiting >= strangers {
		m.out.Push(machine.Transmit{Op: machine.Reset, Stream: n.Stream})
		return
	}
	s := &stream{m: m, id: n.Stream, base: b, local: n.Local, remote: n.Remote, up: true}
	m.streams[s.id] = s
	s.timer.Fire = func(time.Time) { s.close() }
	m.timers.Set(&s.timer, now.Add(strangerTime))
}

// listening returns the base that takes connections at an address.
func (m *Machine) listening(at netip.AddrPort) *base {
	for _, b := range m.bases {
		if b.TCPType != Active && b.Transport == TCP && b.addr == at {
			return b
		}
	}
	return nil
}

func (s *stream) received(now time.Time, b []byte) {
	m := s.m
	s.in.Feed(b)
	for frame, ok := s.in.Next(); ok; frame, ok = s.in.Next() {
		ours := m.message(now, path{s.base, s.remote, s}, machine.Datagram{Local: s.base.addr, Remote: s.remote, Data: frame})
		switch p := s.pair; {
		case s.gone():
			return // closed by what came
		case p == nil && !s.held:
			s.close() // no peer's
			return
		case p != nil && !p.open && !ours:
			p.g.mistaken(now, p.remote)
			return
		}
	}
}

// mistaken fails all pairs with what is apparently none of the peer's addresses (RFC 6544
// section 7.1).
func (g *generation) mistaken(now time.Time, r *remote) {
	for _, p := range g.pairs {
		if p.remote == r && p.state != PairFailed {
			p.fail(now, errNotICE)
		}
	}
	g.a.settle(now)
}

// lost takes in that a connection is gone.
func (s *stream) lost(now time.Time, err error) {
	s.forget()
	p := s.pair
	if p == nil || p.stream != s {
		return
	}
	g := p.g
	broke := p.valid && p == g.a.selected && g == g.a.cur
	switch {
	case p.state == InProgress && p.opens() && (p.redials > 0 || p.base.TCPType == SimultaneousOpen):
		p.redial(now, err)
	case p.state != PairFailed:
		p.fail(now, err)
	}
	// RFC 6544 section 11.1: whoever has opened the connection opens another, which is
	// checked anew; the other side waits for it, as long as there would be consent.
	if broke {
		p.await = p.heard.Add(consentLife)
		if g.a.cfg.Consent < 0 {
			p.await = now.Add(consentLife)
		}
	}
	if broke && p.opens() {
		p.state, p.first = InProgress, now
		p.redial(now, err)
	}
	g.a.settle(now)
}

// opens reports whether the pair's connections are opened by us.
func (p *pair) opens() bool { return p.base.TCPType != Passive && !p.remote.learned }

// redial makes the pair open another connection, the later the more often it has.
func (p *pair) redial(now time.Time, err error) {
	gap := redialGap/2 + time.Duration(p.g.a.m.random.Int64N(int64(redialGap)))
	if p.base.TCPType != SimultaneousOpen {
		gap = min(redialGap<<min(p.redials, 10)-redialGap, reopenMost)
	}
	p.redials++
	p.stream, p.err, p.next = nil, err, now.Add(gap)
}

// replaceSilent opens another connection for the one in use when the peer does not answer
// on it any more, as after a NAT has forgotten it: TCP itself would take minutes to see
// that.
func (a *agent) replaceSilent(now time.Time) {
	if p := a.selected; p != nil && p.g == a.cur && p.stream != nil && p.opens() && p.silent(now) {
		p.stream.drop()
		p.stream.lost(now, ErrSilent)
	}
}
