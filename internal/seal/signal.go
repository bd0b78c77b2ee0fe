package seal

import (
	"encoding/binary"
	"sync"
)

// signalKey seals what goes by the signalling after the handshake. That is little, and
// nothing is kept ready for it.
type signalKey struct {
	key  [32]byte
	mu   sync.Mutex
	last uint64 // that was sealed, or opened
	seen uint64 // the 64 up to last that were opened, last in bit 0
}

// SealSignal seals a message for the signalling.
func (k *Keys) SealSignal(message []byte) []byte {
	s := &k.signalOut
	s.mu.Lock()
	s.last++
	n := s.last
	s.mu.Unlock()
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], n)
	return newAEAD(s.key).Seal(append([]byte(nil), nonce[4:]...), nonce[:], message, nil)
}

// OpenSignal opens a message of the peer's SealSignal, once, unless 64 later ones have
// been opened. The error is ErrForged or ErrReplay.
func (k *Keys) OpenSignal(sealed []byte) ([]byte, error) {
	if len(sealed) < 8+tagSize {
		return nil, ErrForged
	}
	var nonce [12]byte
	copy(nonce[4:], sealed[:8])
	s := &k.signalIn
	message, err := newAEAD(s.key).Open(nil, nonce[:], sealed[8:], nil)
	if err != nil {
		return nil, ErrForged
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := binary.BigEndian.Uint64(sealed)
	switch {
	case n > s.last:
		s.seen = s.seen<<min(n-s.last, 64) | 1
		s.last = n
	case s.last-n >= 64 || s.seen&(1<<(s.last-n)) != 0:
		return nil, ErrReplay
	default:
		s.seen |= 1 << (s.last - n)
	}
	return message, nil
}
