// Package ident says who a peer is: a peer is its Curve25519 public key.
//
// [PeerID] is that key, with a text form that people can copy; [Identity] is the
// private half. Because the name is the key, nobody vouches for it: whoever
// completes a key agreement with the PeerID that was dialled is that peer.
//
// It lies on the ground floor so that every package can name a peer without
// importing the one above it.
package ident
