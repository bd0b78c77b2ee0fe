package natprobe

import (
	"fmt"
	"slices"
)

// Mapping says on what the public address and port depend that a NAT gives a
// socket (RFC 4787 section 4.1). The zero value is unknown. It marshals as text.
type Mapping uint8

// The three mapping behaviours.
const (
	MappingUnknown                 Mapping = iota
	MappingEndpointIndependent             // the same for all destinations
	MappingAddressDependent                // another one for each destination address
	MappingAddressAndPortDependent         // another one for each destination address and port
)

// dependences are the words for Mapping and Filtering.
var dependences = []string{"unknown", "endpoint_independent", "address_dependent", "address_and_port_dependent"}

// String returns the behaviour in words, such as "endpoint_independent".
func (m Mapping) String() string { return word(dependences, m) }

// MarshalText returns what String does.
func (m Mapping) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Mapping) UnmarshalText(text []byte) error {
	return parse("mapping behaviour", dependences, text, m)
}

// Filtering says on what it depends whether a NAT or firewall lets a packet in
// (RFC 4787 section 5). The zero value is unknown. It marshals as text.
type Filtering uint8

// The three filtering behaviours.
const (
	FilteringUnknown                 Filtering = iota
	FilteringEndpointIndependent               // anyone may send to an open mapping
	FilteringAddressDependent                  // only addresses that were sent to
	FilteringAddressAndPortDependent           // only addresses and ports that were sent to
)

// String returns the behaviour in words, such as "address_dependent".
func (f Filtering) String() string { return word(dependences, f) }

// MarshalText returns what String does.
func (f Filtering) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (f *Filtering) UnmarshalText(text []byte) error {
	return parse("filtering behaviour", dependences, text, f)
}

// Type is the kind of NAT in the words of RFC 3489 section 5, which people still
// use. Mapping and Filtering say the same more exactly. The zero value is
// unknown. It marshals as text.
type Type uint8

// The types of RFC 3489 section 10.1.
const (
	TypeUnknown            Type = iota
	TypeOpen                    // no NAT, no filter
	TypeSymmetricFirewall       // no NAT, but only answers come in
	TypeFullCone                // endpoint-independent mapping and filtering
	TypeRestrictedCone          // endpoint-independent mapping, address-dependent filtering
	TypePortRestrictedCone      // endpoint-independent mapping, address- and port-dependent filtering
	TypeSymmetric               // mapping depends on the destination
	TypeUDPBlocked              // no UDP gets through
)

var types = []string{"unknown", "open", "symmetric_firewall", "full_cone", "restricted_cone", "port_restricted_cone", "symmetric", "udp_blocked"}

// String returns the type in words, such as "port_restricted_cone".
func (t Type) String() string { return word(types, t) }

// MarshalText returns what String does.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *Type) UnmarshalText(text []byte) error { return parse("NAT type", types, text, t) }

// PortModel says how a NAT chooses the public port of a new mapping. The zero
// value is unknown. It marshals as text.
type PortModel uint8

// The port models.
const (
	PortsUnknown    PortModel = iota
	PortsPreserving           // the local port where it is free
	PortsSequential           // the last port given out plus a fixed step
	PortsRandom               // any port
	PortsBlock                // any port of a range that the host was given
)

var portModels = []string{"unknown", "preserving", "sequential", "random", "block"}

// String returns the model in a word, such as "sequential".
func (p PortModel) String() string { return word(portModels, p) }

// MarshalText returns what String does.
func (p PortModel) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *PortModel) UnmarshalText(text []byte) error { return parse("port model", portModels, text, p) }

// Verdict is the answer to a question of yes or no. The zero value is unknown. It
// marshals as text.
type Verdict uint8

// The verdicts.
const (
	VerdictUnknown Verdict = iota
	Yes
	No
)

var verdicts = []string{"unknown", "yes", "no"}

// String returns the verdict in a word, such as "yes".
func (v Verdict) String() string { return word(verdicts, v) }

// MarshalText returns what String does.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Verdict) UnmarshalText(text []byte) error { return parse("verdict", verdicts, text, v) }

func verdict(yes bool) Verdict {
	if yes {
		return Yes
	}
	return No
}

// word names v; a value that is none of the constants is unknown too.
func word[T ~uint8](words []string, v T) string {
	if int(v) < len(words) {
		return words[v]
	}
	return words[0]
}

func parse[T ~uint8](what string, words []string, text []byte, to *T) error {
	i := slices.Index(words, string(text))
	if i < 0 {
		return fmt.Errorf("natprobe: %q is no %s; want one of %q", text, what, words)
	}
	*to = T(i)
	return nil
}
