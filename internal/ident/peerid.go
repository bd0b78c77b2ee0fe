package ident

import (
	"bytes"
	"encoding/base32"
	"encoding/hex"
	"strings"
)

const (
	// KeySize is the length in bytes of a public or private key.
	KeySize = 32
	// TextSize is the length in characters of a PeerID's text form.
	TextSize = 52

	shortSize = 8
)

// encoding is base32 of RFC 4648 section 6 in lower case, without padding: the
// text survives case folding, double clicks and host names.
var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

// A PeerID names a peer: it is the peer's Curve25519 public key (RFC 7748).
//
// It is a small value, comparable with ==, and fit to be a map key. The zero
// value names nobody. Every other PeerID is a key that a secret can be agreed
// with: it cannot be made from bytes for which that is impossible. Its methods
// are safe for concurrent use.
type PeerID struct {
	key [KeySize]byte
}

// ParsePeerID reads the text form of a PeerID: 52 characters of base32 in upper
// or lower case. A peer has exactly one PeerID: a text with stray trailing bits,
// a key that is not in its shortest form and the low-order points (RFC 7748
// section 6.1), with which every secret would be zero, are refused. The error is
// a *[PeerIDError].
func ParsePeerID(text string) (PeerID, error) {
	switch {
	case text == "":
		return PeerID{}, peerIDError(text, "is empty; give the %d characters that the peer shows as its ID", TextSize)
	case strings.TrimSpace(text) != text:
		return PeerID{}, peerIDError(text, "has white space around it; leave that out")
	case len(text) != TextSize:
		return PeerID{}, peerIDError(text, "is %d characters long, not the %d that the peer shows as its ID", len(text), TextSize)
	}
	var lower [TextSize]byte
	for i := range len(text) {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return PeerID{}, peerIDError(text, "has %q as character %d, where only a-z and 2-7 can be; copy it again", text[i], i+1)
		}
		lower[i] = c
	}
	var key [KeySize]byte
	if _, err := encoding.Decode(key[:], lower[:]); err != nil {
		return PeerID{}, peerIDError(text, "is not base32: %v; copy it again", err)
	}
	// 52 characters hold 260 bits; the last four must be zero, or one key would have 16 texts.
	if last := lower[TextSize-1]; last != 'a' && last != 'q' {
		return PeerID{}, peerIDError(text, "ends in %q, not in a or q: the last character is wrong; copy it again", last)
	}
	return fromKey(key, text)
}

// PeerIDFromBytes makes a PeerID of a public key of 32 bytes, which it copies.
// What ParsePeerID refuses, it refuses too.
func PeerIDFromBytes(key []byte) (PeerID, error) {
	if len(key) != KeySize {
		return PeerID{}, peerIDError(hex.EncodeToString(key), "is %d bytes long, want %d", len(key), KeySize)
	}
	return fromKey([KeySize]byte(key), hex.EncodeToString(key))
}

// fromKey checks the key; value is what the error shows.
func fromKey(key [KeySize]byte, value string) (PeerID, error) {
	if !canonical(&key) {
		return PeerID{}, peerIDError(value, "is not a public key in its shortest form; ask the peer for its ID again")
	}
	for i := range lowOrder {
		if key == lowOrder[i] {
			return PeerID{}, peerIDError(value, "is a low-order point, which is nobody's public key; copy it again")
		}
	}
	return PeerID{key: key}, nil
}

// canonical reports whether key, a little-endian number, is below 2^255-19.
// X25519 ignores the top bit and reduces the rest, so that without this check
// one peer had several names.
func canonical(key *[KeySize]byte) bool {
	if key[KeySize-1] != 0x7f {
		return key[KeySize-1] < 0x7f
	}
	for _, b := range key[1 : KeySize-1] {
		if b != 0xff {
			return true
		}
	}
	return key[0] < 0xed
}

// lowOrder are the points of small order, in shortest form: 0, 1, the two of
// order eight, and p-1.
var lowOrder = [...][KeySize]byte{
	{},
	{1},
	unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
	unhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
	unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
}

func unhex(s string) [KeySize]byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return [KeySize]byte(b)
}

// String returns the text form: 52 characters of lower-case base32. The zero
// PeerID gives "".
func (p PeerID) String() string {
	if p.IsZero() {
		return ""
	}
	return encoding.EncodeToString(p.key[:])
}

// Short returns the first 8 characters of the text form, for logs and screens.
// It names a peer to a reader and identifies nobody.
func (p PeerID) Short() string {
	if p.IsZero() {
		return ""
	}
	return p.String()[:shortSize]
}

// IsZero reports whether p names nobody.
func (p PeerID) IsZero() bool { return p == PeerID{} }

// Bytes returns a copy of the public key, 32 bytes.
func (p PeerID) Bytes() []byte { return bytes.Clone(p.key[:]) }

// Compare orders PeerIDs by their keys: -1, 0 or +1. Both ends of a connection
// can settle by it who takes which part.
func (p PeerID) Compare(q PeerID) int { return bytes.Compare(p.key[:], q.key[:]) }

// MarshalText implements encoding.TextMarshaler; the zero PeerID gives "".
func (p PeerID) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler by [ParsePeerID]; an empty
// text gives the zero PeerID.
func (p *PeerID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = PeerID{}
		return nil
	}
	q, err := ParsePeerID(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}
