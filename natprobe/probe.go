package natprobe

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// maxMore is how often more a silent request is sent than is enough, until its control is
// answered.
const maxMore = 4

// maxAsks is how often a request is sent that must be answered.
const maxAsks = 7

// probe is a transaction of the schedule under way, and what came of it.
type probe struct {
	step
	lane    int // which server's schedule it belongs to
	sock    *probeSocket
	dest    netip.AddrPort
	request []byte // the same bytes at every send, as it is one transaction

	sent []time.Time
	next time.Time // to send again or to conclude
	done bool      // nothing is waited for any more
	moot bool      // given up because it cannot tell anything now

	answered    bool
	from        netip.AddrPort // who answered
	mapped      netip.AddrPort // as it says
	plainMapped netip.AddrPort // the same in the form that some NATs rewrite
	replies     int            // answers to repeated sends included
	lastReply   time.Time
	rtt         time.Duration // 0: not known, as it was sent more than once

	code      int            // of the error response
	otherAddr netip.AddrPort // askMappingServer: the server's other address
	foreign   netip.AddrPort // an answer came from here, where none should
	ignored   bool           // it was answered without regard to CHANGE-REQUEST
	changed   bool           // two answers to it differ (RFC 3489 section 9.4)
	icmp      bool           // it was reported undelivered, for this reason:
	icmpWhy   machine.Reason
	certain   bool // silence: the control was answered after the last send
}

func (p *probe) first() time.Time { return p.sent[0] }
func (p *probe) last() time.Time  { return p.sent[len(p.sent)-1] }

// silent tells that the probe is over and nothing came back.
func (p *probe) silent() bool { return p.done && !p.moot && !p.answered && p.code == 0 && !p.ignored }

// begin starts the transaction of a step.
func (m *Discovery) begin(now time.Time, i int, s *probeSocket, dest netip.AddrPort) {
	p := &probe{step: m.plan[i], lane: m.lane, sock: s, dest: dest}
	id, err := wire.NewTransactionID(m.cfg.Secrets)
	if err != nil {
		m.fail(now, err)
		return
	}
	m.builder.Reset(wire.BindingRequest, id)
	if ip, port := p.change(); port {
		m.builder.AddChangeRequest(ip, port)
	}
	if n := p.padding(); n > 0 {
		m.builder.AddPadding(n)
	}
	p.request = append([]byte(nil), m.builder.Bytes()...)
	m.taken[i] = p
	m.probes = append(m.probes, p)
	m.byID[id] = p
	m.send(now, p)
}

func (m *Discovery) send(now time.Time, p *probe) {
	p.sent = append(p.sent, now)
	m.packets++
	m.out.Push(machine.Transmit{Op: machine.Send, Socket: p.sock.id, Remote: p.dest, Data: p.request})
	p.next = m.nextFor(now, p)
}

// nextFor is when a probe is to be looked at again.
func (m *Discovery) nextFor(now time.Time, p *probe) time.Time {
	n := len(p.sent)
	switch {
	case !m.rtt.known():
		return p.last().Add(firstRTO << min(n-1, 5))
	case !p.listen:
		return p.last().Add(min(m.rtt.rto()<<max(0, n-5), maxRTO))
	case n >= m.enough(now, p):
		// Where the control behind the last one is not answered, an outage is waited out.
		return p.last().Add(m.rtt.lapse() + m.rtt.gap()<<min(n-m.enough(now, p), 4) - m.rtt.gap())
	case n == 1 && p.question != askHairpin:
		// Not before an answer to the first can have come.
		return p.last().Add(max(m.rtt.srtt*6/5, m.rtt.gap()))
	}
	return p.last().Add(m.rtt.gap())
}

// enough is how often a listening probe is to be sent.
func (m *Discovery) enough(now time.Time, p *probe) int {
	n := listens(m.traffic(now))
	switch p.question {
	case askHairpin:
		return n/2 + 1 // both partners send, and either answer tells
	case askSecond:
		return maxListens // it is answered but for a forwarded port, which is rare
	}
	return n
}

// traffic counts the plain requests to servers that answer at all which were answered or
// should have been by now, and the answers.
func (m *Discovery) traffic(now time.Time) (sent, answered int) {
	limit := now.Add(-m.rtt.rto())
	for _, p := range m.probes {
		if !p.plain() || p.padding() > 0 || !m.answeredBy(p.dest) {
			continue
		}
		old := 0
		for _, at := range p.sent {
			if !at.After(limit) {
				old++
			}
		}
		sent += max(old, p.replies)
		answered += p.replies
	}
	return sent, answered
}

