package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Password algorithms (RFC 8489 section 18.5).
const (
	AlgorithmMD5    = 1
	AlgorithmSHA256 = 2
)

// STUN security features, as bits of what NonceFeatures returns (RFC 8489 section
// 18.1, where bit 0 is the most significant of 24).
const (
	FeaturePasswordAlgorithms = 1 << 23
	FeatureUsernameAnonymity  = 1 << 22
)

// nonceCookie is how the nonce of a server that implements RFC 8489 starts.
const nonceCookie = "obMatJos2"

// NonceFeatures returns the security features that a nonce announces; false if it
// does not start with a nonce cookie (RFC 8489 section 9.2).
func NonceFeatures(nonce []byte) (features uint32, ok bool) {
	const n = len(nonceCookie)
	if len(nonce) < n+4 || string(nonce[:n]) != nonceCookie {
		return 0, false
	}
	var bits [3]byte
	if _, err := base64.StdEncoding.Decode(bits[:], nonce[n:n+4]); err != nil {
		return 0, false
	}
	return uint32(bits[0])<<16 | uint32(bits[1])<<8 | uint32(bits[2]), true
}

// NonceCookie returns the 13 characters that announce features.
func NonceCookie(features uint32) string {
	return nonceCookie + base64.StdEncoding.EncodeToString([]byte{byte(features >> 16), byte(features >> 8), byte(features)})
}

// ParsePasswordAlgorithms appends the algorithms in the value of a PASSWORD-ALGORITHMS
// or PASSWORD-ALGORITHM attribute (RFC 8489 sections 14.11 and 14.12), at most 16.
// It reports false where the value is malformed. Parameters are passed over: no
// algorithm known has any.
func ParsePasswordAlgorithms(dst []uint16, value []byte) ([]uint16, bool) {
	for n := 0; len(value) > 0 && n < 16; n++ {
		if len(value) < 4 {
			return dst, false
		}
		size := 4 + padded(int(binary.BigEndian.Uint16(value[2:])))
		if size > len(value) {
			// The last one's padding may be the attribute's own.
			if 4+int(binary.BigEndian.Uint16(value[2:])) != len(value) {
				return dst, false
			}
			size = len(value)
		}
		dst = append(dst, binary.BigEndian.Uint16(value))
		value = value[size:]
	}
	return dst, true
}

// AddPasswordAlgorithms adds PASSWORD-ALGORITHMS or, for one, PASSWORD-ALGORITHM.
func (b *Builder) AddPasswordAlgorithms(t AttrType, algorithms ...uint16) {
	if p := b.attr(t, 4*len(algorithms)); p != nil {
		for i, a := range algorithms {
			binary.BigEndian.PutUint16(p[4*i:], a)
		}
	}
}

// UserHash returns the value of USERHASH (RFC 8489 section 14.4). Both strings must
// have been prepared by the caller.
func UserHash(username, realm string) []byte {
	sum := sha256.Sum256([]byte(username + ":" + realm))
	return sum[:]
}
