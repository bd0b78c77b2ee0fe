package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v3"
)

// Builder writes one STUN message after another into a buffer that it keeps, so
// that reuse does not allocate. Start with Reset, add attributes, close with the
// integrity attributes and FINGERPRINT if wanted, take Bytes.
//
// What cannot be written (too long, out of order, no address) is remembered: Err
// tells the first such error and Bytes then returns nil, so adding needs no check.
//
// The zero value is ready for Reset. A Builder is not safe for concurrent use.
type Builder struct {
	buf    []byte
	err    error
	closed AttrType // the last of the closing attributes added so far
	mac    mac
}

// Reset starts a message. It invalidates the bytes of the one before.
func (b *Builder) Reset(t MessageType, id TransactionID) {
	b.start(t)
	binary.BigEndian.PutUint32(b.buf[4:], MagicCookie)
	copy(b.buf[8:], id[:])
}

// ResetClassic starts an RFC 3489 message with its 16-byte transaction ID.
func (b *Builder) ResetClassic(t MessageType, id [16]byte) {
	b.start(t)
	copy(b.buf[4:], id[:])
}

func (b *Builder) start(t MessageType) {
	const room = 192 // enough for a check or a response with all its addresses
	if b.buf == nil {
		b.buf = make([]byte, 0, room)
	}
	b.buf = b.buf[:HeaderSize]
	b.err, b.closed = nil, 0
	binary.BigEndian.PutUint16(b.buf, t.Value())
	binary.BigEndian.PutUint16(b.buf[2:], 0)
}

// Bytes returns the message, or nil if something could not be written. It is the
// Builder's own buffer, valid until the next Reset.
func (b *Builder) Bytes() []byte {
	if b.err != nil {
		return nil
	}
	return b.buf
}

// Len returns how long the message is so far, in bytes.
func (b *Builder) Len() int { return len(b.buf) }

// Err returns the first error since Reset: ErrTooLong, ErrOrder, ErrAddress or ErrCode.
func (b *Builder) Err() error { return b.err }

