package bradawl

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/wire"
)

// letter is one datagram of the user's and what became of it.
type letter struct {
	from, to  *simPeer
	text      string
	at        time.Time
	refused   error // send's
	arrived   time.Time
	direct    bool // it came by no relay
	delivered int

	copies  int    // on their way, or ended
	ended   int    // dropped in the network
	inRelay int    // taken by the TURN server, and not sent on
	reached int    // the peer's host
	why     string // the last of them was dropped
}

// ledger follows every datagram of the user's through the world: what was sent was
// delivered once, refused, or lost somewhere that can be named.
type ledger struct {
	w       *world
	all     []*letter
	byKey   map[string]*letter
	byText  map[string]*letter
	strange []string // delivered, though nobody sent it
}

// keep begins to follow datagrams.
func (w *world) keep() *ledger {
	l := &ledger{w: w, byKey: make(map[string]*letter), byText: make(map[string]*letter)}
	w.ledger = l
	w.OnTrace(l.trace)
	return l
}

// sendOn sends one datagram of the user's by a connection.
func (p *simPeer) sendOn(number uint32, text string) *letter {
	var mail *letter
	p.do(func(now time.Time) {
		mail = &letter{from: p, text: text, at: p.w.Now()}
		l, k := p.w.ledger, p.conns[number]
		if l != nil {
			if l.byText[text] != nil {
				p.w.t.Fatalf("%q is sent twice", text)
			}
			if k != nil && k.keys != nil {
				l.byKey[keyOf(k.theirs, k.keys.Sent()+1)] = mail
			}
			l.all, l.byText[text] = append(l.all, mail), mail
		}
		mail.refused = p.send(now, number, []byte(text))
	})
	return mail
}

func keyOf(index uint32, counter uint64) string { return fmt.Sprint(index, counter) }

// sealedIn returns the key of the datagram of a user's that a packet carries.
func sealedIn(p *simnet.Packet) string {
	if p.Proto != simnet.UDP || p.Error != nil {
		return ""
	}
	b := p.Data
	if _, data, err := wire.DecodeChannelData(b); err == nil {
		b = data
	} else if wire.IsSTUN(b) {
		var m wire.Message
		if m.Decode(b) != nil {
			return ""
		}
		b, _ = m.Get(wire.AttrData)
	}
	index, ok := seal.Index(b)
	if !ok || b[0]>>1 != 2 { // kind Data
		return ""
	}
	var n uint64
	for _, c := range b[4:12] {
		n = n<<8 | uint64(c)
	}
	return keyOf(index, n)
}

func (l *ledger) trace(e simnet.TraceEvent) {
	if e.Packet == nil {
		return
	}
	m := l.byKey[sealedIn(e.Packet)]
	if m == nil {
		return
	}
	switch {
	case e.What == "send" && e.Where == "turn":
		m.inRelay--
	case e.What == "send":
		m.copies++
	case e.What == "recv" && e.Where == "turn":
		m.inRelay++
	case e.What == "recv":
		m.reached++
		if m.arrived.IsZero() {
			m.arrived = e.At
			m.direct = !slices.Contains(turnAddrs, e.Packet.Src.Addr())
		}
	case e.What == "drop":
		m.ended++
		m.why = e.Reason
	}
}

func (l *ledger) delivered(to *simPeer, text string) {
	m := l.byText[text]
	if m == nil {
		l.strange = append(l.strange, text)
		return
	}
	m.to = to
	m.delivered++
}

// tally is what became of all datagrams.
type tally struct {
	sent, delivered int
	refused         map[string]int // by the error of send
	lost            map[string]int // by where
}

func (t tally) String() string {
	return fmt.Sprintf("%d sent = %d delivered + %v refused + %v lost", t.sent, t.delivered, t.refused, t.lost)
}

