package seal

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"

	"github.com/flynn/noise"

	"github.com/bradawl/bradawl/internal/ident"
)

// MaxPayload is the longest payload of an offer or an answer, in bytes.
const MaxPayload = 32 << 10

// ErrForged says that a message was not made by who it should be, for whom it should be,
// or was changed.
var ErrForged = errors.New("seal: a message that does not decrypt: another peer's, for another peer, or changed on its way")

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256)

func newState(id *ident.Identity, peer ident.PeerID, initiator bool, secrets io.Reader) (*noise.HandshakeState, error) {
	c := noise.Config{
		CipherSuite: suite, Random: secrets, Pattern: noise.HandshakeIK, Initiator: initiator,
		Prologue:      []byte("bradawl session v1"),
		StaticKeypair: noise.DHKey{Private: id.Bytes(), Public: id.ID().Bytes()},
	}
	if initiator {
		c.PeerStatic = peer.Bytes()
	}
	hs, err := noise.NewHandshakeState(c)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return hs, nil
}

// Offer is a handshake that we began.
type Offer struct {
	hs   *noise.HandshakeState
	peer ident.PeerID
	done bool
}

// NewOffer begins a handshake with peer: the message carries payload, which only peer can
// read, and which says that it is of id. secrets must be hard to guess.
func NewOffer(id *ident.Identity, peer ident.PeerID, payload []byte, secrets io.Reader) (o *Offer, message []byte, err error) {
	if len(payload) > MaxPayload {
		return nil, nil, fmt.Errorf("seal: a payload of %d bytes, at most %d", len(payload), MaxPayload)
	}
	hs, err := newState(id, peer, true, secrets)
	if err != nil {
		return nil, nil, err
	}
	message, _, _, err = hs.WriteMessage(nil, payload)
	if err != nil {
		return nil, nil, fmt.Errorf("seal: %w", err)
	}
	return &Offer{hs: hs, peer: peer}, message, nil
}

// Finish takes in the answer, and returns its payload and the keys. A forged answer is
// ErrForged and changes nothing: the true one may still come.
func (o *Offer) Finish(answer []byte) (payload []byte, k *Keys, err error) {
	if o.done {
		return nil, nil, errors.New("seal: the handshake is over")
	}
	if !wellFormed(answer) {
		return nil, nil, ErrForged
	}
	payload, send, receive, err := o.hs.ReadMessage(nil, answer)
	if err != nil || send == nil {
		return nil, nil, ErrForged // the state rolls back
	}
	o.done = true
	return payload, newKeys(send.UnsafeKey(), receive.UnsafeKey()), nil
}

// wellFormed reports whether a message begins with a public key that one can agree on keys
// with. With one of low order the handshake would fail half-way, and not roll back.
func wellFormed(message []byte) bool {
	const size = 32
	if len(message) < size {
		return false
	}
	public, err := ecdh.X25519().NewPublicKey(message[:size])
	if err != nil {
		return false
	}
	_, err = anyKey.ECDH(public)
	return err == nil
}

// anyKey is a private key that protects nothing: with each, a point of low order gives zero.
var anyKey, _ = ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{1}, 32))

// Received is an offer of a peer.
type Received struct {
	From    ident.PeerID
	Payload []byte
	hs      *noise.HandshakeState
}

// Receive reads an offer. The error is ErrForged if it is not for id.
func Receive(id *ident.Identity, message []byte, secrets io.Reader) (*Received, error) {
	hs, err := newState(id, ident.PeerID{}, false, secrets)
	if err != nil {
		return nil, err
	}
	payload, _, _, err := hs.ReadMessage(nil, message)
	if err != nil {
		return nil, ErrForged
	}
	from, err := ident.PeerIDFromBytes(hs.PeerStatic())
	if err != nil {
		return nil, ErrForged
	}
	return &Received{From: from, Payload: payload, hs: hs}, nil
}

// Answer ends the handshake. It can be called once.
func (r *Received) Answer(payload []byte) (message []byte, k *Keys, err error) {
	if len(payload) > MaxPayload {
		return nil, nil, fmt.Errorf("seal: a payload of %d bytes, at most %d", len(payload), MaxPayload)
	}
	message, receive, send, err := r.hs.WriteMessage(nil, payload)
	if err != nil {
		return nil, nil, fmt.Errorf("seal: %w", err)
	}
	return message, newKeys(send.UnsafeKey(), receive.UnsafeKey()), nil
}
