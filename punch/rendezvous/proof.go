package rendezvous

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/bradawl/bradawl/internal/ident"
)

// A peer's key agrees secrets but cannot sign. So the server has a key pair of
// its own, made when it starts, and the proof is a MAC over the server's fresh
// nonce under the secret of the two keys, which only their holders can compute.
//
// The host that the client dialled is part of it: a rendezvous that passes
// another one's challenge on to its clients gets proofs which that other
// refuses (if it knows its own name, ServerConfig.Name).

// nonceSize is the length of a challenge in bytes.
const nonceSize = 32

const proofContext = "bradawl rendezvous sign-on v1"

// makeProof proves to the holder of server, who sent nonce, that the caller
// holds id and dialled host. The server calls it with its own identity and the
// client's PeerID, and gets the same.
func makeProof(id *ident.Identity, other ident.PeerID, nonce []byte, host string) ([]byte, error) {
	secret, err := ident.DeriveSecret(id, other, proofContext)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(nonce) // of fixed length, so host needs no separator
	mac.Write([]byte(host))
	return mac.Sum(nil), nil
}

// checkProof reports whether proof is the one of peer.
func checkProof(server *ident.Identity, peer ident.PeerID, nonce []byte, host string, proof []byte) bool {
	want, err := makeProof(server, peer, nonce, host)
	return err == nil && hmac.Equal(proof, want)
}
