package ice

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Limits of a candidate's text form. They keep what a stranger can make us hold in
// bounds; what browsers send takes a third of it.
const (
	// MaxCandidateText is how many bytes a candidate may take, with "candidate:".
	MaxCandidateText = 1024
	// MaxExtensions is how many extensions a candidate may have.
	MaxExtensions = 32
)

const candidatePrefix = "candidate:"

// ErrUnknownCandidate is matched by the error for a candidate of a transport, type or
// TCP side that this package does not know. Ignore such a candidate and go on with the
// others: later specifications may add kinds, and RFC 8839 section 5.1 leaves room for
// them.
var ErrUnknownCandidate = errors.New("a kind of candidate that is not known here")

// CandidateError says why a candidate cannot be used.
type CandidateError struct {
	Input  string // the candidate, at most 80 bytes of it
	Field  string // which part: "text", "foundation", "component", "transport", "priority", "address", "port", "type", "raddr", "rport", "tcptype" or "extension"
	Reason string // what is wrong with it, and what it should be
	// Unknown: nothing is wrong but that this package does not know its kind. The
	// error then matches ErrUnknownCandidate.
	Unknown bool
}

// Error names the candidate, the part and the reason.
func (e *CandidateError) Error() string {
	return fmt.Sprintf("ice: candidate %q: %s: %s", e.Input, e.Field, e.Reason)
}

// Is matches ErrUnknownCandidate where Unknown is set.
func (e *CandidateError) Is(target error) bool { return e.Unknown && target == ErrUnknownCandidate }

// flaw is a CandidateError that does not know its candidate yet.
type flaw struct {
	field, reason string
	unknown       bool
}

func badPart(field, format string, args ...any) *flaw {
	return &flaw{field: field, reason: fmt.Sprintf(format, args...)}
}

func unknownKind(field, value string, known string) *flaw {
	return &flaw{field, fmt.Sprintf("%q is not known here, only %s; ignore the candidate", excerpt(value), known), true}
}

func (f *flaw) of(input string) error {
	return &CandidateError{Input: excerpt(input), Field: f.field, Reason: f.reason, Unknown: f.unknown}
}

// excerpt bounds what an error repeats of what a stranger sent.
func excerpt(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most-3] + "..."
}

// Extension returns the value of the first extension of that name, whatever its case,
// and whether there is one. "ufrag" is by which a trickled candidate tells its ICE
// session (RFC 8838 section 9).
func (c Candidate) Extension(name string) (value string, ok bool) {
	for _, e := range c.Extensions {
		if strings.EqualFold(e.Name, name) {
			return e.Value, true
		}
	}
	return "", false
}

// IsMDNS reports whether Name is to be resolved by multicast DNS: whether it ends in
// ".local" (RFC 6762 section 3).
func (c Candidate) IsMDNS() bool {
	const local = ".local"
	return len(c.Name) > len(local) && strings.EqualFold(c.Name[len(c.Name)-len(local):], local)
}

// Check returns a *CandidateError that names the first part of c that its text form
// cannot hold, or nil. ParseCandidate gives back exactly the candidates that pass, from
// what String makes of them.
func (c Candidate) Check() error {
	if f := c.flaw(); f != nil {
		return f.of(c.String())
	}
	return nil
}

func (c *Candidate) flaw() *flaw {
	switch ip := c.Addr.Addr(); {
	case len(c.Foundation) > 32 || !iceChars(c.Foundation):
		return badPart("foundation", "%q is not 1 to 32 letters, digits, + and /", excerpt(c.Foundation))
	case c.Component < 1 || c.Component > 256:
		return badPart("component", "%d is not within 1 to 256", c.Component)
	case c.Transport >= numTransports:
		return badPart("transport", "%d is neither UDP nor TCP", c.Transport)
	case c.Priority < 1 || c.Priority > maxPriority:
		return badPart("priority", "%d is not within 1 to 2147483647", c.Priority)
	case c.Name != "" && ip.IsValid():
		return badPart("address", "there is both %v and the name %q; leave one out", ip, excerpt(c.Name))
	case c.Name != "" && !isDomain(c.Name):
		return badPart("address", "%q is neither an IP address nor a domain name with a dot in it", excerpt(c.Name))
	case c.Name == "" && !ip.IsValid():
		return badPart("address", "there is none, and no name; give one of them")
	case !plainIP(ip):
		return badPart("address", "%v has a zone or is IPv4-mapped; zones mean nothing to a peer, mapped addresses must be unmapped", ip)
	case c.Type >= numTypes:
		return badPart("type", "%d is none of this package's", c.Type)
	case !plainIP(c.Related.Addr()):
		return badPart("raddr", "%v has a zone or is IPv4-mapped; zones mean nothing to a peer, mapped addresses must be unmapped", c.Related.Addr())
	case !c.Related.Addr().IsValid() && c.Related.Port() != 0:
		return badPart("rport", "there is a port %d but no address", c.Related.Port())
	case c.Type != Host && c.Related == c.hidden():
		return badPart("raddr", "%v stands for a hidden address; leave Related out for that", c.Related)
	case c.Transport == UDP && c.TCPType != NotTCP:
		return badPart("tcptype", "a UDP candidate has no side; leave TCPType out")
	case c.Transport == TCP && (c.TCPType < Active || c.TCPType > SimultaneousOpen):
		return badPart("tcptype", "a TCP candidate is active, passive or so (RFC 6544 section 4.5); set TCPType")
	case len(c.Extensions) > MaxExtensions:
		return badPart("extension", "there are %d, the limit is %d; leave some out", len(c.Extensions), MaxExtensions)
	}
	for _, e := range c.Extensions {
		switch {
		case e.Name == "" || !visible(e.Name) || !visible(e.Value):
			return badPart("extension", "%q with value %q does not consist of visible ASCII characters", excerpt(e.Name), excerpt(e.Value))
		case c.owns(e.Name):
			return badPart("extension", "%q is a part of the candidate with a field of its own; use that", e.Name)
		}
	}
	var buf [MaxCandidateText]byte
	if n := len(c.AppendTo(buf[:0])); n > MaxCandidateText {
		return badPart("text", "it takes %d bytes, the limit is %d; leave extensions out", n, MaxCandidateText)
	}
	return nil
}

