package ice

import (
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
)

// foundation returns the foundation of a candidate (RFC 8445 section 5.1.1.3): 8
// ice-chars, the same for candidates of the same type, base IP, server IP and transport.
// server is not valid for host candidates.
//
// key is the agent's own secret, drawn once: without it, whoever reads a foundation could
// try all IPv4 addresses and find the base that the agent hides. Two agents' foundations
// are never compared, so each may have its own key.
func foundation(key [16]byte, t CandidateType, base, server netip.Addr, transport Transport) string {
	b := make([]byte, 0, 128)
	b = append(b, key[:]...)
	b = append(b, byte(t), byte(transport))
	for _, ip := range [...]netip.Addr{base, server} {
		as16 := ip.As16() // the same for an IPv4 address and its mapped form
		b = append(b, as16[:]...)
	}
	b = append(b, base.Zone()...) // fe80::1 may stand on each of several interfaces
	sum := sha256.Sum256(b)
	return iceText(sum[:6])
}

// iceText writes bytes, a multiple of three, in ice-chars: that is the alphabet of base64.
func iceText(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
