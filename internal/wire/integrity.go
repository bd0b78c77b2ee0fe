package wire

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"

	"github.com/pion/stun/v3"
)

// CheckIntegrity verifies MESSAGE-INTEGRITY, an HMAC-SHA1 over the message in
// front of it (RFC 8489 section 14.5). The key is the password itself with
// short-term credentials, LongTermKey with long-term ones. The error is
// ErrNoIntegrity or ErrIntegrity.
func (m *Message) CheckIntegrity(key []byte) error {
	if m.integrity == 0 {
		return ErrNoIntegrity
	}
	v, _ := m.value(m.integrity)
	return check(v, m.mac.sha1(key, m.raw, m.integrity))
}

// CheckIntegritySHA256 verifies MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6)
// like CheckIntegrity. Truncated values are refused: no usage here allows them.
func (m *Message) CheckIntegritySHA256(key []byte) error {
	if m.integrity2 == 0 {
		return ErrNoIntegrity
	}
	v, _ := m.value(m.integrity2)
	return check(v, m.mac.sha256(key, m.raw, m.integrity2))
}

func check(got, want []byte) error {
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return ErrIntegrity
	}
	return nil
}

// CheckFingerprint verifies FINGERPRINT (RFC 8489 section 14.7). The error is
// ErrNoFingerprint or ErrFingerprint.
func (m *Message) CheckFingerprint() error {
	if m.fingerprint == 0 {
		return ErrNoFingerprint
	}
	// Decode has made sure that it is the last attribute, so the length in the
	// header is the one that the CRC was computed with.
	v, _ := m.value(m.fingerprint)
	if len(v) != 4 || binary.BigEndian.Uint32(v) != stun.FingerprintValue(m.raw[:m.fingerprint]) {
		return ErrFingerprint
	}
	return nil
}

// LongTermKey returns the key of long-term credentials for MESSAGE-INTEGRITY:
// MD5 of "username:realm:password" (RFC 8489 section 18.5.1.1). The strings must
// have been prepared (SASLprep or OpaqueString) by the caller.
func LongTermKey(username, realm, password string) []byte {
	sum := md5.Sum([]byte(username + ":" + realm + ":" + password))
	return sum[:]
}

// LongTermKeySHA256 returns the key for the SHA-256 password algorithm (RFC 8489
// section 18.5.1.2).
func LongTermKeySHA256(username, realm, password string) []byte {
	sum := sha256.Sum256([]byte(username + ":" + realm + ":" + password))
	return sum[:]
}

// mac computes HMACs (RFC 2104) without allocating once it has its hashes.
// crypto/hmac would allocate for every key, and pion's pooled one can be reached
// only through methods that write to the message.
type mac struct {
	h1, h256 hash.Hash
	block    [64]byte // the block size of both hashes
	sum      [sha256.Size]byte
	header   [4]byte
}

func (c *mac) sha1(key, raw []byte, at int) []byte {
	if c.h1 == nil {
		c.h1 = sha1.New()
	}
	return c.hmac(c.h1, key, raw, at)
}

func (c *mac) sha256(key, raw []byte, at int) []byte {
	if c.h256 == nil {
		c.h256 = sha256.New()
	}
	return c.hmac(c.h256, key, raw, at)
}

// hmac returns the HMAC of raw up to the integrity attribute at offset at, with
// the length in the header as if the message ended with that attribute. It is
// valid until the next call; raw is only read.
func (c *mac) hmac(h hash.Hash, key, raw []byte, at int) []byte {
	if len(key) > len(c.block) {
		h.Reset()
		h.Write(key)
		key = h.Sum(c.sum[:0])
	}
	c.block = [64]byte{}
	copy(c.block[:], key)
	for i := range c.block {
		c.block[i] ^= 0x36
	}
	copy(c.header[:], raw)
	binary.BigEndian.PutUint16(c.header[2:], uint16(at+attrHeaderSize+h.Size()-HeaderSize))

	h.Reset()
	h.Write(c.block[:])
	h.Write(c.header[:])
	h.Write(raw[len(c.header):at])
	inner := h.Sum(c.sum[:0])

	for i := range c.block {
		c.block[i] ^= 0x36 ^ 0x5c
	}
	h.Reset()
	h.Write(c.block[:])
	h.Write(inner)
	return h.Sum(c.sum[:0])
}