// settle fails the test unless every datagram is accounted for. Nothing may be under way.
func (l *ledger) settle() tally {
	w := l.w
	w.t.Helper()
	t := tally{sent: len(l.all), refused: make(map[string]int), lost: make(map[string]int)}
	if len(l.strange) > 0 {
		w.fail("%d datagrams were delivered that nobody sent: %.60q", len(l.strange), l.strange)
	}
	for _, m := range l.all {
		switch {
		case m.delivered > 1:
			w.fail("%q was delivered %d times", m.text, m.delivered)
		case m.delivered == 1 && m.to == m.from:
			w.fail("%q was delivered to its sender", m.text)
		case m.delivered == 1:
			t.delivered++
		case m.refused != nil:
			t.refused[m.refused.Error()]++
		case m.copies == 0:
			t.lost["not sent"]++ // the relay's client has dropped it, or there was no route
		case m.reached > 0:
			t.lost["at the peer's host"]++ // which does not know the connection
		case m.ended+m.inRelay >= m.copies && m.ended > 0:
			t.lost[m.why]++
		case m.ended+m.inRelay >= m.copies:
			t.lost["at the relay"]++
		default:
			w.fail("%q: of %d copies %d were dropped, %d are at the relay and %d arrived", m.text, m.copies, m.ended, m.inRelay, m.reached)
		}
	}
	return t
}

// chat sends a datagram each way every gap, until the time is over.
func (w *world) chat(d, every time.Duration) {
	w.t.Helper()
	for end := w.Now().Add(d); w.Now().Before(end); w.Run(every) {
		for _, p := range w.peers[:2] {
			text := fmt.Sprintf("%s%d", p.name, w.said)
			w.said++
			if n := w.bulk - len(text); n > 0 {
				text += strings.Repeat(".", n)
			}
			p.sent = append(p.sent, p.sendOn(p.conn, text))
		}
	}
}

// outage tells, for datagrams sent since a fault, how long it was until they arrive again
// for good, until one comes directly, both in both directions, and the longest time in
// which none arrived.
func (w *world) outage(since time.Time) (again, direct, gap time.Duration) {
	for _, p := range w.peers[:2] {
		var last, fresh time.Duration = 0, -1
		before := since
		for _, m := range p.sent {
			if m.at.Before(since) {
				continue
			}
			if m.delivered == 0 {
				last = m.at.Sub(since)
				continue
			}
			gap = max(gap, m.at.Sub(before))
			before = m.at
			if fresh < 0 && m.direct {
				fresh = m.arrived.Sub(since)
			}
		}
		if fresh < 0 {
			fresh = time.Hour
		}
		again, direct = max(again, last), max(direct, fresh)
	}
	return again, direct, gap
}

// quantile is that of a list, which it sorts.
func quantile[T time.Duration | float64](all []T, q float64) T {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

// sentBy are the packets that a peer's host sends, but for those to the servers, while fn
// runs.
func (w *world) sentBy(p *simPeer, fn func()) (all []simnet.Packet) {
	w.OnTrace(func(e simnet.TraceEvent) {
		if e.What != "send" || e.Where != p.name {
			return
		}
		to := e.Packet.Dst.Addr()
		if !slices.Contains(stunAddrs, to) && !slices.Contains(turnAddrs, to) {
			c := *e.Packet
			c.Data = slices.Clone(c.Data)
			all = append(all, c)
		}
	})
	fn()
	w.OnTrace(nil)
	if w.ledger != nil {
		w.OnTrace(w.ledger.trace)
	}
	return all
}

// sentAt is when a peer's host sends something to an IP while fn runs.
func (w *world) sentAt(p *simPeer, ip string, fn func()) (all []time.Time) {
	w.OnTrace(func(e simnet.TraceEvent) {
		if e.What == "send" && e.Where == p.name && e.Packet.Dst.Addr() == netip.MustParseAddr(ip) {
			all = append(all, e.At)
		}
	})
	fn()
	w.OnTrace(nil)
	return all
}

// send seals data and sends it by the paths in use, as Conn.Write does past the loop.
func (c *control) send(now time.Time, number uint32, data []byte) error {
	c.enter(now)
	defer c.pump(now)
	k := c.conns[number]
	switch {
	case k == nil:
		return ErrClosed
	case k.path == nil, k.keys == nil:
		return ErrLost
	}
	if !k.plaintext {
		data = k.keys.Seal(nil, seal.Data, k.theirs, data)
	}
	for _, p := range k.inUse() {
		_ = c.ice.SendOn(now, k.agent, p.route, data) // lost, as datagrams are
	}
	if k.quiet {
		k.stir(now)
		k.beat(now)
		k.link.settle(now)
	}
	return nil
}
