package wire

import (
	"encoding/binary"
	"net/netip"
)

// Attributes of TURN and its extensions that pion/stun has no name for.
const (
	// RFC 7635.
	AttrAccessToken             = AttrType(0x001B)
	AttrThirdPartyAuthorization = AttrType(0x802E)

	// RFC 8656.
	AttrAdditionalAddressFamily = AttrType(0x8000)
	AttrAddressErrorCode        = AttrType(0x8001)
	AttrICMP                    = AttrType(0x8004)

	// RFC 8016.
	AttrMobilityTicket = AttrType(0x8030)
)

// Error codes of RFC 8656, RFC 6062 and RFC 8016 beside those of STUN.
const (
	CodeMobilityForbidden         = 405
	CodeFamilyNotSupported        = 440
	CodeUnsupportedTransport      = 442
	CodePeerFamilyMismatch        = 443
	CodeConnectionExists          = 446
	CodeConnectionFailed          = 447
	ProtocolUDP              byte = 17 // REQUESTED-TRANSPORT
	ProtocolTCP              byte = 6
	FamilyIPv4               byte = familyIPv4 // REQUESTED-ADDRESS-FAMILY and its like
	FamilyIPv6               byte = familyIPv6
)

// AppendXORAddresses appends the obfuscated addresses of every attribute of type t,
// in order, at most limit of them. ok is false if one of these is malformed; what
// stood before it has been appended. The addresses are unmapped.
func (m *Message) AppendXORAddresses(dst []netip.AddrPort, t AttrType, limit int) (all []netip.AddrPort, ok bool) {
	for at := HeaderSize; at < m.end && limit > 0; {
		v, _ := m.value(at)
		if AttrType(binary.BigEndian.Uint16(m.raw[at:])) == t {
			a, ok := decodeAddress(v, m.ClassicID())
			if !ok {
				return dst, false
			}
			dst = append(dst, a)
			limit--
		}
		at += attrHeaderSize + padded(len(v))
	}
	return dst, true
}

// AppendAddresses is AppendXORAddresses for plain addresses: ALTERNATE-SERVER, which
// is given once for each family (RFC 8489 section 10).
func (m *Message) AppendAddresses(dst []netip.AddrPort, t AttrType, limit int) (all []netip.AddrPort, ok bool) {
	for at := HeaderSize; at < m.end && limit > 0; {
		v, _ := m.value(at)
		if AttrType(binary.BigEndian.Uint16(m.raw[at:])) == t {
			a, ok := decodeAddress(v, [16]byte{})
			if !ok {
				return dst, false
			}
			dst = append(dst, a)
			limit--
		}
		at += attrHeaderSize + padded(len(v))
	}
	return dst, true
}

// Lifetime returns LIFETIME in seconds (RFC 8656 section 18.2).
func (m *Message) Lifetime() (seconds uint32, ok bool) { return m.Uint32(AttrLifetime) }

// ChannelNumber returns CHANNEL-NUMBER (RFC 8656 section 18.1), whatever its value.
func (m *Message) ChannelNumber() (uint16, bool) {
	v, ok := m.Uint32(AttrChannelNumber)
	return uint16(v >> 16), ok
}

// AddChannelNumber adds CHANNEL-NUMBER.
func (b *Builder) AddChannelNumber(n uint16) { b.AddUint32(AttrChannelNumber, uint32(n)<<16) }

// AddByte adds an attribute of four bytes of which only the first has a meaning:
// REQUESTED-TRANSPORT, REQUESTED-ADDRESS-FAMILY, ADDITIONAL-ADDRESS-FAMILY.
func (b *Builder) AddByte(t AttrType, v byte) { b.AddUint32(t, uint32(v)<<24) }

// FirstByte returns the first byte of an attribute of four bytes; see AddByte.
func (m *Message) FirstByte(t AttrType) (byte, bool) {
	v, ok := m.Uint32(t)
	return byte(v >> 24), ok
}

// AddressError returns ADDRESS-ERROR-CODE: the family that a server did not
// allocate in a dual allocation, and why (RFC 8656 section 18.12).
func (m *Message) AddressError() (family byte, code int, reason []byte, ok bool) {
	v, ok := m.Get(AttrAddressErrorCode)
	if !ok || len(v) < 4 {
		return 0, 0, nil, false
	}
	class, number := int(v[2]&7), int(v[3])
	if class < 3 || class > 6 || number > 99 {
		return 0, 0, nil, false
	}
	return v[0], class*100 + number, v[4:], true
}

