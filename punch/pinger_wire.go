package punch

import "encoding/binary"

// pingSize is the length in bytes of a Pinger's probe, and of its answer.
const pingSize = 8

// The probe, and its answer, which differs in one bit:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------------------------------+-------------------------------+
//	|      0x13     | 0 1 1 1 0 1 1|A|           sequence            |
//	+---------------+---------------+-------------------------------+
//	|                  timestamp, microseconds                      |
//	+---------------------------------------------------------------+
//
// A: 0 in a probe, 1 in an answer. Integers are big-endian and wrap. Each remote's
// sequence and timestamp start at random values; an answer repeats both.
//
// The first byte must tell the probe from what else may share the port. RFC 7983
// section 7 gives 0-3 to STUN, 16-19 to ZRTP, 20-63 to DTLS, 64-79 to TURN channels
// and 128-191 to RTP; RFC 9443 gives 80-127 and 192-255 to QUIC; 4-15 are bradawl's
// own sealed datagrams. That leaves no value free. ZRTP, however, sends only 16 of
// its four (RFC 6189 section 5: the lower bits are zero), in no datagram shorter
// than 28 bytes, and nothing here speaks ZRTP: 19 is taken by nobody. The second
// byte and the length of exactly 8 tell the probe from accidents.
const (
	pingFirst  = 0x13
	pingProbe  = 0x76
	pingAnswer = 0x77
)

// ping is a probe or an answer.
type ping struct {
	kind  byte // pingProbe or pingAnswer
	seq   uint16
	stamp uint32
}

func (p ping) encode() (b [pingSize]byte) {
	b[0], b[1] = pingFirst, p.kind
	binary.BigEndian.PutUint16(b[2:], p.seq)
	binary.BigEndian.PutUint32(b[4:], p.stamp)
	return b
}

func decodePing(b []byte) (p ping, ok bool) {
	if !IsPing(b) {
		return p, false
	}
	return ping{kind: b[1], seq: binary.BigEndian.Uint16(b[2:]), stamp: binary.BigEndian.Uint32(b[4:])}, true
}

// IsPing reports whether a datagram is a probe of a Pinger, or an answer to one, so
// that whoever reads a socket before or after a Pinger can tell them from data.
// It says nothing about who sent it.
func IsPing(b []byte) bool {
	return len(b) == pingSize && b[0] == pingFirst && (b[1] == pingProbe || b[1] == pingAnswer)
}
