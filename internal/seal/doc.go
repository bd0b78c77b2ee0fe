// Package seal agrees on keys with a peer and seals datagrams with them.
//
// The handshake is Noise_IK_25519_AESGCM_SHA256: the offer is its first message, the
// answer its second, so that keys are agreed in the signalling's one round trip, with
// forward secrecy once the answer is there. The offer alone could be replayed; whoever
// takes it in must see to it that its payload is fresh.
//
// A sealed datagram is 28 bytes longer than its payload:
//
//	type and key phase 1 | receiver's index 3 | counter 8 | payload | tag 16
//
// The first byte is one of 4 to 11, which RFC 7983 leaves free, so that STUN and the
// channels of TURN can share the socket. The first twelve bytes are the nonce, and are
// authenticated. Keys move on by a hash (see [Keys.Rekey]), which the key phase tells.
package seal
