package natprobe

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// evidence is all that a discovery has seen. What follows from it is a pure function of
// it, so that a conclusion can be had again from a recording.
type evidence struct {
	servers    []netip.AddrPort
	primary    netip.AddrPort
	other      netip.AddrPort // invalid: the server has none
	otherFault string
	lane       int
	probes     []*probe
	heard      bool
	tcpHost    bool // a server's host answers by TCP
	tcpSTUN    bool // a server answers by TCP
	sent       int  // plain requests to the first server
	answered   int
	hairpin    bool // it was asked for
	hops       []netip.Addr
}

// report says what is known by now.
func (m *Discovery) report(now time.Time) Report {
	e := evidence{
		servers: m.servers, primary: m.primary(), other: m.other, otherFault: m.otherFault, lane: m.lane,
		probes: m.probes, heard: m.heard, hairpin: !m.cfg.NoHairpin, hops: m.hops[:],
	}
	e.tcpHost, e.tcpSTUN = m.tcp.result()
	e.sent, e.answered = m.traffic(now)
	r := classify(&e)
	r.Packets = m.packets
	r.Elapsed = now.Sub(m.start)
	if !m.known.IsZero() {
		r.Known = m.known.Sub(m.start)
	}
	return r
}

// classify draws the conclusions.
func classify(e *evidence) Report {
	r := Report{Server: e.primary}
	if !e.heard {
		e.blocked(&r)
		r.Observations = e.observations()
		return r
	}
	e.translation(&r)
	e.mapping(&r)
	e.filtering(&r)
	e.hairpinning(&r)
	e.ports(&r)
	e.pooling(&r)
	e.rewriting(&r)
	e.fragments(&r)
	r.nesting(e.hops, netip.Addr{})
	r.conclude()
	r.Observations = e.observations()
	return r
}

// find finds the lane's probe for a question.
func (e *evidence) find(q question, on role) *probe {
	for _, p := range e.probes {
		if p.lane == e.lane && p.question == q && p.on == on {
			return p
		}
	}
	return nil
}

// outside is where p's socket was first seen to come from.
func (e *evidence) outside(p *probe) netip.AddrPort {
	for _, q := range e.probes {
		if q.sock == p.sock && q.answered && q.plain() {
			return q.mapped
		}
	}
	return netip.AddrPort{}
}

// blocked judges a network on which no server answered.
func (e *evidence) blocked(r *Report) {
	var hosts []netip.Addr
	for _, p := range e.probes {
		if p.code != 0 || p.foreign.IsValid() || p.icmp && p.icmpWhy.Hard() {
			r.say("type", TypeUnknown.String(), 0, "UDP gets through, but no server was of use")
			return
		}
		if a := p.dest.Addr(); !slices.Contains(hosts, a) {
			hosts = append(hosts, a)
		}
	}
	asked := fmt.Sprintf("%d servers are silent over UDP", len(hosts))
	if len(hosts) == 1 {
		asked = fmt.Sprintf("%v is silent over UDP", hosts[0])
	}
	switch {
	case e.tcpSTUN:
		r.Type, r.Confidence = TypeUDPBlocked, 0.97
		r.say("type", r.Type.String(), r.Confidence, asked+", but answers over TCP")
	case len(hosts) >= 3, len(hosts) == 2 && e.tcpHost:
		r.Type, r.Confidence = TypeUDPBlocked, 0.7
		also := "; over TCP, too: the network may be down altogether"
		if e.tcpHost {
			r.Confidence, also = 0.9, ", while TCP gets through"
		}
		r.say("type", r.Type.String(), r.Confidence, asked+also)
	default:
		r.say("type", TypeUnknown.String(), 0, asked+": UDP may be blocked, or the servers are down; ask three or more")
	}
}