// ICMP returns what a server says of an ICMP error that it got for a datagram of
// ours: type, code and, for "too big", the MTU of the next hop (RFC 8656 section
// 18.13).
//
// The RFC's figure gives the type 7 bits and the code 9, while servers write a byte
// for each. Both are read: no value that may be relayed (RFC 8656 section 11.5)
// stands for two things, but the first byte 2, which is "too big" if there is an MTU.
func (m *Message) ICMP(v6 bool) (kind, code byte, mtu uint32, ok bool) {
	v, ok := m.Get(AttrICMP)
	if !ok || len(v) != 8 {
		return 0, 0, 0, false
	}
	kind, code, mtu = v[2], v[3], binary.BigEndian.Uint32(v[4:])
	switch {
	case !v6 && (kind == 3 || kind == 11), v6 && (kind == 1 || kind == 3 || kind == 2 && mtu != 0):
	case v[2]&1 == 0 && (!v6 && (kind == 6 || kind == 22) || v6 && (kind == 2 || kind == 4 || kind == 6)):
		kind >>= 1
	default:
		return 0, 0, 0, false
	}
	return kind, code, mtu, true
}

// AddICMP adds an ICMP attribute with a byte for each of type and code.
func (b *Builder) AddICMP(kind, code byte, mtu uint32) {
	b.AddUint64(AttrICMP, uint64(kind)<<40|uint64(code)<<32|uint64(mtu))
}

// AppendSend appends a Send indication (RFC 8656 section 11.1), which asks the server
// to send payload to peer. dontFragment adds DONT-FRAGMENT. The error is ErrTooLong or
// ErrAddress; dst is then returned as it was.
func AppendSend(dst []byte, id TransactionID, peer netip.AddrPort, payload []byte, dontFragment bool) ([]byte, error) {
	if !peer.IsValid() {
		return dst, ErrAddress
	}
	ip := peer.Addr().Unmap()
	size, family := 16, byte(familyIPv6)
	if ip.Is4() {
		size, family = 4, familyIPv4
	}
	body := attrHeaderSize + 4 + size + attrHeaderSize + padded(len(payload))
	if dontFragment {
		body += attrHeaderSize
	}
	if body > maxBodySize {
		return dst, ErrTooLong
	}
	dst = binary.BigEndian.AppendUint16(dst, sendIndication)
	dst = binary.BigEndian.AppendUint16(dst, uint16(body))
	dst = binary.BigEndian.AppendUint32(dst, MagicCookie)
	dst = append(dst, id[:]...)
	mask := [16]byte(dst[len(dst)-16:])

	dst = binary.BigEndian.AppendUint16(dst, uint16(AttrXORPeerAddress))
	dst = binary.BigEndian.AppendUint16(dst, uint16(4+size))
	dst = append(dst, 0, family)
	dst = binary.BigEndian.AppendUint16(dst, peer.Port()^(MagicCookie>>16))
	if ip.Is4() {
		raw := ip.As4()
		for i := range raw {
			dst = append(dst, raw[i]^mask[i])
		}
	} else {
		raw := ip.As16()
		for i := range raw {
			dst = append(dst, raw[i]^mask[i])
		}
	}
	if dontFragment {
		dst = binary.BigEndian.AppendUint16(dst, uint16(AttrDontFragment))
		dst = binary.BigEndian.AppendUint16(dst, 0)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(AttrData))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	dst = append(dst, payload...)
	var zero [3]byte
	return append(dst, zero[:padded(len(payload))-len(payload)]...), nil
}

// DecodeData reads a Data indication (RFC 8656 section 11.4) that holds nothing but
// XOR-PEER-ADDRESS and DATA in any order, and attributes that may be passed over. It
// reports false for anything else, which a Message can then take apart. The payload is
// part of b; nothing is allocated.
func DecodeData(b []byte) (peer netip.AddrPort, payload []byte, ok bool) {
	if !IsSTUN(b) || binary.BigEndian.Uint16(b) != dataIndication {
		return netip.AddrPort{}, nil, false
	}
	for at := HeaderSize; at < len(b); {
		t := AttrType(binary.BigEndian.Uint16(b[at:]))
		length := int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + attrHeaderSize + padded(length)
		if next > len(b) {
			return netip.AddrPort{}, nil, false
		}
		v := b[at+attrHeaderSize:][:length:length]
		switch {
		case t == AttrXORPeerAddress && !peer.IsValid():
			if peer, ok = decodeAddress(v, [16]byte(b[4:])); !ok {
				return netip.AddrPort{}, nil, false
			}
		case t == AttrData && payload == nil:
			payload = v
		case t == AttrMessageIntegrity, t == AttrMessageIntegritySHA256, t == AttrFingerprint,
			t == AttrICMP, t.Required() && t != AttrXORPeerAddress && t != AttrData:
			return netip.AddrPort{}, nil, false // what follows may not count
		}
		at = next
	}
	return peer, payload, peer.IsValid() && payload != nil
}

// The first two bytes of the two indications: methods 6 and 7, class 01.
const (
	sendIndication = 0x0016
	dataIndication = 0x0017
)
