package ice

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ParseCandidate reads a candidate attribute (RFC 8839 section 5.1, with RFC 6544
// section 4.5 for TCP), with "a=candidate:", "candidate:" or nothing before it. It takes
// what browsers and other agents write:
//
//   - transport, type and the names of attributes in either case, and more spaces than
//     one between fields (not before an extension's value, which may be empty);
//   - raddr, rport and tcptype at any place behind the type, a TCP candidate without
//     tcptype (passive, as libwebrtc has it), and a reflexive or relayed one without
//     raddr;
//   - a related address that is hidden, which makes Related not valid; so does a name
//     in its place, for only diagnostics would use it;
//   - a domain name as the address (Name), which RFC 8839 leaves to extensions: it must
//     be ignored unless the caller knows how to treat it.
//
// IPv4-mapped addresses are unmapped. Unknown extensions are kept as they came. For
// every text that String makes, String of what ParseCandidate makes of it is that text.
//
// The error is a *CandidateError. It matches ErrUnknownCandidate where the candidate is
// to be ignored because this package does not know its kind. The strings in the result
// are parts of s.
func ParseCandidate(s string) (Candidate, error) {
	c, flaw := parseCandidate(s)
	if flaw != nil {
		return Candidate{}, flaw.of(s)
	}
	return c, nil
}

func parseCandidate(s string) (c Candidate, wrong *flaw) {
	if len(s) > len("a=")+MaxCandidateText+len("\r\n") {
		return c, badPart("text", "it takes %d bytes, the limit is %d", len(s), MaxCandidateText)
	}
	line := strings.Trim(s, " \r\n") // line ends are left where a description was cut at one of the two
	if strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7F }) >= 0 {
		return c, badPart("text", "it has characters other than visible ASCII and spaces; give one attribute alone")
	}
	rest, whole := strings.CutPrefix(line, "a="+candidatePrefix)
	if !whole {
		rest = strings.TrimPrefix(line, candidatePrefix)
	}
	p := parser{rest: rest}
	c.Foundation = p.field()
	c.Component = uint16(p.number("component", 16))
	transport := p.field()
	c.Priority = uint32(p.number("priority", 32))
	address := p.field()
	port := uint16(p.number("port", 16))
	typ, kind := p.field(), p.field()
	switch {
	case kind == "" || !strings.EqualFold(typ, "typ"):
		return c, badPart("text", `it does not start with foundation, component, transport, priority, address, port, "typ" and type`)
	case p.wrong != nil:
		return c, p.wrong
	}
	if c.Transport, wrong = known[Transport]("transport", transport, "udp", "tcp"); wrong != nil {
		return c, wrong
	}
	if c.Type, wrong = known[CandidateType]("type", kind, typeNames[:]...); wrong != nil {
		return c, wrong
	}
	ip, isName := parseAddress(address)
	if isName {
		c.Name = address
	}
	c.Addr = netip.AddrPortFrom(ip, port)
	if c.Transport == TCP {
		c.TCPType = Passive
	}
	if wrong = p.extensions(&c); wrong != nil {
		return c, wrong
	}
	return c, c.flaw()
}

// known finds value among names, whatever its case.
func known[T ~uint8](field, value string, names ...string) (T, *flaw) {
	i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, value) })
	if i < 0 {
		return 0, unknownKind(field, value, strings.Join(names, ", "))
	}
	return T(i), nil
}

// parseAddress reads an IP address; what is none may be a name.
func parseAddress(s string) (ip netip.Addr, isName bool) {
	ip, err := netip.ParseAddr(s)
	if ip.Zone() == "" { // Unmap would drop it, and what has one is to be refused
		ip = ip.Unmap()
	}
	return ip, err != nil
}

// parser takes one field after the other from rest.
type parser struct {
	rest  string
	wrong *flaw // the first number that is none
}

// field returns the next field; "" if there is none.
func (p *parser) field() string {
	p.rest = strings.TrimLeft(p.rest, " ")
	return p.value()
}

// value returns what stands up to the next space, which may be nothing.
func (p *parser) value() (s string) {
	s, p.rest, _ = strings.Cut(p.rest, " ")
	return s
}

func (p *parser) number(name string, bits int) uint64 {
	return p.parseNumber(name, p.field(), bits)
}

func (p *parser) parseNumber(name, s string, bits int) uint64 {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil && p.wrong == nil {
		p.wrong = badPart(name, "%q is no decimal number from 0 to %d", excerpt(s), uint64(1)<<bits-1)
	}
	return n
}

// extensions reads what stands behind the type: pairs of name and value.
func (p *parser) extensions(c *Candidate) *flaw {
	var raddr, rport, tcptype string
	for {
		name := p.field()
		if name == "" {
			break
		}
		value := p.value()
		var part *string
		switch {
		case !c.owns(name):
			c.Extensions = append(c.Extensions, Extension{name, value})
			continue
		case strings.EqualFold(name, "raddr"):
			part = &raddr
		case strings.EqualFold(name, "rport"):
			part = &rport
		default:
			part = &tcptype
		}
		if *part != "" || value == "" {
			return badPart(strings.ToLower(name), "it stands there twice or without a value")
		}
		*part = value
	}
	if wrong := p.related(c, raddr, rport); wrong != nil || tcptype == "" {
		return wrong
	}
	side, wrong := known[TCPType]("tcptype", tcptype, tcpTypeNames[1:]...)
	c.TCPType = side + Active
	return wrong
}

// related reads the values of raddr and rport; "" where there is none.
func (p *parser) related(c *Candidate, raddr, rport string) *flaw {
	var port uint16
	if rport != "" {
		port = uint16(p.parseNumber("rport", rport, 16))
	}
	ip, isName := parseAddress(raddr)
	switch {
	case p.wrong != nil:
		return p.wrong
	case raddr == "" && rport != "":
		return badPart("rport", "there is no raddr that it belongs to")
	case raddr == "":
	case isName && !isDomain(raddr):
		return badPart("raddr", "%q is neither an IP address nor a domain name", excerpt(raddr))
	case !isName:
		c.Related = netip.AddrPortFrom(ip, port)
	}
	if c.Type != Host && c.Related == c.hidden() {
		c.Related = netip.AddrPort{}
	}
	return nil
}
