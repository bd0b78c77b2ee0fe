package wire

import (
	"encoding/binary"
	"net/netip"
)

// The getters below report false where the attribute is absent and where its
// length or content is not what its RFC says: to a reader both are the same. Has
// tells them apart.

const (
	familyIPv4 = 1
	familyIPv6 = 2
)

// Address returns the plain address in attribute t (RFC 8489 section 14.1).
// IPv4-mapped IPv6 addresses are unmapped.
func (m *Message) Address(t AttrType) (netip.AddrPort, bool) {
	return m.address(t, [16]byte{})
}

// XORAddress returns the obfuscated address in attribute t (RFC 8489 section 14.2).
func (m *Message) XORAddress(t AttrType) (netip.AddrPort, bool) {
	// The mask is the cookie followed by the transaction ID, as they lie in the
	// header; an IPv6 address needs both.
	return m.address(t, m.ClassicID())
}

func (m *Message) address(t AttrType, mask [16]byte) (netip.AddrPort, bool) {
	v, ok := m.Get(t)
	if !ok {
		return netip.AddrPort{}, false
	}
	return decodeAddress(v, mask)
}

func decodeAddress(v []byte, mask [16]byte) (netip.AddrPort, bool) {
	if len(v) < 4 {
		return netip.AddrPort{}, false
	}
	// The first byte MUST be ignored by receivers.
	port := binary.BigEndian.Uint16(v[2:]) ^ binary.BigEndian.Uint16(mask[:])
	var ip netip.Addr
	switch {
	case v[1] == familyIPv4 && len(v) == 8:
		a := [4]byte(v[4:])
		for i := range a {
			a[i] ^= mask[i]
		}
		ip = netip.AddrFrom4(a)
	case v[1] == familyIPv6 && len(v) == 20:
		a := [16]byte(v[4:])
		for i := range a {
			a[i] ^= mask[i]
		}
		ip = netip.AddrFrom16(a).Unmap()
	default:
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, port), true
}

// XORMappedAddress returns where the other side saw the request come from.
func (m *Message) XORMappedAddress() (netip.AddrPort, bool) {
	return m.XORAddress(AttrXORMappedAddress)
}

// MappedAddress returns the same in the plain form, which some NATs rewrite.
func (m *Message) MappedAddress() (netip.AddrPort, bool) { return m.Address(AttrMappedAddress) }

// XORPeerAddress returns the peer that a TURN message is about (RFC 8656 section 18.3).
func (m *Message) XORPeerAddress() (netip.AddrPort, bool) { return m.XORAddress(AttrXORPeerAddress) }

// OtherAddress returns the server's alternate address and port (RFC 5780 section 7.4).
func (m *Message) OtherAddress() (netip.AddrPort, bool) { return m.Address(AttrOtherAddress) }

// ChangedAddress returns what RFC 3489 had for OTHER-ADDRESS.
func (m *Message) ChangedAddress() (netip.AddrPort, bool) { return m.Address(AttrChangedAddress) }

// ErrorCode returns the code, 300 to 699, and the reason phrase (RFC 8489 section 14.8).
func (m *Message) ErrorCode() (code int, reason []byte, ok bool) {
	v, ok := m.Get(AttrErrorCode)
	if !ok || len(v) < 4 {
		return 0, nil, false
	}
	class, number := int(v[2]&7), int(v[3])
	if class < 3 || class > 6 || number > 99 {
		return 0, nil, false
	}
	return class*100 + number, v[4:], true
}

// AppendUnknownAttributes appends the types that an error response says its
// sender did not understand, at most MaxUnknown (RFC 8489 section 14.9).
func (m *Message) AppendUnknownAttributes(dst []AttrType) []AttrType {
	v, _ := m.Get(AttrUnknownAttributes)
	for n := 0; len(v) >= 2 && n < MaxUnknown; n++ {
		dst = append(dst, AttrType(binary.BigEndian.Uint16(v)))
		v = v[2:]
	}
	return dst
}

// Username returns USERNAME as it stands in the message.
func (m *Message) Username() ([]byte, bool) { return m.Get(AttrUsername) }

// Realm returns REALM.
func (m *Message) Realm() ([]byte, bool) { return m.Get(AttrRealm) }

// Nonce returns NONCE.
func (m *Message) Nonce() ([]byte, bool) { return m.Get(AttrNonce) }

// ChangeRequest returns which of its address and port the server is asked to
// change for the response (RFC 5780 section 7.2).
func (m *Message) ChangeRequest() (ip, port, ok bool) {
	v, ok := m.Get(AttrChangeRequest)
	if !ok || len(v) != 4 {
		return false, false, false
	}
	return v[3]&changeIP != 0, v[3]&changePort != 0, true
}

const (
	changeIP   = 0x04
	changePort = 0x02
)

// ResponsePort returns the port to respond to (RFC 5780 section 7.5). Senders
// differ in whether the two bytes of padding count, so the length may be 2 or 4.
func (m *Message) ResponsePort() (uint16, bool) {
	v, ok := m.Get(AttrResponsePort)
	if !ok || len(v) != 2 && len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint16(v), true
}

// Padding returns the filling of a message (RFC 5780 section 7.6).
func (m *Message) Padding() ([]byte, bool) { return m.Get(AttrPadding) }

// Priority returns the priority that a peer-reflexive candidate would have (RFC 8445 section 16.1).
func (m *Message) Priority() (uint32, bool) { return m.Uint32(AttrPriority) }

// UseCandidate tells whether the controlling agent nominates the pair.
func (m *Message) UseCandidate() bool {
	v, ok := m.Get(AttrUseCandidate)
	return ok && len(v) == 0
}

// ICEControlled returns the tie-breaker of an agent in the controlled role.
func (m *Message) ICEControlled() (uint64, bool) { return m.Uint64(AttrICEControlled) }

// ICEControlling returns the tie-breaker of an agent in the controlling role.
func (m *Message) ICEControlling() (uint64, bool) { return m.Uint64(AttrICEControlling) }

// Uint32 returns the value of an attribute of exactly four bytes.
func (m *Message) Uint32(t AttrType) (uint32, bool) {
	v, ok := m.Get(t)
	if !ok || len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

// Uint64 returns the value of an attribute of exactly eight bytes.
func (m *Message) Uint64(t AttrType) (uint64, bool) {
	v, ok := m.Get(t)
	if !ok || len(v) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v), true
}
