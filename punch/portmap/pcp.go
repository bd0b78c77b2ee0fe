package portmap

import (
	"encoding/binary"
	"net/netip"
)

const (
	serverPort = 5351 // of PCP (RFC 6887 section 19.1) and NAT-PMP (RFC 6886 section 3.1)

	pcpVersion    = 2
	pcpAnnounce   = 0
	pcpMap        = 1
	pcpHeader     = 24
	pcpMapSize    = 60
	pcpMax        = 1100 // RFC 6887 section 7
	answerBit     = 0x80
	unsuppVersion = 1
)

type nonce [12]byte

// pcpAnswer is a response of PCP. What follows epoch is of MAP alone, and only where
// mapped is true.
type pcpAnswer struct {
	opcode   uint8
	result   uint8
	lifetime uint32
	epoch    uint32
	mapped   bool
	nonce    nonce
	protocol Protocol
	internal uint16
	external netip.AddrPort
}

// appendPCP appends a request's header (RFC 6887 section 7.1).
func appendPCP(b []byte, opcode uint8, lifetime uint32, client netip.Addr) []byte {
	b = append(b, pcpVersion, opcode, 0, 0)
	b = binary.BigEndian.AppendUint32(b, lifetime)
	a := client.As16() // IPv4 as IPv4-mapped IPv6 (section 5)
	return append(b, a[:]...)
}

// appendMap appends a MAP request (section 11.1). A lifetime of 0 deletes. There are no
// options: least of all THIRD_PARTY, for mappings are for this host alone.
func appendMap(b []byte, lifetime uint32, client netip.Addr, n nonce, p Protocol, internal uint16, suggested netip.AddrPort) []byte {
	b = appendPCP(b, pcpMap, lifetime, client)
	b = append(b, n[:]...)
	b = append(b, uint8(p), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, internal)
	b = binary.BigEndian.AppendUint16(b, suggested.Port())
	ip := suggested.Addr()
	if !ip.IsValid() { // section 11.1: all zeros of the family wanted
		if ip = netip.IPv6Unspecified(); client.Is4() {
			ip = netip.IPv4Unspecified()
		}
	}
	a := ip.As16()
	return append(b, a[:]...)
}

// parsePCP reads a response; false: it is none that may be looked at (section 8.3).
func parsePCP(b []byte) (a pcpAnswer, ok bool) {
	if len(b) < pcpHeader || len(b) > pcpMax || len(b)%4 != 0 || b[0] != pcpVersion || b[1]&answerBit == 0 {
		return a, false
	}
	a = pcpAnswer{
		opcode: b[1] &^ answerBit, result: b[3],
		lifetime: binary.BigEndian.Uint32(b[4:]), epoch: binary.BigEndian.Uint32(b[8:]),
	}
	if a.opcode == pcpMap && len(b) >= pcpMapSize {
		a.mapped = true
		copy(a.nonce[:], b[24:])
		a.protocol = Protocol(b[36])
		a.internal = binary.BigEndian.Uint16(b[40:])
		a.external = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[44:60])).Unmap(), binary.BigEndian.Uint16(b[42:]))
	}
	return a, true
}
