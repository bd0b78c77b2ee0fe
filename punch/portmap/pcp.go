package portmap

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
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

// pcp speaks PCP.
type pcp struct{ asker }

func newPCP(s *speaker) dialect {
	p := &pcp{asker{s: s}}
	// Section 8.1.1: 3 s within 10 %, doubling.
	p.pause = func(sends int) time.Duration {
		return time.Duration((0.9 + 0.2*s.g.m.random.Float64()) * float64(3*time.Second<<sends))
	}
	return p
}

func (p *pcp) habits() habits { return habits{rests: 1} }

func (p *pcp) begin(now time.Time, j *job) {
	t, local := j.target, p.s.g.Local.WithZone("")
	switch {
	case t.Protocol == 0:
		p.ask(now, appendPCP(nil, pcpAnnounce, 0, local))
	case j.kind == jobMap:
		p.ask(now, appendMap(nil, uint32(t.life/time.Second), local, t.nonce, t.Protocol, t.Internal.Port(), t.external))
	default:
		p.ask(now, appendMap(nil, 0, local, t.nonce, t.Protocol, t.Internal.Port(), netip.AddrPort{}))
	}
}

// hear takes in a response. A router that speaks NAT-PMP alone answers by that, that it
// does not understand the version (RFC 6887 section 9).
func (p *pcp) hear(now time.Time, d machine.Datagram) {
	if !p.asked(d.Remote) {
		return
	}
	if a, ok := parsePMP(d.Data); ok && a.result == unsuppVersion {
		p.unspoken(now, &RouterError{Code: unsuppVersion, Name: named(pmpResults[:], unsuppVersion)})
	}
	if a, ok := parsePCP(d.Data); ok && a.result != unsuppVersion {
		p.answered(now, a)
	}
}

func (p *pcp) answered(now time.Time, a pcpAnswer) {
	s := p.s
	if !s.running {
		return
	}
	j := s.jobs[0]
	if j.target.Protocol == 0 {
		if a.opcode != pcpAnnounce {
			return
		}
	} else if !a.mapped || a.nonce != j.target.nonce || a.protocol != j.target.Protocol || a.internal != j.target.Internal.Port() {
		return
	}
	if s.epoch.restarted(now, a.epoch) {
		defer s.restarted(now)
	}
	refused := &RouterError{Code: int(a.result), Name: named(pcpResults[:], int(a.result)), wait: time.Duration(min(a.lifetime, 86400)) * time.Second}
	switch {
	case j.kind == jobProbe && a.result != 0 && refused.Name != "UNSUPP_OPCODE" && refused.Name != "NOT_AUTHORIZED":
		s.finish(now, grant{err: refused})
	case j.kind != jobMap: // that there is an answer is enough
		s.finish(now, grant{})
	case a.result != 0:
		s.finish(now, grant{err: refused})
	case a.lifetime == 0:
		s.finish(now, grant{err: bad("granted for no time at all")})
	default:
		s.external = a.external.Addr()
		s.finish(now, grant{external: a.external, lifetime: time.Duration(a.lifetime) * time.Second})
	}
}

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