func (b *Builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// attr appends an attribute of n bytes and returns where its value goes, zeroed,
// or nil if it does not fit.
func (b *Builder) attr(t AttrType, n int) []byte {
	if b.buf == nil {
		b.fail(ErrOrder) // not started
	}
	if b.closed != 0 && !mayFollow(b.closed, t) {
		b.fail(ErrOrder)
	}
	if n > maxBodySize || len(b.buf)-HeaderSize+attrHeaderSize+padded(n) > maxBodySize {
		b.fail(ErrTooLong)
	}
	if b.err != nil {
		return nil
	}
	at := len(b.buf)
	need := attrHeaderSize + padded(n)
	for cap(b.buf) < at+need {
		b.buf = append(b.buf[:cap(b.buf)], 0)
	}
	b.buf = b.buf[:at+need]
	clear(b.buf[at:])
	binary.BigEndian.PutUint16(b.buf[at:], uint16(t))
	binary.BigEndian.PutUint16(b.buf[at+2:], uint16(n))
	binary.BigEndian.PutUint16(b.buf[2:], uint16(len(b.buf)-HeaderSize))
	return b.buf[at+attrHeaderSize:][:n]
}

// mayFollow says what a reader still honours behind a closing attribute (RFC
// 8489 sections 14.5 to 14.7).
func mayFollow(closed, t AttrType) bool {
	switch closed {
	case AttrMessageIntegrity:
		return t == AttrMessageIntegritySHA256 || t == AttrFingerprint
	case AttrMessageIntegritySHA256:
		return t == AttrFingerprint
	default:
		return false
	}
}

// AddRaw adds an attribute with a copy of value.
func (b *Builder) AddRaw(t AttrType, value []byte) {
	copy(b.attr(t, len(value)), value)
}

// AddString adds an attribute with text: USERNAME, REALM, NONCE, SOFTWARE. Their
// limits (RFC 8489 section 14) are the caller's to keep.
func (b *Builder) AddString(t AttrType, value string) {
	copy(b.attr(t, len(value)), value)
}

// AddUint32 adds an attribute of four bytes.
func (b *Builder) AddUint32(t AttrType, v uint32) {
	if p := b.attr(t, 4); p != nil {
		binary.BigEndian.PutUint32(p, v)
	}
}

// AddUint64 adds an attribute of eight bytes.
func (b *Builder) AddUint64(t AttrType, v uint64) {
	if p := b.attr(t, 8); p != nil {
		binary.BigEndian.PutUint64(p, v)
	}
}

// AddAddress adds a plain address (RFC 8489 section 14.1): MAPPED-ADDRESS,
// RESPONSE-ORIGIN, OTHER-ADDRESS and the RFC 3489 ones.
func (b *Builder) AddAddress(t AttrType, a netip.AddrPort) { b.address(t, a, [16]byte{}) }

// AddXORAddress adds an obfuscated address (RFC 8489 section 14.2).
func (b *Builder) AddXORAddress(t AttrType, a netip.AddrPort) {
	var mask [16]byte
	if len(b.buf) >= HeaderSize {
		mask = [16]byte(b.buf[4:])
	}
	b.address(t, a, mask)
}

func (b *Builder) address(t AttrType, a netip.AddrPort, mask [16]byte) {
	if !a.IsValid() {
		b.fail(ErrAddress)
		return
	}
	ip := a.Addr().Unmap()
	family, raw, size := byte(familyIPv6), ip.As16(), 16
	if ip.Is4() {
		v4 := ip.As4()
		family, size = familyIPv4, 4
		copy(raw[:], v4[:])
	}
	p := b.attr(t, 4+size)
	if p == nil {
		return
	}
	p[1] = family
	binary.BigEndian.PutUint16(p[2:], a.Port()^binary.BigEndian.Uint16(mask[:]))
	for i := range size {
		p[4+i] = raw[i] ^ mask[i]
	}
}

// AddErrorCode adds ERROR-CODE, 300 to 699, with a reason phrase (RFC 8489 section 14.8).
func (b *Builder) AddErrorCode(code int, reason string) {
	if code < 300 || code > 699 {
		b.fail(ErrCode)
		return
	}
	if p := b.attr(AttrErrorCode, 4+len(reason)); p != nil {
		p[2], p[3] = byte(code/100), byte(code%100)
		copy(p[4:], reason)
	}
}

// AddUnknownAttributes adds the types that were not understood (RFC 8489 section 14.9).
func (b *Builder) AddUnknownAttributes(types []AttrType) {
	if p := b.attr(AttrUnknownAttributes, 2*len(types)); p != nil {
		for i, t := range types {
			binary.BigEndian.PutUint16(p[2*i:], uint16(t))
		}
	}
}

// AddChangeRequest asks the server to answer from its other address, its other
// port, or both (RFC 5780 section 7.2).
func (b *Builder) AddChangeRequest(ip, port bool) {
	var flags uint32
	if ip {
		flags |= changeIP
	}
	if port {
		flags |= changePort
	}
	b.AddUint32(AttrChangeRequest, flags)
}

// AddResponsePort asks the server to answer to another port of the same address
// (RFC 5780 section 7.5). It is written with length 2, which servers understand.
func (b *Builder) AddResponsePort(port uint16) {
	if p := b.attr(AttrResponsePort, 2); p != nil {
		binary.BigEndian.PutUint16(p, port)
	}
}

// AddPadding adds n zero bytes of filling (RFC 5780 section 7.6).
func (b *Builder) AddPadding(n int) { b.attr(AttrPadding, n) }

// AddUseCandidate nominates the pair (RFC 8445 section 16.1).
func (b *Builder) AddUseCandidate() { b.attr(AttrUseCandidate, 0) }

// AddIntegrity adds MESSAGE-INTEGRITY over what has been added so far (RFC 8489
// section 14.5). Behind it only AddIntegritySHA256 and AddFingerprint may follow.
func (b *Builder) AddIntegrity(key []byte) {
	at := len(b.buf)
	if p := b.attr(AttrMessageIntegrity, 20); p != nil {
		copy(p, b.mac.sha1(key, b.buf, at))
		b.closed = AttrMessageIntegrity
	}
}

// AddIntegritySHA256 adds MESSAGE-INTEGRITY-SHA256, in full length (RFC 8489
// section 14.6). Behind it only AddFingerprint may follow.
func (b *Builder) AddIntegritySHA256(key []byte) {
	at := len(b.buf)
	if p := b.attr(AttrMessageIntegritySHA256, 32); p != nil {
		copy(p, b.mac.sha256(key, b.buf, at))
		b.closed = AttrMessageIntegritySHA256
	}
}

// AddFingerprint adds FINGERPRINT, the last attribute (RFC 8489 section 14.7).
func (b *Builder) AddFingerprint() {
	at := len(b.buf)
	if p := b.attr(AttrFingerprint, 4); p != nil {
		binary.BigEndian.PutUint32(p, stun.FingerprintValue(b.buf[:at]))
		b.closed = AttrFingerprint
	}
}
