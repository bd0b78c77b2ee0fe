package ident

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// An Identity is the private half of a [PeerID]: who holds it is that peer.
//
// It never prints its key, whatever the verb; only [Identity.Bytes] gives it out.
// An Identity does not change, and is safe for concurrent use. The zero value is
// nobody's: it has no key, and shares no secrets.
type Identity struct {
	// A func, for fmt looks through pointers and unexported fields (%s of a
	// struct that holds an Identity by value, say), but into no closure.
	key func() *ecdh.PrivateKey
	id  PeerID
}

// NewIdentity makes an Identity from the next 32 bytes of r; nil means
// crypto/rand. A seeded r makes the same Identity each time, which only tests
// want.
func NewIdentity(r io.Reader) (*Identity, error) {
	if r == nil {
		r = rand.Reader
	}
	// ecdh's own GenerateKey disregards the reader it is given.
	var secret [KeySize]byte
	if _, err := io.ReadFull(r, secret[:]); err != nil {
		return nil, fmt.Errorf("ident: reading %d random bytes for a new identity: %w", KeySize, err)
	}
	return IdentityFromBytes(secret[:])
}

// IdentityFromBytes makes the Identity that [Identity.Bytes] gave: 32 bytes,
// which it copies.
func IdentityFromBytes(secret []byte) (*Identity, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("ident: a private key of %d bytes, want %d; is it the file that was kept?", len(secret), KeySize)
	}
	if [KeySize]byte(secret) == ([KeySize]byte{}) {
		return nil, errors.New("ident: a private key of zeros only, which everybody knows; make a new identity")
	}
	key, err := ecdh.X25519().NewPrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("ident: private key: %w", err)
	}
	id, err := PeerIDFromBytes(key.PublicKey().Bytes())
	if err != nil {
		return nil, err
	}
	return &Identity{key: func() *ecdh.PrivateKey { return key }, id: id}, nil
}

// ID returns the public half.
func (i Identity) ID() PeerID { return i.id }

// Bytes returns a copy of the private key, 32 bytes, for keeping. Whoever reads
// it is this peer from then on. The zero Identity has none: nil.
func (i Identity) Bytes() []byte {
	if i.key == nil {
		return nil
	}
	return i.key().Bytes()
}

// Shared returns the X25519 secret with peer (RFC 7748 section 6.1), 32 bytes,
// the same on both sides. It is no key yet: feed it to a key derivation, or use
// [DeriveSecret]. It fails for the zero peer, and of the zero Identity.
func (i Identity) Shared(peer PeerID) ([]byte, error) {
	if i.key == nil {
		return nil, errors.New("ident: the zero identity has no key, and shares no secret; make a new identity")
	}
	if peer.IsZero() {
		return nil, errors.New("ident: no secret can be shared with the zero peer ID; name the peer")
	}
	public, err := ecdh.X25519().NewPublicKey(peer.key[:])
	if err != nil {
		return nil, fmt.Errorf("ident: peer %s: %w", peer.Short(), err)
	}
	secret, err := i.key().ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("ident: peer %s: %w", peer.Short(), err)
	}
	return secret, nil
}

// DeriveSecret returns a key of 32 bytes that only id's holder and peer's holder
// can compute: HKDF-SHA-256 (RFC 5869) over the X25519 secret, bound to both
// PeerIDs and to context, which says what the key is for. Both sides get the
// same key; another context gives an unrelated one. It is the same in every
// session, so it has no forward secrecy.
func DeriveSecret(id *Identity, peer PeerID, context string) ([]byte, error) {
	if id == nil {
		return nil, errors.New("ident: no identity given; the secret is of two")
	}
	shared, err := id.Shared(peer)
	if err != nil {
		return nil, err
	}
	low, high := id.id, peer
	if low.Compare(high) > 0 {
		low, high = high, low
	}
	// Fixed lengths before the one free part: no two inputs give the same info.
	info := "bradawl secret v1" + string(low.key[:]) + string(high.key[:]) + context
	key, err := hkdf.Key(sha256.New, shared, nil, info, KeySize)
	if err != nil {
		return nil, fmt.Errorf("ident: deriving the %q secret with peer %s: %w", context, peer.Short(), err)
	}
	return key, nil
}

// String names the public half, never the key.
func (i Identity) String() string { return "identity of " + i.id.String() }

// GoString is String: %#v shows no key either.
func (i Identity) GoString() string { return i.String() }

// Format writes String for every verb, so that no verb reaches the key.
func (i Identity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, i.String()) }
