package portmap

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

const (
	pmpAddress = 0 // opcodes (RFC 6886 section 3)
	pmpUDP     = 1
	pmpTCP     = 2
)

// pmp speaks NAT-PMP.
type pmp struct{ asker }

func newPMP(s *speaker) dialect {
	p := &pmp{asker{s: s}}
	p.pause = func(sends int) time.Duration { return 250 * time.Millisecond << sends } // section 3.1
	return p
}

// habits: after a restart all hosts ask anew, spread over 5 s (section 3.7).
func (p *pmp) habits() habits { return habits{rests: 1, spread: 5 * time.Second} }

func (p *pmp) begin(now time.Time, j *job) {
	switch t := j.target; {
	case t.Protocol == 0:
		p.ask(now, []byte{0, pmpAddress})
	case j.kind == jobMap:
		p.ask(now, appendPMP(nil, t.Protocol, t.Internal.Port(), t.external.Port(), uint32(t.life/time.Second)))
	default:
		p.ask(now, appendPMP(nil, t.Protocol, t.Internal.Port(), 0, 0))
	}
}

// hear takes in a response; see pcp's of one in the other dialect.
func (p *pmp) hear(now time.Time, d machine.Datagram) {
	if !p.asked(d.Remote) {
		return
	}
	if a, ok := parsePCP(d.Data); ok && a.result == unsuppVersion {
		p.unspoken(now, &RouterError{Code: unsuppVersion, Name: named(pcpResults[:], unsuppVersion)})
	}
	if a, ok := parsePMP(d.Data); ok && a.result != unsuppVersion {
		p.answered(now, a)
	}
}

func (p *pmp) answered(now time.Time, a pmpAnswer) {
	s := p.s
	if !s.running {
		return
	}
	j := s.jobs[0]
	if j.target.Protocol == 0 {
		if a.opcode != pmpAddress {
			return
		}
	} else if a.opcode != pmpOpcode(j.target.Protocol) || a.result == 0 && a.internal != j.target.Internal.Port() {
		return
	}
	if s.epoch.restarted(now, a.epoch) {
		defer s.restarted(now)
	}
	switch {
	case a.result != 0 && j.kind != jobWatch && j.kind != jobUnmap:
		s.finish(now, grant{err: &RouterError{Code: int(a.result), Name: named(pmpResults[:], int(a.result))}})
	case a.opcode == pmpAddress && a.result == 0:
		s.readdress(now, a.external)
		s.finish(now, grant{})
	case j.kind == jobMap && a.lifetime == 0:
		s.finish(now, grant{err: bad("granted for no time at all")})
	default:
		s.finish(now, grant{external: netip.AddrPortFrom(s.external, a.mapped), lifetime: time.Duration(a.lifetime) * time.Second})
	}
}

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