// translation tells whether there is a NAT at all.
func (e *evidence) translation(r *Report) {
	for _, p := range e.probes {
		if !p.answered || !p.plain() {
			continue
		}
		if !r.Mapped.IsValid() || p.on == mapper && p.question == askMapping {
			r.Mapped = p.mapped
			r.Local = p.sock.local
		}
		if l := p.sock.local; l.Addr().IsValid() && !l.Addr().IsUnspecified() {
			if p.mapped != l {
				r.NAT = Yes
			} else if r.NAT == VerdictUnknown {
				r.NAT = No
			}
		}
	}
	switch {
	case r.NAT == No:
		r.say("nat", "no", 0.99, "sockets are seen to come from their own addresses")
	case r.NAT == VerdictUnknown:
		r.say("nat", "unknown", 0, "the sockets' own addresses are not known")
	case r.Mapped.Addr() == r.Local.Addr():
		r.say("nat", "yes", 0.99, "ports are translated")
	case r.Mapped.Addr().Is6() && r.Mapped.Port() == r.Local.Port():
		r.say("nat", "yes", 0.99, fmt.Sprintf("the prefix of %v is translated", r.Local.Addr()))
	default:
		r.say("nat", "yes", 0.99, fmt.Sprintf("%v is seen as %v", r.Local, r.Mapped))
	}
}

// seen is where one socket was seen to come from by one server.
type seen struct{ server, mapped netip.AddrPort }

// mappingOf compares what several servers saw of one socket. least tells that the mapping
// may depend on more than it says.
func mappingOf(all []seen) (m Mapping, least bool) {
	var hosts, differs bool
	for i, a := range all {
		for _, b := range all[:i] {
			hosts = hosts || a.server.Addr() != b.server.Addr()
			differs = differs || a.mapped != b.mapped
		}
	}
	if !differs {
		if hosts {
			return MappingEndpointIndependent, false
		}
		return MappingUnknown, false // one address cannot tell
	}
	m, least = MappingAddressDependent, true
	for i, a := range all {
		for _, b := range all[:i] {
			if a.server.Addr() == b.server.Addr() && a.server != b.server {
				if a.mapped != b.mapped {
					return MappingAddressAndPortDependent, false
				}
				least = false
			}
		}
	}
	return m, least
}

