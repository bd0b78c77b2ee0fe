package bradawl

import "github.com/bradawl/bradawl/internal/ident"

// PeerID names a peer: it is the text form of the peer's Curve25519 public key (RFC
// 7748), 52 characters of lower-case base32. It is comparable; the zero value names
// nobody. Its methods are safe for concurrent use.
type PeerID = ident.PeerID

// Identity is a peer's key pair. It is never printed. Its methods are safe for
// concurrent use.
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
