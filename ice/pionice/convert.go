package pionice

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
)

const mdnsSuffix = ".local"

// ToPion converts a candidate for pion, as for its Agent.AddRemoteCandidate. What pion
// cannot carry is left out; see [Lost]. The error is the *ice.CandidateError of
// c.Check, or a *[ConvertError] for a candidate that pion could not use: one with a domain
// name that is not an mDNS name of a host candidate, and a TCP candidate that is not a
// host candidate.
func ToPion(c ice.Candidate) (pion.Candidate, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	address := c.Addr.Addr().String()
	switch {
	case c.Name == "":
	case c.Type != ice.Host || !c.IsMDNS():
		return nil, cannot(c, "pion takes no domain names but mDNS names of host candidates; resolve it and give the address")
	default: // pion compares the suffix as it is written
		address = c.Name[:len(c.Name)-len(mdnsSuffix)] + mdnsSuffix
	}
	if c.Transport == ice.TCP && c.Type != ice.Host {
		return nil, cannot(c, "pion knows the side (tcptype) of TCP host candidates alone; leave this one out")
	}
	// Related stays empty text where there is none, which is how pion says so.
	var relAddr string
	if c.Related.IsValid() {
		relAddr = c.Related.Addr().String()
	}
	relPort := int(c.Related.Port())
	network, port := c.Transport.String(), int(c.Addr.Port())

	var made pion.Candidate
	var err error
	switch c.Type {
	case ice.Host:
		made, err = pion.NewCandidateHost(&pion.CandidateHostConfig{
			Network: network, Address: address, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
			TCPType: pion.NewTCPType(c.TCPType.String())})
	case ice.ServerReflexive:
		made, err = pion.NewCandidateServerReflexive(&pion.CandidateServerReflexiveConfig{
			Network: network, Address: address, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
			RelAddr: relAddr, RelPort: relPort})
	case ice.PeerReflexive:
		made, err = pion.NewCandidatePeerReflexive(&pion.CandidatePeerReflexiveConfig{
			Network: network, Address: address, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
			RelAddr: relAddr, RelPort: relPort})
	case ice.Relay:
		made, err = pion.NewCandidateRelay(&pion.CandidateRelayConfig{
			Network: network, Address: address, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
			RelAddr: relAddr, RelPort: relPort})
	}
	if err != nil {
		return nil, cannot(c, "pion refuses it: "+err.Error()) // no case known
	}
	return made, nil
}

func cannot(c ice.Candidate, reason string) *ConvertError {
	return &ConvertError{Candidate: c.String(), Reason: reason}
}

// Lost names what of c pion cannot carry: "raddr" for a related address of a host
// candidate, and the names of extensions. Where it is empty, FromPion returns c from
// what ToPion made of it, but for the case of letters in ".local".
func Lost(c ice.Candidate) []string {
	var lost []string
	if c.Type == ice.Host && c.Related.IsValid() {
		lost = append(lost, "raddr")
	}
	for _, e := range c.Extensions {
		lost = append(lost, e.Name)
	}
	return lost
}

// FromPion converts a candidate of pion's, such as its OnCandidate handler gets. The
// error is a *[ConvertError] for nil, for a candidate that is none of pion's own types, and
// for what pion accepts and no candidate can be, such as a port over 65535; or the
// *ice.CandidateError of the candidate's Check.
func FromPion(c pion.Candidate) (ice.Candidate, error) {
	if !readable(c) {
		return ice.Candidate{}, &ConvertError{Reason: fmt.Sprintf("%T is nil or none of pion's own types; give what pion made", c)}
	}
	wrong := func(format string, args ...any) (ice.Candidate, error) {
		return ice.Candidate{}, &ConvertError{Candidate: c.String(), Reason: fmt.Sprintf(format, args...)}
	}
	out := ice.Candidate{
		// UnmarshalCandidate takes the prefix of a candidate's text for a part of this.
		Foundation: strings.TrimPrefix(c.Foundation(), "candidate:"),
		Component:  c.Component(),
		Priority:   c.Priority(),
		TCPType:    ice.TCPType(c.TCPType()), // the two count alike, as a test checks
	}
	switch c.Type() {
	case pion.CandidateTypeHost:
		out.Type = ice.Host
	case pion.CandidateTypeServerReflexive:
		out.Type = ice.ServerReflexive
	case pion.CandidateTypePeerReflexive:
		out.Type = ice.PeerReflexive
	case pion.CandidateTypeRelay:
		out.Type = ice.Relay
	default:
		return wrong("its type is unset; make it by one of pion's constructors")
	}
	// Until an mDNS name is resolved, pion takes the candidate for UDP whatever it is.
	if c.NetworkType().IsTCP() || c.TCPType() != pion.TCPTypeUnspecified {
		out.Transport = ice.TCP
	}
	if c.Port() < 0 || c.Port() > 65535 {
		return wrong("port %d is not within 0 to 65535", c.Port())
	}
	var ip netip.Addr
	if strings.HasSuffix(c.Address(), mdnsSuffix) {
		out.Name = c.Address()
	} else {
		var err error
		if ip, err = netip.ParseAddr(c.Address()); err != nil {
			return wrong("%v", err)
		}
	}
	out.Addr = netip.AddrPortFrom(ip.Unmap(), uint16(c.Port()))
	if r := c.RelatedAddress(); r != nil {
		rip, err := netip.ParseAddr(r.Address)
		if err == nil && (r.Port < 0 || r.Port > 65535) {
			return wrong("related port %d is not within 0 to 65535", r.Port)
		}
		related := netip.AddrPortFrom(rip.Unmap().WithZone(""), uint16(r.Port))
		// Port 9 of no address stands for one that is not told (RFC 8839 section 5.1).
		hidden := out.Type != ice.Host && rip.IsUnspecified() && r.Port == 9 && related.Addr().Is4() == ip.Unmap().Is4()
		if err == nil && !hidden {
			out.Related = related
		}
	}
	if out.Transport == ice.TCP && out.TCPType == ice.NotTCP {
		if out.Type != ice.Host {
			return wrong("pion has lost the side (tcptype) of this TCP candidate; leave it out")
		}
		out.TCPType = ice.Passive // as ice.ParseCandidate has it, after libwebrtc
	}
	if err := out.Check(); err != nil {
		return ice.Candidate{}, err
	}
	return out, nil
}

// readable reports whether the methods of c can be called: whether it is one of the
// types that pion's agents make, and not a nil pointer.
func readable(c pion.Candidate) bool {
	switch c := c.(type) {
	case *pion.CandidateHost:
		return c != nil
	case *pion.CandidateServerReflexive:
		return c != nil
	case *pion.CandidatePeerReflexive:
		return c != nil
	case *pion.CandidateRelay:
		return c != nil
	}
	return false
}
