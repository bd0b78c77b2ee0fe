package fingerprint

import (
	"bytes"
	"encoding/binary"
)

// ICMP types: RFC 792, RFC 4443 section 4.
const (
	echoReply4   = 0
	echoRequest4 = 8
	echoRequest6 = 128
	echoReply6   = 129

	echoHeader = 8 // type, code, checksum, identifier, sequence number
)

// appendEcho appends an echo request. The ICMPv6 checksum covers addresses that
// only the kernel knows, and it is the kernel's to fill in (RFC 3542 section 3.1).
func appendEcho(b []byte, v6 bool, id, seq uint16, token []byte) []byte {
	at := len(b)
	b = append(b, echoRequest4, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, token...)
	if v6 {
		b[at] = echoRequest6
	} else {
		binary.BigEndian.PutUint16(b[at+2:], checksum(b[at:]))
	}
	return b
}

// parseEcho returns the sequence number of an echo reply that carries the token.
// The identifier is not looked at: the kernel puts in its own, and has checked it.
func parseEcho(b []byte, v6 bool, token []byte) (seq uint16, ok bool) {
	want := byte(echoReply4)
	if v6 {
		want = echoReply6
	}
	if len(b) < echoHeader || b[0] != want || b[1] != 0 || !bytes.Equal(b[echoHeader:], token) {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[6:]), true
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