// owns reports whether what stands behind the type as name and value has a field in c.
func (c *Candidate) owns(name string) bool {
	return strings.EqualFold(name, "raddr") || strings.EqualFold(name, "rport") || c.Transport == TCP && strings.EqualFold(name, "tcptype")
}

// hidden is what stands for a related address that is not told (RFC 8839 section 5.1).
func (c Candidate) hidden() netip.AddrPort {
	if c.Addr.Addr().Is6() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 9)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 9)
}

// plainIP reports whether ip, if there is one, has neither zone nor a mapped form.
func plainIP(ip netip.Addr) bool { return ip.Zone() == "" && !ip.Is4In6() }

// String returns c as RFC 8839 section 5.1 writes it, in the form that browsers use:
// with "candidate:" and without "a=" before it, the transport in lower case, then type,
// raddr and rport, tcptype, and the extensions in their order. Where an address should
// be related and none is told, 0.0.0.0 or :: and port 9 stand for it.
//
// Of a candidate that does not pass Check, String tells what it can, always in one
// line of visible ASCII.
func (c Candidate) String() string { return string(c.AppendTo(nil)) }

// AppendTo appends what String returns to dst. It allocates only where dst is too short.
func (c Candidate) AppendTo(dst []byte) []byte {
	dst = append(dst, candidatePrefix...)
	dst = appendVisible(dst, c.Foundation)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(c.Component), 10)
	dst = append(dst, ' ')
	dst = append(dst, c.Transport.String()...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(c.Priority), 10)
	dst = append(dst, ' ')
	if c.Name != "" {
		dst = appendVisible(dst, c.Name)
	} else {
		dst = appendIP(dst, c.Addr.Addr())
	}
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(c.Addr.Port()), 10)
	dst = append(dst, " typ "...)
	dst = append(dst, c.Type.String()...)
	related := c.Related
	if !related.Addr().IsValid() && c.Type != Host {
		related = c.hidden()
	}
	if related.Addr().IsValid() {
		dst = append(dst, " raddr "...)
		dst = appendIP(dst, related.Addr())
		dst = append(dst, " rport "...)
		dst = strconv.AppendUint(dst, uint64(related.Port()), 10)
	}
	if c.TCPType != NotTCP {
		dst = append(dst, " tcptype "...)
		dst = append(dst, c.TCPType.String()...)
	}
	for _, e := range c.Extensions {
		dst = append(dst, ' ')
		dst = appendVisible(dst, e.Name)
		dst = append(dst, ' ')
		dst = appendVisible(dst, e.Value)
	}
	return dst
}

// appendIP leaves the zone out, which may hold anything.
func appendIP(dst []byte, ip netip.Addr) []byte { return ip.WithZone("").AppendTo(dst) }

// appendVisible puts a question mark for what would end the field or the line, so that
// nobody's extension value adds a line to a session description.
func appendVisible(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] > ' ' && s[i] < 0x7F {
			dst = append(dst, s[i])
		} else {
			dst = append(dst, '?')
		}
	}
	return dst
}

// MarshalText is String for candidates that pass Check; for others it returns what
// Check does.
func (c Candidate) MarshalText() ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return c.AppendTo(nil), nil
}

// UnmarshalText is ParseCandidate.
func (c *Candidate) UnmarshalText(text []byte) error {
	parsed, err := ParseCandidate(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}

// visible reports whether s consists of visible ASCII characters, if of any.
func visible(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7F }) < 0
}

// iceChars reports whether s consists of ice-chars (RFC 8839 section 5.1), at least one.
func iceChars(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !isAlphanumeric(r) && r != '+' && r != '/' }) < 0
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// isDomain reports whether s is a fully qualified domain name: at least two labels of
// letters, digits, hyphens and underscores. The last one does not start with a digit,
// for resolvers take "2130706433", "127.1" and "0x7f.1" for addresses.
func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := 0
	for label := range strings.SplitSeq(s, ".") {
		labels++
		if label == "" || len(label) > 63 || strings.IndexFunc(label, func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }) >= 0 {
			return false
		}
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	return labels > 1 && (last[0] < '0' || last[0] > '9')
}
