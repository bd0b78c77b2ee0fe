package natprobe

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Report is what was found out about the way out of one host, for one address family.
// What is not known is the zero value; Conclusions say why.
type Report struct {
	// Type is the whole in the words of RFC 3489; Confidence, 0 to 1, is that in it.
	Type       Type
	Confidence float64

	// Mapping and Filtering are the behaviours of RFC 4787. With several NATs in a row they
	// are those of the whole. MappingLeast says that the mapping may depend on more than
	// that: no server was asked at two of its ports.
	Mapping      Mapping
	MappingLeast bool
	Filtering    Filtering

	Ports   Ports
	NAT     Verdict // whether addresses are translated at all
	Hairpin Verdict // whether this host reaches its own outside addresses
	Paired  Verdict // whether all sockets get the same outside address (RFC 4787 REQ 2)
	ALG     Verdict // whether something rewrites addresses inside of packets (RFC 4787 REQ 10)
	Nested  Verdict // whether there is more than one NAT in a row

	Fragments Verdict // whether packets too long for one piece get through

	Mapped netip.AddrPort // where a socket was seen to come from, by Server
	Local  netip.AddrPort // that socket's own address; the IP is unspecified where it is not known
	Server netip.AddrPort // the server that the tests were made with

	// Conclusions are what was concluded, each with why and how sure; Observations are all
	// the transactions behind them, in the order begun.
	Conclusions  []Conclusion
	Observations []Observation

	Elapsed time.Duration // of the whole
	Known   time.Duration // until mapping, filtering and hairpin were known
	Packets int           // datagrams sent

	// TCP is how TCP is mapped; nil where that was not asked for.
	TCP *TCPReport

	// Lifetime is how long mappings live; nil where that was not asked for.
	Lifetime *Lifetime

	// IPv6 is the same for IPv6 where both families were looked at; IPv4 is then the outer one.
	IPv6 *Report
}

// Conclusion is one statement of a report.
type Conclusion struct {
	About      string  `json:"about"`      // "mapping", "filtering" …
	Says       string  `json:"says"`       // the behaviour, as its String has it
	Confidence float64 `json:"confidence"` // 0 to 1
	Because    string  `json:"because"`    // what was observed
}

// Observation is one transaction: what was asked of whom from which socket, and what came
// back.
type Observation struct {
	Socket  int            `json:"socket"`  // sockets are numbered in the order used
	Local   netip.AddrPort `json:"local"`   // of the socket
	To      netip.AddrPort `json:"to"`      // the server's address
	Asked   string         `json:"asked"`   // for what, in a word
	Sent    int            `json:"sent"`    // how often
	Replies int            `json:"replies"` // how often it was answered
	From    netip.AddrPort `json:"from"`    // who answered
	Mapped  netip.AddrPort `json:"mapped"`  // where the socket was seen to come from
	RTT     time.Duration  `json:"rtt_ns"`  // 0: not known
	Code    int            `json:"code"`    // of an error response
	ICMP    string         `json:"icmp"`    // why it was reported undelivered
}

// say adds a conclusion.
func (r *Report) say(about, says string, confidence float64, because string) {
	r.Conclusions = append(r.Conclusions, Conclusion{about, says, round(confidence), because})
}

// setLifetime adds what was measured of lifetimes.
func (r *Report) setLifetime(l Lifetime) {
	r.Lifetime = &l
	r.Conclusions = slices.DeleteFunc(r.Conclusions, func(c Conclusion) bool { return c.About == "lifetime" })
	sure := 0.9
	if l.Answered == (Lifespan{}) {
		sure = 0
	}
	r.say("lifetime", l.Answered.String(), sure, l.String())
}

// round keeps reports readable; no confidence is meant to more than a thousandth.
func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// adjust changes how sure a conclusion is and adds why.
func (r *Report) adjust(about string, confidence float64, because string) {
	for i := range r.Conclusions {
		if c := &r.Conclusions[i]; c.About == about {
			c.Confidence = round(confidence)
			c.Because += because
		}
	}
}

// Conclusion returns the conclusion about a subject, such as "filtering"; false where
// none was drawn.
func (r *Report) Conclusion(about string) (Conclusion, bool) {
	for _, c := range r.Conclusions {
		if c.About == about {
			return c, true
		}
	}
	return Conclusion{}, false
}

