package portmap

import (
	"encoding/binary"
	"net/netip"
)

const (
	pmpAddress = 0 // opcodes (RFC 6886 section 3)
	pmpUDP     = 1
	pmpTCP     = 2
)

// pmpAnswer is a response of NAT-PMP: external is of pmpAddress, the rest below it of
// the others.
type pmpAnswer struct {
	opcode   uint8
	result   uint16
	epoch    uint32
	external netip.Addr
	internal uint16
	mapped   uint16
	lifetime uint32
}

func pmpOpcode(p Protocol) uint8 {
	if p == TCP {
		return pmpTCP
	}
	return pmpUDP
}

// appendPMP appends a request for a mapping (section 3.3); lifetime 0 deletes it
// (section 3.4), and then suggested must be 0.
func appendPMP(b []byte, p Protocol, internal, suggested uint16, lifetime uint32) []byte {
	b = append(b, 0, pmpOpcode(p), 0, 0)
	b = binary.BigEndian.AppendUint16(b, internal)
	b = binary.BigEndian.AppendUint16(b, suggested)
	return binary.BigEndian.AppendUint32(b, lifetime)
}

// parsePMP reads a response; false: it is none. One that tells of a failure may be
// short.
func parsePMP(b []byte) (a pmpAnswer, ok bool) {
	if len(b) < 8 || len(b) > 16 || b[0] != 0 || b[1]&answerBit == 0 {
		return a, false
	}
	a = pmpAnswer{opcode: b[1] &^ answerBit, result: binary.BigEndian.Uint16(b[2:]), epoch: binary.BigEndian.Uint32(b[4:])}
	switch {
	case a.opcode == pmpAddress && len(b) >= 12:
		a.external = netip.AddrFrom4([4]byte(b[8:12]))
	case (a.opcode == pmpUDP || a.opcode == pmpTCP) && len(b) == 16:
		a.internal, a.mapped = binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
		a.lifetime = binary.BigEndian.Uint32(b[12:])
	case a.result == 0:
		return a, false
	}
	return a, true
}
