package bradawl

import "github.com/bradawl/bradawl/internal/ident"

// PeerID names a peer: it is the text form of the peer's Curve25519 public key (RFC
// 7748), 52 characters of lower-case base32. It is comparable; the zero value names
// nobody. Its methods are safe for concurrent use:
//
//   - String is the text form, which ParsePeerID reads, and Short its first 8 characters, for
//     logs; "" of the zero value
//   - IsZero reports whether it names nobody
//   - Bytes is a copy of the public key, 32 bytes
//   - Compare orders by the keys, as bytes.Compare does
//   - MarshalText and UnmarshalText write and read the text form, "" for the zero value
type PeerID = ident.PeerID

// Identity is a peer's key pair. It is made by NewIdentity, LoadOrCreateIdentity or
// IdentityFromBytes; the zero value has no key, and a Config refuses it. Its methods are safe
// for concurrent use:
//
//   - ID is the PeerID that peers dial
//   - Bytes is a copy of the private key, 32 bytes, which IdentityFromBytes reads; nil of the
//     zero value
//   - Shared is the X25519 secret with a peer, 32 bytes, of which DeriveSecret makes keys; it
//     fails for the zero PeerID, and of the zero value
//   - String, GoString and Format name the PeerID: no way of printing shows the key
type Identity = ident.Identity

// NewIdentity makes an identity at random. It fails only if the system has no
// randomness.
func NewIdentity() (*Identity, error) { return ident.NewIdentity(nil) }

// IdentityFromBytes restores an identity from the 32 bytes that its Bytes method gave,
// which are secret. The error says what is wrong with them.
func IdentityFromBytes(secret []byte) (*Identity, error) { return ident.IdentityFromBytes(secret) }

// ParsePeerID reads the text form of a PeerID, in upper or lower case. The error says
// what is wrong with the text.
func ParsePeerID(text string) (PeerID, error) { return ident.ParsePeerID(text) }

// DeriveSecret gives the 32 bytes that only id and peer can compute, the same for both
// (X25519 and HKDF-SHA-256). Different contexts give unrelated secrets: name the
// purpose, and what makes this use of it different from the last one. It fails for the zero
// PeerID, and for a nil or zero id.
func DeriveSecret(id *Identity, peer PeerID, context string) ([]byte, error) {
	return ident.DeriveSecret(id, peer, context)
}