// conclude puts mapping and filtering together into the type.
func (r *Report) conclude() {
	m, _ := r.Conclusion("mapping")
	f, _ := r.Conclusion("filtering")
	why := "mapping and filtering together"
	switch {
	case r.NAT == No && r.Filtering == FilteringEndpointIndependent:
		r.Type, r.Confidence, why = TypeOpen, f.Confidence, "no NAT, and nothing is filtered"
	case r.NAT == No && r.Filtering != FilteringUnknown:
		r.Type, r.Confidence, why = TypeSymmetricFirewall, f.Confidence, "no NAT, but only answers come in"
	case r.NAT == No:
		why = "no NAT; whether there is a firewall is not known"
	case r.Mapping == MappingUnknown:
		why = "the mapping is not known"
	case r.Mapping != MappingEndpointIndependent:
		r.Type, r.Confidence, why = TypeSymmetric, m.Confidence, "the mapping depends on the destination"
		if r.MappingLeast {
			r.Confidence = max(r.Confidence, 0.85) // that it depends is sure, only not on how much
		}
	case r.Filtering == FilteringUnknown:
		why = "a cone NAT; its filtering is not known"
	default:
		r.Type = [...]Type{
			FilteringEndpointIndependent:     TypeFullCone,
			FilteringAddressDependent:        TypeRestrictedCone,
			FilteringAddressAndPortDependent: TypePortRestrictedCone,
		}[r.Filtering]
		r.Confidence = min(m.Confidence, f.Confidence)
	}
	if r.NAT == VerdictUnknown {
		r.Confidence *= 0.5
	}
	r.Confidence = round(r.Confidence)
	r.say("type", r.Type.String(), r.Confidence, why)
}

// observations lists the transactions.
func (e *evidence) observations() []Observation {
	numbers := make(map[*probeSocket]int)
	var all []Observation
	for _, p := range e.probes {
		n, ok := numbers[p.sock]
		if !ok {
			n = len(numbers)
			numbers[p.sock] = n
		}
		o := Observation{
			Socket: n, Local: p.sock.local, To: p.dest, Asked: questions[p.question],
			Sent: len(p.sent), Replies: p.replies, From: p.from, Mapped: p.mapped, RTT: p.rtt, Code: p.code,
		}
		if !o.From.IsValid() {
			o.From = p.foreign
		}
		if p.icmp {
			o.ICMP = p.icmpWhy.String()
		}
		all = append(all, o)
	}
	return all
}

// reportJSON is the form of a Report for programs. Its keys are not changed nor taken away.
type reportJSON struct {
	Type         Type           `json:"type"`
	Mapping      Mapping        `json:"mapping"`
	MappingLeast bool           `json:"mapping_at_least"`
	Filtering    Filtering      `json:"filtering"`
	Ports        Ports          `json:"ports"`
	NAT          Verdict        `json:"nat"`
	Hairpin      Verdict        `json:"hairpin"`
	Paired       Verdict        `json:"paired"`
	ALG          Verdict        `json:"alg"`
	Nested       Verdict        `json:"nested"`
	Fragments    Verdict        `json:"fragments"`
	Mapped       netip.AddrPort `json:"mapped"`
	Local        netip.AddrPort `json:"local"`
	Server       netip.AddrPort `json:"server"`
	Confidence   float64        `json:"confidence"`
	ElapsedMS    int64          `json:"elapsed_ms"`
	KnownMS      int64          `json:"known_ms"`
	Packets      int            `json:"packets"`
	Conclusions  []Conclusion   `json:"conclusions"`
	Observations []Observation  `json:"observations"`
	Grades       []Grade        `json:"grades,omitempty"`
	TCP          *TCPReport     `json:"tcp,omitempty"`
	Lifetime     *Lifetime      `json:"lifetime,omitempty"`
	IPv6         *Report        `json:"ipv6,omitempty"`
}

// MarshalJSON writes the report for programs. Times are whole milliseconds, unknown
// addresses empty strings.
func (r Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(reportJSON{
		r.Type, r.Mapping, r.MappingLeast, r.Filtering, r.Ports, r.NAT, r.Hairpin, r.Paired, r.ALG, r.Nested, r.Fragments,
		r.Mapped, r.Local, r.Server, r.Confidence, r.Elapsed.Milliseconds(), r.Known.Milliseconds(), r.Packets,
		r.Conclusions, r.Observations, r.Grades(), r.TCP, r.Lifetime, r.IPv6,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote; times come back as whole milliseconds.
func (r *Report) UnmarshalJSON(text []byte) error {
	var j reportJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*r = Report{
		Type: j.Type, Confidence: j.Confidence, Mapping: j.Mapping, MappingLeast: j.MappingLeast, Filtering: j.Filtering,
		Ports: j.Ports, NAT: j.NAT, Hairpin: j.Hairpin, Paired: j.Paired, ALG: j.ALG, Nested: j.Nested, Fragments: j.Fragments,
		Mapped: j.Mapped, Local: j.Local, Server: j.Server, Conclusions: j.Conclusions, Observations: j.Observations,
		Elapsed: time.Duration(j.ElapsedMS) * time.Millisecond, Known: time.Duration(j.KnownMS) * time.Millisecond,
		Packets: j.Packets, TCP: j.TCP, Lifetime: j.Lifetime, IPv6: j.IPv6,
	}
	return nil
}
