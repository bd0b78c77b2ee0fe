package wire

import (
	"encoding/binary"
	"slices"
)

// Message is a decoded STUN message. It refers to the bytes given to Decode and
// never writes to them: it, and every slice that its methods return, is valid as
// long as those bytes are. The zero value is ready for Decode and, until then, an
// empty message. Keep a Message for reuse; it then does not allocate.
//
// A Message is not safe for concurrent use; separate ones share nothing.
type Message struct {
	raw []byte

	// Offsets of attribute headers into raw; zero where there is none. Nothing is
	// kept for each attribute: messages are short and memory stays bounded whatever
	// arrives.
	end         int // of the attributes that count: see index
	integrity   int
	integrity2  int // MESSAGE-INTEGRITY-SHA256
	fingerprint int

	mac mac
}

// Decode reads b, which must hold one STUN message and nothing else. Attributes
// behind MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256, which nothing protects,
// are dropped here (RFC 8489 sections 14.5 and 14.6), except those two and
// FINGERPRINT. The error is ErrNotSTUN or ErrMalformed; the message is then empty.
func (m *Message) Decode(b []byte) error {
	m.clear()
	// RFC 8489 section 5: the first two bits of every message MUST be zero.
	if len(b) < HeaderSize || b[0]&0xC0 != 0 || binary.BigEndian.Uint32(b[4:]) != MagicCookie {
		return ErrNotSTUN
	}
	return m.index(b)
}

// DecodeClassic reads an RFC 3489 message, which has no magic cookie but a
// transaction ID of 16 bytes (see ClassicID). Use it only where such clients are
// served, and after Decode has refused b: nearly anything may look like one.
func (m *Message) DecodeClassic(b []byte) error {
	m.clear()
	if len(b) < HeaderSize || b[0]&0xC0 != 0 || binary.BigEndian.Uint32(b[4:]) == MagicCookie {
		return ErrNotSTUN
	}
	return m.index(b)
}

func (m *Message) clear() {
	m.raw = nil
	m.end, m.integrity, m.integrity2, m.fingerprint = 0, 0, 0, 0
}

// index walks the attributes once: it checks every length, and finds where the
// attributes that count end, namely at the first of MESSAGE-INTEGRITY,
// MESSAGE-INTEGRITY-SHA256, FINGERPRINT and the end of the message.
func (m *Message) index(b []byte) error {
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size%4 != 0 || size != len(b)-HeaderSize {
		return ErrMalformed
	}
	var integrity, integrity2, fingerprint int
	end := len(b)
	for at := HeaderSize; at < len(b); {
		if fingerprint != 0 {
			return ErrMalformed // RFC 8489 section 14.7: FINGERPRINT MUST be the last attribute
		}
		// All steps are multiples of four, so a whole attribute header is there.
		length := int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + attrHeaderSize + padded(length)
		if next > len(b) {
			return ErrMalformed
		}
		switch t := AttrType(binary.BigEndian.Uint16(b[at:])); {
		case t == AttrFingerprint:
			fingerprint = at
			end = min(end, at)
		case integrity2 != 0:
		case t == AttrMessageIntegritySHA256:
			integrity2 = at
			end = min(end, at)
		case integrity != 0:
		case t == AttrMessageIntegrity:
			integrity = at
			end = min(end, at)
		}
		at = next
	}
	m.raw, m.end = b, end
	m.integrity, m.integrity2, m.fingerprint = integrity, integrity2, fingerprint
	return nil
}

// Raw returns the bytes of the whole message, those that Decode was given.
func (m *Message) Raw() []byte { return m.raw }

// Type returns method and class.
func (m *Message) Type() (t MessageType) {
	if m.raw != nil {
		t.ReadValue(binary.BigEndian.Uint16(m.raw))
	}
	return t
}

// Method returns the method of the message.
func (m *Message) Method() Method { return m.Type().Method }

// Class returns the class of the message.
func (m *Message) Class() Class { return m.Type().Class }

// IsResponse tells whether the message is a success or an error response.
func (m *Message) IsResponse() bool {
	c := m.Class()
	return m.raw != nil && (c == Success || c == Failure)
}

// TransactionID returns the 12 bytes that name the transaction.
func (m *Message) TransactionID() (id TransactionID) {
	if m.raw != nil {
		copy(id[:], m.raw[8:HeaderSize])
	}
	return id
}

// ClassicID returns the transaction ID as RFC 3489 has it: the 12 bytes and, in
// front of them, the four where later messages have the magic cookie.
func (m *Message) ClassicID() (id [16]byte) {
	if m.raw != nil {
		copy(id[:], m.raw[4:HeaderSize])
	}
	return id
}

// Get returns the value of the first attribute of type t; further ones of that
// type are ignored (RFC 8489 section 14). The slice is part of the bytes given
// to Decode.
func (m *Message) Get(t AttrType) ([]byte, bool) {
	switch t {
	case AttrMessageIntegrity:
		return m.value(m.integrity)
	case AttrMessageIntegritySHA256:
		return m.value(m.integrity2)
	case AttrFingerprint:
		return m.value(m.fingerprint)
	}
	for at := HeaderSize; at < m.end; {
		v, _ := m.value(at)
		if AttrType(binary.BigEndian.Uint16(m.raw[at:])) == t {
			return v, true
		}
		at += attrHeaderSize + padded(len(v))
	}
	return nil, false
}

// Has tells whether there is an attribute of type t, well-formed or not.
func (m *Message) Has(t AttrType) bool {
	_, ok := m.Get(t)
	return ok
}

// value returns the value of the attribute at offset at; index has checked it.
func (m *Message) value(at int) ([]byte, bool) {
	if at == 0 {
		return nil, false
	}
	length := int(binary.BigEndian.Uint16(m.raw[at+2:]))
	v := m.raw[at+attrHeaderSize:][:length:length]
	return v, true
}

// MaxUnknown is how many attribute types AppendUnknown finds at most, and so
// how long an UNKNOWN-ATTRIBUTES becomes whatever was sent.
const MaxUnknown = 16

// AppendUnknown appends to dst the comprehension-required attribute types of the
// message that are not in known, each once, at most MaxUnknown. The integrity
// attributes are always known.
// A request that has any is answered with 420 and this list, a response that has
// any fails its transaction (RFC 8489 section 6.3).
func (m *Message) AppendUnknown(dst []AttrType, known []AttrType) []AttrType {
	start := len(dst)
	for at := HeaderSize; at < m.end && len(dst)-start < MaxUnknown; {
		t := AttrType(binary.BigEndian.Uint16(m.raw[at:]))
		if t.Required() && !slices.Contains(known, t) && !slices.Contains(dst[start:], t) {
			dst = append(dst, t)
		}
		v, _ := m.value(at)
		at += attrHeaderSize + padded(len(v))
	}
	return dst
}