// due does what a probe's time has come for.
func (m *Discovery) due(now time.Time, p *probe) {
	n := len(p.sent)
	switch refused := p.icmp && p.icmpWhy.Hard() && n >= 3; {
	case refused && (!p.listen || !m.heard), !p.listen && n >= maxAsks:
		p.done = true
		return
	case !p.listen:
		m.send(now, p)
		return
	}
	c := m.control(p)
	p.certain = c != nil && c.answered && (p.question == askHairpin || c.lastReply.After(p.sent[max(n-2, 0)]))
	if n >= m.enough(now, p) && (p.certain || n >= m.enough(now, p)+maxMore) {
		p.done = true
		return
	}
	m.send(now, p)
	// The last two are sent together with a control, so that an outage in between is not
	// taken for a filter.
	if c != nil && p.question != askHairpin && n+2 >= m.enough(now, p) {
		m.repeat(now, c)
	}
}

// repeat sends a request again whether it was answered or not.
func (m *Discovery) repeat(now time.Time, p *probe) {
	next := p.next
	m.send(now, p)
	if next.After(now) {
		p.next = next
	}
}

// control is the probe that shows whether p's socket would have heard an answer.
func (m *Discovery) control(p *probe) *probe {
	for _, c := range m.probes {
		if c.sock == p.sock && c.plain() && c.to == toPrimary {
			return c
		}
	}
	return nil
}

// knownToProbes are the comprehension-required attributes that an answer may carry.
var knownToProbes = append(slices.Clone(known), wire.AttrPadding)

// answer takes in a response to p.
func (m *Discovery) answer(now time.Time, p *probe, d machine.Datagram) {
	msg := &m.message
	if p.question == askHairpin || len(msg.AppendUnknown(m.unknown[:0], knownToProbes)) > 0 {
		return // RFC 8489 sections 6.3.3 and 6.3.4
	}
	if msg.Class() == wire.Failure {
		if code, _, ok := msg.ErrorCode(); ok && d.Remote == p.dest && !p.answered {
			p.code, p.done = code, true
		}
		return
	}
	if !m.properSource(p, d.Remote) {
		return
	}
	mapped, ok := msg.XORMappedAddress()
	plain, also := msg.MappedAddress()
	if !ok {
		mapped = plain // all that RFC 3489 servers have
	}
	if !ok && !also || mapped.Port() == 0 || mapped.Addr().IsUnspecified() || mapped.Addr().Is4() != p.dest.Addr().Is4() {
		p.code, p.done = wire.CodeBadRequest, true
		return
	}
	m.heard = true
	p.replies = min(p.replies+1, len(p.sent))
	p.lastReply = now
	if p.answered {
		p.changed = p.changed || mapped != p.mapped
		return
	}
	p.answered, p.done, p.from, p.mapped = true, true, d.Remote, mapped
	if also && ok {
		p.plainMapped = plain
	}
	if p.sock.local = locate(p.sock.local, d.Local); len(p.sent) == 1 {
		p.rtt = elapsed(p.first(), now, d.Stamp)
		if p.plain() {
			m.rtt.add(p.rtt)
		}
	}
	if p.question == askMappingServer {
		p.otherAddr, _ = otherOf(p.dest, msg)
	}
	m.learnOther(p)
}

// properSource tells whether an answer to p counts that came from from.
func (m *Discovery) properSource(p *probe, from netip.AddrPort) bool {
	if p.plain() {
		if from != p.dest {
			p.foreign = from
		}
		return from == p.dest
	}
	if from == p.dest {
		// RFC 5780 section 6.1: a server that cannot do it answers 420. This one does not
		// know what it was asked for.
		p.ignored, p.done = true, true
		return false
	}
	want := m.other
	if p.question == askFilterPort {
		want = netip.AddrPortFrom(p.dest.Addr(), m.other.Port())
	}
	if !m.other.IsValid() {
		// The answer to the filter's test came before the one that says what to expect: wait
		// for a repetition rather than believe anybody.
		return false
	}
	if from != want {
		p.foreign = from
	}
	return from == want
}

// locate is what is known of a socket's address, after a datagram came in at local.
func locate(bound, local netip.AddrPort) netip.AddrPort {
	if local.Addr().IsValid() && !local.Addr().IsUnspecified() && local.Port() != 0 {
		return local
	}
	return bound
}

// elapsed is the time between a send and its answer; the kernel's stamp leaves out how
// long the answer waited to be read.
func elapsed(sent, now, stamp time.Time) time.Duration {
	rtt := now.Sub(sent)
	if !stamp.IsZero() {
		if s := stamp.Sub(sent); s > 0 && s < rtt {
			return s
		}
	}
	return rtt
}

// own takes in a request: it may be one of ours, sent to our own outside address.
func (m *Discovery) own(now time.Time, d machine.Datagram) {
	p := m.byID[m.message.TransactionID()]
	if p == nil || p.question != askHairpin || p.sock.id == d.Socket {
		return
	}
	if partner := m.sock(p.on ^ pairEven ^ pairOdd); partner == nil || partner.id != d.Socket {
		return
	}
	if !p.answered {
		p.answered, p.done, p.from, p.lastReply = true, true, d.Remote, now
		if q := m.find(askHairpin, p.on^pairEven^pairOdd); q != nil && !q.done {
			q.done, q.moot = true, true // one way is enough
		}
	}
}
