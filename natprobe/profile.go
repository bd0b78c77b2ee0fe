package natprobe

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Profile is the part of a Report that peers tell each other, so that each can plan how
// to get through. It goes into less than 64 bytes.
type Profile struct {
	Type         Type
	Mapping      Mapping
	MappingLeast bool // see Report
	Filtering    Filtering
	NAT          Verdict        // whether addresses are translated at all
	Hairpin      Verdict        // whether the host reaches its own outside addresses
	Nested       Verdict        // whether there is more than one NAT
	Paired       Verdict        // whether all of the host's sockets get one outside IP
	Ports        Ports          // without Samples; Rate goes in tenths, at most 6553.5
	Mapped       netip.AddrPort // where a socket of the host was seen to come from
	Lifetime     time.Duration  // of an idle mapping, in whole seconds, at most 65535 s; 0: unknown
	Confidence   float64        // in Type, in hundredths
	TCP          TCPProfile     // where it was looked at
}

// TCPProfile is the part of a TCPReport that peers tell each other. The zero value is unknown.
type TCPProfile struct {
	Mapping Mapping
	Ports   Ports // Model, Delta, Rate, Low, High, Parity and Confidence
}

// Profile returns the report's compact part.
func (r *Report) Profile() Profile {
	ports := r.Ports
	ports.Samples = 0
	p := Profile{
		Type: r.Type, Mapping: r.Mapping, MappingLeast: r.MappingLeast, Filtering: r.Filtering, NAT: r.NAT,
		Hairpin: r.Hairpin, Nested: r.Nested, Paired: r.Paired, Ports: ports, Mapped: r.Mapped, Confidence: r.Confidence,
	}
	if r.TCP != nil {
		p.TCP = r.TCP.Profile()
	}
	if r.Lifetime != nil {
		p.Lifetime = r.Lifetime.Answered.Low.Truncate(time.Second) // the safe side
	}
	return p
}

// The encoding: version, then packed words of small values, then numbers in network byte
// order, then the length of the address and the address with its port. What is known of TCP
// follows in the same way, where anything is.
const (
	profileVersion = 1
	profileFixed   = 19
	profileTCP     = 11
	// MaxProfile is the greatest length of an encoded Profile, in bytes.
	MaxProfile = profileFixed + 16 + 2 + profileTCP
)

// MarshalBinary encodes the profile in at most MaxProfile bytes. It does not fail.
func (p Profile) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, MaxProfile)
	least := byte(0)
	if p.MappingLeast {
		least = 1
	}
	b = append(b, profileVersion,
		byte(p.Type)<<4|byte(p.Mapping)<<2|byte(p.Filtering),
		byte(p.NAT)<<6|byte(p.Hairpin)<<4|byte(p.Nested)<<2|byte(p.Paired),
		byte(p.Ports.Model)<<4|least,
		byte(p.Ports.Parity)<<4|byte(p.Ports.Contiguous)<<2|byte(p.Ports.Overloaded))
	b = binary.BigEndian.AppendUint16(b, uint16(int16(p.Ports.Delta)))
	b = binary.BigEndian.AppendUint16(b, tenths(p.Ports.Rate))
	b = binary.BigEndian.AppendUint16(b, p.Ports.Low)
	b = binary.BigEndian.AppendUint16(b, p.Ports.High)
	b = append(b, hundredths(p.Ports.Confidence), hundredths(p.Confidence))
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(p.Lifetime, 0)/time.Second, math.MaxUint16)))
	ip := p.Mapped.Addr().Unmap().AsSlice()
	b = append(b, 0, byte(len(ip))) // the first is free
	b = append(b, ip...)
	if len(ip) > 0 {
		b = binary.BigEndian.AppendUint16(b, p.Mapped.Port())
	}
	if p.TCP != (TCPProfile{}) {
		b = p.TCP.append(b)
	}
	return b, nil
}

