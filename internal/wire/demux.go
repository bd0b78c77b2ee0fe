package wire

import "encoding/binary"

// Kind is the protocol that a datagram belongs to, as its first byte tells.
type Kind uint8

// The protocols that can share one port.
const (
	Unknown     Kind = iota // not assigned, or empty: drop
	STUN                    // 0-3, with a header that fits
	Bradawl                 // 4-15, unassigned by RFC 7983: bradawl's sealed datagrams
	ZRTP                    // 16-19
	DTLS                    // 20-63
	TURNChannel             // 64-79
	QUIC                    // 80-127 and 192-255
	RTP                     // 128-191, RTCP as well
)

// String returns the name of the protocol.
func (k Kind) String() string {
	names := [...]string{"unknown", "stun", "bradawl", "zrtp", "dtls", "turn-channel", "quic", "rtp"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[Unknown]
}

// Classify tells which protocol datagram b belongs to by its first byte (RFC
// 7983 section 7 as updated by RFC 9443). For STUN it wants the whole header to
// fit as well (IsSTUN).
func Classify(b []byte) Kind {
	if len(b) == 0 {
		return Unknown
	}
	switch c := b[0]; {
	case c < 4:
		if IsSTUN(b) {
			return STUN
		}
		return Unknown
	case c < 16:
		return Bradawl
	case c < 20:
		return ZRTP
	case c < 64:
		return DTLS
	case c < 80:
		return TURNChannel
	case c < 128:
		return QUIC
	case c < 192:
		return RTP
	default:
		return QUIC
	}
}

// IsSTUN tells whether datagram b has the header of a STUN message: reserved bits
// zero, magic cookie, and a length that is b's. Its attributes may still be
// malformed.
//
// All assigned methods fit first bytes 0-3 (RFC 7983 section 7).
func IsSTUN(b []byte) bool {
	if len(b) < HeaderSize || b[0] > 3 || binary.BigEndian.Uint32(b[4:]) != MagicCookie {
		return false
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	return size%4 == 0 && size == len(b)-HeaderSize
}
