package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
)

// Kind is what a sealed datagram carries.
type Kind uint8

// The kinds, of which there may be four.
const (
	Data    Kind = iota
	Ping         // path liveness
	Control      // what signalling also carries
	Close        // the connection's end
	numKinds
)

const (
	// Overhead is how many bytes longer a sealed datagram is than its payload.
	Overhead = Header + tagSize
	// Header is how many of them stand before it.
	Header = 12

	tagSize   = 16
	firstType = 4
)

// Reasons for which a datagram is not taken.
var (
	ErrNotSealed = errors.New("seal: no sealed datagram")
	ErrReplay    = errors.New("seal: a datagram that was taken before, or is too old to tell")
)

// Keys are what two peers seal their datagrams with. All methods are safe for concurrent
// use; sealing and opening do not allocate, if the destination has room, but for the first
// after Rest.
type Keys struct {
	send    sendKeys
	receive receiveKeys

	signalOut, signalIn signalKey
}

type sendKeys struct {
	counter atomic.Uint64
	epoch   atomic.Pointer[epoch]
	mu      sync.Mutex // of moving on
}

type receiveKeys struct {
	mu                    sync.Mutex
	before, now, upcoming *epoch // before and upcoming may be nil
	first                 uint64 // the lowest counter taken in now's time
	window                window
}

// epoch is one key of the chain.
type epoch struct {
	aead  atomic.Pointer[aead] // nil: at rest
	chain [32]byte             // of which the next comes
	phase byte
}

type aead struct{ cipher.AEAD }

func newKeys(send, receive [32]byte) *Keys {
	k := new(Keys)
	k.send.epoch.Store(newEpoch(derive(send, "bradawl data chain"), 0))
	k.receive.now = newEpoch(derive(receive, "bradawl data chain"), 0)
	k.signalOut.key = derive(send, "bradawl signal")
	k.signalIn.key = derive(receive, "bradawl signal")
	return k
}

func derive(key [32]byte, what string) [32]byte {
	out, err := hkdf.Expand(sha256.New, key[:], what, 32)
	if err != nil {
		panic("seal: " + err.Error()) // 32 bytes are never too many
	}
	return [32]byte(out)
}

func newEpoch(chain [32]byte, phase byte) *epoch { return &epoch{chain: chain, phase: phase} }

func (e *epoch) next() *epoch { return newEpoch(derive(e.chain, "bradawl data chain"), e.phase^1) }

// cipher returns what the epoch's key seals and opens with.
func (e *epoch) cipher() *aead {
	if a := e.aead.Load(); a != nil {
		return a
	}
	a := newAEAD(derive(e.chain, "bradawl data key"))
	e.aead.Store(a) // two goroutines may make it: either will do
	return a
}

func newAEAD(key [32]byte) *aead {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("seal: " + err.Error()) // the length is right
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return &aead{a}
}

// Rest lets go of what can be made again from the keys, 800 bytes for each direction: for
// a connection that is quiet.
func (k *Keys) Rest() {
	k.send.epoch.Load().aead.Store(nil)
	r := &k.receive
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range [...]*epoch{r.before, r.now, r.upcoming} {
		if e != nil {
			e.aead.Store(nil)
		}
	}
}

// Rekey makes what is sealed from now on use the next key; the peer follows by itself,
// if it has opened something under the key before: see to that first. Who gets hold of the
// new key cannot read what was sealed before.
func (k *Keys) Rekey() {
	k.send.mu.Lock()
	defer k.send.mu.Unlock()
	k.send.epoch.Store(k.send.epoch.Load().next())
}

// Sent is how many datagrams have been sealed.
func (k *Keys) Sent() uint64 { return k.send.counter.Load() }

// Seal appends payload, sealed for the receiver's index, to dst.
func (k *Keys) Seal(dst []byte, kind Kind, index uint32, payload []byte) []byte {
	e := k.send.epoch.Load()
	n := k.send.counter.Add(1)
	at := len(dst)
	dst = append(dst, firstType+byte(kind)<<1|e.phase, byte(index>>16), byte(index>>8), byte(index))
	dst = binary.BigEndian.AppendUint64(dst, n)
	header := dst[at : at+Header]
	return e.cipher().Seal(dst, header, payload, header)
}

// Index returns the receiver's index of a sealed datagram; false where b is none.
func Index(b []byte) (uint32, bool) {
	if len(b) < Overhead || b[0] < firstType || b[0] >= firstType+2*byte(numKinds) {
		return 0, false
	}
	return uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]), true
}

// Open appends the payload of a sealed datagram to dst, which must not overlap b, except
// that it may be b[Header:Header]; b is of no use then, not even after an error. The error
// is ErrNotSealed, ErrForged or ErrReplay.
func (k *Keys) Open(dst, b []byte) (payload []byte, kind Kind, err error) {
	if _, ok := Index(b); !ok {
		return dst, 0, ErrNotSealed
	}
	kind = Kind(b[0]-firstType) >> 1
	phase := b[0] & 1
	n := binary.BigEndian.Uint64(b[4:])
	r := &k.receive
	r.mu.Lock()
	if !r.window.fresh(n) {
		r.mu.Unlock()
		return dst, kind, ErrReplay
	}
	e := r.epochFor(phase, n)
	r.mu.Unlock()
	if e == nil {
		return dst, kind, ErrForged
	}
	payload, err = e.open(dst, b)
	if err != nil {
		return dst, kind, ErrForged
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.window.take(n) {
		return dst, kind, ErrReplay // another goroutine has just taken it
	}
	if e == r.upcoming {
		r.before, r.now, r.upcoming, r.first = r.now, e, nil, n
	}
	if r.before != nil && n >= r.first+windowSize {
		r.before = nil // what it could open is too old by now
	}
	return payload, kind, nil
}

func (e *epoch) open(dst, b []byte) ([]byte, error) {
	return e.cipher().Open(dst, b[:Header], b[Header:], b[:Header])
}

// epochFor returns the key that a datagram must have been sealed with.
func (r *receiveKeys) epochFor(phase byte, n uint64) *epoch {
	switch {
	case phase == r.now.phase:
		return r.now
	case r.before != nil && n < r.first:
		return r.before
	}
	if r.upcoming == nil {
		r.upcoming = r.now.next()
	}
	return r.upcoming
}

// windowSize is how far behind the newest datagram one may be.
const windowSize = 2048

// window remembers which of the last datagrams were taken (RFC 6479).
type window struct {
	bits [windowSize/64 + 1]uint64
	last uint64
}

// fresh reports whether n can still be taken.
func (w *window) fresh(n uint64) bool {
	switch {
	case n == 0, n+windowSize <= w.last:
		return false
	case n > w.last:
		return true
	}
	return w.bits[n/64%uint64(len(w.bits))]&(1<<(n%64)) == 0
}

// take takes n, or reports that it cannot be.
func (w *window) take(n uint64) bool {
	if !w.fresh(n) {
		return false
	}
	words := uint64(len(w.bits))
	if n > w.last {
		for i, word := w.last/64+1, uint64(0); i <= n/64 && word < words; i, word = i+1, word+1 {
			w.bits[i%words] = 0
		}
		w.last = n
	}
	w.bits[n/64%words] |= 1 << (n % 64)
	return true
}

// KindOf returns the kind of a sealed datagram, of which Index must have been true.
func KindOf(b []byte) Kind { return Kind(b[0]-firstType) >> 1 }