// append encodes what is known of TCP.
func (p TCPProfile) append(b []byte) []byte {
	b = append(b, byte(p.Mapping)<<4|byte(p.Ports.Model), byte(p.Ports.Parity)<<4)
	b = binary.BigEndian.AppendUint16(b, uint16(int16(p.Ports.Delta)))
	b = binary.BigEndian.AppendUint16(b, tenths(p.Ports.Rate))
	b = binary.BigEndian.AppendUint16(b, p.Ports.Low)
	b = binary.BigEndian.AppendUint16(b, p.Ports.High)
	return append(b, hundredths(p.Ports.Confidence))
}

// tcpProfileOf decodes what append wrote; a peer of before TCP was told has none.
func tcpProfileOf(b []byte) (p TCPProfile) {
	if len(b) < profileTCP {
		return p
	}
	return TCPProfile{
		Mapping: within(Mapping(b[0]>>4), MappingAddressAndPortDependent),
		Ports: Ports{
			Model: within(PortModel(b[0]&15), PortsBlock), Parity: within(Verdict(b[1]>>4&3), No),
			Delta: int(int16(binary.BigEndian.Uint16(b[2:]))), Rate: float64(binary.BigEndian.Uint16(b[4:])) / 10,
			Low: binary.BigEndian.Uint16(b[6:]), High: binary.BigEndian.Uint16(b[8:]),
			Confidence: float64(min(b[10], 100)) / 100,
		},
	}
}

func tenths(x float64) uint16 { return uint16(min(max(x, 0)*10+0.5, math.MaxUint16)) }

func hundredths(x float64) byte { return byte(math.Round(100 * min(max(x, 0), 1))) }

// UnmarshalBinary decodes what MarshalBinary wrote. Bytes behind are left for later
// versions; values that are not known become unknown.
func (p *Profile) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != profileVersion {
		return fmt.Errorf("natprobe: profile of an unknown version; this is version %d", profileVersion)
	}
	if len(b) < profileFixed {
		return fmt.Errorf("natprobe: profile of %d bytes is cut short", len(b))
	}
	n := int(b[18])
	if n != 0 && n != 4 && n != 16 || n > 0 && len(b) < profileFixed+n+2 {
		return fmt.Errorf("natprobe: profile with an address of %d bytes in %d", n, len(b))
	}
	v := func(b byte, shift int) Verdict { return within(Verdict(b>>shift&3), No) }
	*p = Profile{
		Type: within(Type(b[1]>>4), TypeUDPBlocked), Mapping: Mapping(b[1] >> 2 & 3), Filtering: Filtering(b[1] & 3),
		NAT: v(b[2], 6), Hairpin: v(b[2], 4), Nested: v(b[2], 2), Paired: v(b[2], 0),
		MappingLeast: b[3]&1 != 0,
		Ports: Ports{
			Model: within(PortModel(b[3]>>4), PortsBlock), Parity: v(b[4], 4), Contiguous: v(b[4], 2), Overloaded: v(b[4], 0),
			Delta: int(int16(binary.BigEndian.Uint16(b[5:]))), Rate: float64(binary.BigEndian.Uint16(b[7:])) / 10,
			Low: binary.BigEndian.Uint16(b[9:]), High: binary.BigEndian.Uint16(b[11:]),
			Confidence: float64(min(b[13], 100)) / 100,
		},
		Confidence: float64(min(b[14], 100)) / 100,
		Lifetime:   time.Duration(binary.BigEndian.Uint16(b[15:])) * time.Second,
	}
	rest := b[profileFixed:]
	if n > 0 {
		rest = rest[n+2:]
		ip, _ := netip.AddrFromSlice(b[profileFixed : profileFixed+n])
		p.Mapped = netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(b[profileFixed+n:]))
	}
	p.TCP = tcpProfileOf(rest)
	return nil
}

// within returns v, or the unknown value where it is beyond the last one there is.
func within[T ~uint8](v, last T) T {
	if v > last {
		return 0
	}
	return v
}