// mapping compares what the servers saw of the mapper's socket, and of two more where
// they differ.
func (e *evidence) mapping(r *Report) {
	var all []seen
	for _, p := range e.probes {
		if p.on != mapper || !p.plain() || !p.answered {
			continue
		}
		if p.changed {
			r.say("mapping", "unknown", 0, fmt.Sprintf("%v told two addresses for one request", p.dest))
			return
		}
		if at := (seen{p.dest, p.mapped}); !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	r.Mapping, r.MappingLeast = mappingOf(all)
	where := fmt.Sprintf("of one socket, %d server addresses see ", len(all))
	switch r.Mapping {
	case MappingUnknown:
		why := "only one server address told where it sees the socket; name servers on two or more"
		if e.otherFault != "" {
			why += fmt.Sprintf(" (%v: %s)", e.primary, e.otherFault)
		}
		r.say("mapping", "unknown", 0, why)
	case MappingEndpointIndependent:
		sure := 0.99
		if len(all) < 3 {
			sure = 0.9
		}
		if r.Mapped.Port() == r.Local.Port() && r.NAT == Yes {
			// A NAT that keeps the port for each destination looks the same until two hosts want it.
			sure = min(sure, 0.9)
		}
		r.say("mapping", r.Mapping.String(), sure, where+"the same "+r.Mapped.String())
		e.stray(r)
	default:
		e.vote(r, all, where)
	}
}

// vote asks two more sockets whether one socket's dependence on the destination is the
// rule: it may have met another host's port.
func (e *evidence) vote(r *Report, all []seen, where string) {
	same, differ := 0, 1
	for _, p := range e.probes {
		if p.question != askAgain || !p.answered {
			continue
		}
		if p.mapped == e.outside(p) {
			same++
		} else {
			differ++
		}
	}
	if same > differ {
		r.Mapping, r.MappingLeast, r.Ports.Overloaded = MappingEndpointIndependent, false, Yes
		r.say("mapping", r.Mapping.String(), 0.8, "two of three sockets are seen the same by all; the third met another host's port")
		return
	}
	sure := []float64{0.85, 0.85, 0.95, 0.99}[differ]
	if r.MappingLeast {
		sure = 0.6
		where = "at least; " + where
	}
	var ports []string
	for _, s := range all {
		ports = append(ports, s.mapped.String())
	}
	r.say("mapping", r.Mapping.String(), sure, where+fmt.Sprint(ports))
}

// stray looks at what became of a port that packets had come to before they were asked
// for: connection tracking that overloads ports does not give it out towards their sender.
func (e *evidence) stray(r *Report) {
	p := e.find(askStray, filterAll)
	if p == nil || !p.answered {
		return
	}
	if p.mapped == e.outside(p) {
		r.adjust("mapping", 0.95, "; a port that strays came to is mapped no other way")
		return
	}
	r.Ports.Overloaded = Yes
	r.adjust("mapping", 0.75, "; but a port that strays came to is given up towards their sender: ports are overloaded, and the mapping holds only while nobody collides")
}

// filtering reads the tests on the two sockets from which nothing had been sent to the
// server's other address.
func (e *evidence) filtering(r *Report) {
	all, port := e.find(askFilterAll, filterAll), e.find(askFilterPort, filterOne)
	unknown := func(why string) { r.say("filtering", "unknown", 0, why) }
	if !e.other.IsValid() {
		why := "no server that supports RFC 5780 answered"
		if e.otherFault != "" {
			why = fmt.Sprintf("%v cannot tell: %s", e.primary, e.otherFault)
		}
		unknown(why)
		return
	}
	if all == nil || port == nil || !all.done || !port.done {
		unknown("the tests did not end")
		return
	}
	for _, p := range []*probe{all, port} {
		switch {
		case p.code != 0:
			unknown(fmt.Sprintf("%v refuses CHANGE-REQUEST with code %d", p.dest, p.code))
			return
		case p.ignored:
			unknown(fmt.Sprintf("%v ignores CHANGE-REQUEST", p.dest))
			return
		case p.foreign.IsValid() && !p.answered:
			unknown(fmt.Sprintf("%v was asked to answer from its other address and answered from %v", p.dest, p.foreign))
			return
		}
	}
	if all.answered {
		e.open(r, all, port)
		return
	}
	// From here on silence is to be read; that takes a server that can break it.
	if !all.certain || !port.answered && !port.certain {
		unknown("the controls of the silent tests were not answered either")
		return
	}
	if p := e.find(askMappingOther, mapper); p == nil || !p.answered {
		unknown(fmt.Sprintf("the server's other address %v does not answer at all", e.other))
		return
	}
	sure := e.certainty(all)
	if p := e.find(askChange, mapper); p != nil {
		if !p.answered {
			unknown(fmt.Sprintf("%v does not answer from its other address even where it must get through", e.primary))
			return
		}
	} else {
		sure *= 0.95 // whether the server does as asked could not be checked
	}
	if port.answered {
		r.Filtering = FilteringAddressDependent
		r.say("filtering", r.Filtering.String(), sure, fmt.Sprintf("an answer from another port came in, none from another IP (%d sent)", len(all.sent)))
		return
	}
	sure = min(sure, e.certainty(port))
	r.Filtering = FilteringAddressAndPortDependent
	r.say("filtering", r.Filtering.String(), sure, fmt.Sprintf("no answer from another port (%d sent) or another IP (%d sent)", len(port.sent), len(all.sent)))
}

// open reads the tests after an answer from an address came in that nothing was sent to.
func (e *evidence) open(r *Report, all, port *probe) {
	again := e.find(askSecond, filterOne)
	switch {
	case again == nil || !again.answered && !again.certain:
		r.Filtering = FilteringEndpointIndependent
		r.say("filtering", r.Filtering.String(), 0.9, fmt.Sprintf("an answer from %v came in", all.from))
	case again.answered:
		r.Filtering = FilteringEndpointIndependent
		r.say("filtering", r.Filtering.String(), 0.99, fmt.Sprintf("answers from %v came in on two ports", all.from))
	default:
		// One port is open to all and another is not: a forwarded port.
		r.Filtering = FilteringAddressAndPortDependent
		if port.answered {
			r.Filtering = FilteringAddressDependent
		}
		r.say("filtering", r.Filtering.String(), 0.9*e.certainty(again),
			fmt.Sprintf("port %d is open to all, port %d is not: the first seems to be forwarded", all.sock.local.Port(), again.sock.local.Port()))
	}
}

// controlled tells whether a silent probe's socket heard the server at all.
func (e *evidence) controlled(p *probe) bool {
	for _, c := range e.probes {
		if c.sock == p.sock && c.plain() && c.answered {
			return true
		}
	}
	return false
}

// certainty is how sure a probe's silence is.
func (e *evidence) certainty(p *probe) float64 {
	return certainty(len(p.sent), e.sent, e.answered)
}

// pooling tells whether all sockets share one outside address (RFC 4787 REQ 2).
func (e *evidence) pooling(r *Report) {
	if r.NAT != Yes {
		return
	}
	var socks []*probeSocket
	var addrs []netip.Addr
	for _, p := range e.probes {
		if p.answered && p.plain() && !slices.Contains(socks, p.sock) {
			socks = append(socks, p.sock)
			if !slices.Contains(addrs, p.mapped.Addr()) {
				addrs = append(addrs, p.mapped.Addr())
			}
		}
	}
	switch {
	case len(addrs) > 1:
		r.Paired = No
		r.say("paired", "no", 0.99, fmt.Sprintf("sockets of one host are seen to come from %v", addrs))
	case len(socks) > 2:
		r.Paired = Yes
		r.say("paired", "yes", 1-1/float64(int(1)<<min(len(socks)-1, 30)), fmt.Sprintf("%d sockets share one address", len(socks)))
	}
}

// rewriting tells whether something between changes addresses inside of packets (RFC
// 5780 section 3.6).
func (e *evidence) rewriting(r *Report) {
	n := 0
	for _, p := range e.probes {
		if !p.plainMapped.IsValid() {
			continue
		}
		if n++; p.plainMapped != p.mapped {
			r.ALG = Yes
			r.say("alg", "yes", 0.95, fmt.Sprintf("%v was sent back as %v, where it is not obfuscated", p.mapped, p.plainMapped))
			return
		}
	}
	if n > 0 && r.NAT == Yes {
		r.ALG = No
		r.say("alg", "no", 0.95, "the address in the packets was left alone")
	}
}

// fragments tells whether packets get through that do not go in one piece (RFC 5780
// section 3.5). Some servers drop long requests; then no is said of them, not of the NAT.
func (e *evidence) fragments(r *Report) {
	small, large := e.find(askSmall, mapper), e.find(askLarge, mapper)
	switch {
	case small == nil:
	case large != nil && large.answered:
		r.Fragments = Yes
		r.say("fragments", "yes", 0.95, fmt.Sprintf("a request of %d bytes was answered", len(large.request)))
	case large != nil && large.silent() && large.certain:
		r.Fragments = No
		r.say("fragments", "no", 0.8*e.certainty(large), fmt.Sprintf("requests of %d bytes were not answered, those of %d were; the server may drop them, too", len(large.request), len(small.request)))
	case small.done && !small.answered:
		r.say("fragments", "unknown", 0, "the server does not understand PADDING (RFC 5780)")
	}
}

// ports finds the port model from the first mapping of each socket.
func (e *evidence) ports(r *Report) {
	var samples []portSample
	var socks []*probeSocket
	order := 0
	var last time.Time
	for _, p := range e.probes {
		first := !slices.Contains(socks, p.sock)
		if !first && r.Mapping == MappingEndpointIndependent {
			continue // no new mapping
		}
		if p.question == askFilterAll || p.question == askFilterPort || p.question == askSecond || p.question == askChange {
			continue
		}
		order++
		if !first || !p.plain() {
			continue
		}
		socks = append(socks, p.sock)
		last = p.first()
		if p.answered {
			samples = append(samples, portSample{last, order, p.sock.local.Port(), p.mapped.Port(), len(p.sent) == 1 || p.rtt > 0})
		}
	}
	overloaded := r.Ports.Overloaded
	r.Ports = portsOf(samples)
	r.Ports.Overloaded = overloaded
	r.say("ports", r.Ports.String(), r.Ports.Confidence, fmt.Sprintf("%d mappings", len(samples)))
}
