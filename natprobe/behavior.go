package natprobe

import "github.com/bradawl/bradawl/internal/words"

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

var mappings = words.Of[Mapping]("unknown", "endpoint_independent", "address_dependent", "address_and_port_dependent")

// String returns the behaviour in words, such as "endpoint_independent".
func (m Mapping) String() string { return mappings.String(m) }

// MarshalText returns what String does, or an error if m is none of the constants.
func (m Mapping) MarshalText() ([]byte, error) { return mappings.Marshal(m) }

// UnmarshalText reads what MarshalText wrote.
func (m *Mapping) UnmarshalText(text []byte) error { return mappings.Unmarshal(text, m) }

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

var filterings = words.Of[Filtering]("unknown", "endpoint_independent", "address_dependent", "address_and_port_dependent")

// String returns the behaviour in words, such as "address_dependent".
func (f Filtering) String() string { return filterings.String(f) }

// MarshalText returns what String does, or an error if f is none of the constants.
func (f Filtering) MarshalText() ([]byte, error) { return filterings.Marshal(f) }

// UnmarshalText reads what MarshalText wrote.
func (f *Filtering) UnmarshalText(text []byte) error { return filterings.Unmarshal(text, f) }

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

var types = words.Of[Type]("unknown", "open", "symmetric_firewall", "full_cone", "restricted_cone", "port_restricted_cone", "symmetric", "udp_blocked")

// String returns the type in words, such as "port_restricted_cone".
func (t Type) String() string { return types.String(t) }

// MarshalText returns what String does, or an error if t is none of the constants.
func (t Type) MarshalText() ([]byte, error) { return types.Marshal(t) }

// UnmarshalText reads what MarshalText wrote.
func (t *Type) UnmarshalText(text []byte) error { return types.Unmarshal(text, t) }

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

var portModels = words.Of[PortModel]("unknown", "preserving", "sequential", "random", "block")

// String returns the model in a word, such as "sequential".
func (p PortModel) String() string { return portModels.String(p) }

// MarshalText returns what String does, or an error if p is none of the constants.
func (p PortModel) MarshalText() ([]byte, error) { return portModels.Marshal(p) }

// UnmarshalText reads what MarshalText wrote.
func (p *PortModel) UnmarshalText(text []byte) error { return portModels.Unmarshal(text, p) }

// Verdict is the answer to a question of yes or no. The zero value is unknown. It
// marshals as text.
type Verdict uint8

// The verdicts.
const (
	VerdictUnknown Verdict = iota
	Yes
	No
)

var verdicts = words.Of[Verdict]("unknown", "yes", "no")

// String returns the verdict in a word, such as "yes".
func (v Verdict) String() string { return verdicts.String(v) }

// MarshalText returns what String does, or an error if v is none of the constants.
func (v Verdict) MarshalText() ([]byte, error) { return verdicts.Marshal(v) }

// UnmarshalText reads what MarshalText wrote.
func (v *Verdict) UnmarshalText(text []byte) error { return verdicts.Unmarshal(text, v) }

func verdict(yes bool) Verdict {
	if yes {
		return Yes
	}
	return No
}
