package simnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// ask answers what comes to the port of PCP and NAT-PMP.
func (g *Gateway) ask(now time.Time, d machine.Datagram) []byte {
	switch {
	case len(d.Data) < 2 || d.Data[1]&0x80 != 0:
		return nil
	case d.Data[0] == 2 && g.cfg.PCP:
		g.Asked["pcp"]++
		return g.pcp(now, d)
	case d.Data[0] == 0 && g.cfg.NATPMP:
		g.Asked["nat-pmp"]++
		return g.pmp(now, d)
	case g.cfg.PCP: // RFC 6887 section 9: another version is wanted
		answer := make([]byte, 24)
		answer[0], answer[1], answer[3] = 2, d.Data[1]|0x80, 1
		binary.BigEndian.PutUint32(answer[8:], g.epoch(now))
		return answer
	case g.cfg.NATPMP: // RFC 6886 section 3.5
		return binary.BigEndian.AppendUint32([]byte{0, d.Data[1] | 0x80, 0, 1}, g.epoch(now))
	}
	return nil
}

// pmp answers a request of NAT-PMP (RFC 6886 sections 3.2 and 3.3).
func (g *Gateway) pmp(now time.Time, d machine.Datagram) []byte {
	op := d.Data[1]
	head := func(result uint16) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0, op | 0x80}, result)
		return binary.BigEndian.AppendUint32(b, g.epoch(now))
	}
	switch {
	case op == 0:
		a := g.outside(d.Remote.Addr()).As4()
		return append(head(0), a[:]...)
	case op > 2 || len(d.Data) < 12:
		return head(5)
	}
	proto := UDP
	if op == 2 {
		proto = TCP
	}
	inside := netip.AddrPortFrom(d.Remote.Addr(), binary.BigEndian.Uint16(d.Data[4:]))
	external := netip.AddrPortFrom(netip.Addr{}, binary.BigEndian.Uint16(d.Data[6:]))
	var life time.Duration
	result := g.cfg.PMPResult
	if asked := binary.BigEndian.Uint32(d.Data[8:]); asked == 0 {
		g.nat.table.revoke(now, proto, inside)
		external, result = netip.AddrPort{}, 0
	} else if life = g.life(asked); result == 0 {
		var ok bool
		if external, ok = g.nat.table.grant(now, proto, inside, external.Port(), false, life); !ok {
			result = 4
		}
	}
	b := binary.BigEndian.AppendUint16(head(result), inside.Port())
	b = binary.BigEndian.AppendUint16(b, external.Port())
	return binary.BigEndian.AppendUint32(b, g.told(life))
}

// pcp answers a request of PCP (RFC 6887 sections 7, 11 and 14).
func (g *Gateway) pcp(now time.Time, d machine.Datagram) []byte {
	if len(d.Data) < 24 {
		return nil
	}
	answer := append([]byte(nil), d.Data...)
	finish := func(result uint8, life uint32) []byte {
		answer[1] |= 0x80
		answer[2], answer[3] = 0, result
		binary.BigEndian.PutUint32(answer[4:], life)
		binary.BigEndian.PutUint32(answer[8:], g.epoch(now))
		clear(answer[12:24])
		return answer
	}
	client := netip.AddrFrom16([16]byte(d.Data[8:24])).Unmap()
	op := d.Data[1]
	switch {
	case client != d.Remote.Addr().WithZone(""):
		return finish(12, 30) // ADDRESS_MISMATCH
	case op == 0:
		return finish(0, 0)
	case op != 1:
		return finish(4, 30) // UNSUPP_OPCODE
	case len(d.Data) < 60:
		return finish(3, 30) // MALFORMED_REQUEST
	case g.cfg.PCPResult != 0:
		return finish(g.cfg.PCPResult, 60)
	}
	proto := UDP
	if answer[36] == 6 {
		proto = TCP
	}
	key := static{proto, netip.AddrPortFrom(client, binary.BigEndian.Uint16(answer[40:]))}
	live := g.nat.table.statics.from(now, key.proto, key.inside) != nil
	if live && !bytes.Equal(g.owners[key], answer[24:36]) {
		return finish(2, 30) // NOT_AUTHORIZED: the mapping has another nonce
	}
	if binary.BigEndian.Uint32(answer[4:]) == 0 {
		g.nat.table.revoke(now, key.proto, key.inside)
		delete(g.owners, key)
		return finish(0, 0)
	}
	life := g.life(binary.BigEndian.Uint32(answer[4:]))
	external, ok := g.nat.table.grant(now, key.proto, key.inside, binary.BigEndian.Uint16(answer[42:]), false, life)
	if !ok {
		return finish(8, 30) // NO_RESOURCES
	}
	g.owners[key] = append([]byte(nil), answer[24:36]...)
	told := external.Addr()
	if g.cfg.Outside.IsValid() {
		told = g.cfg.Outside
	}
	binary.BigEndian.PutUint16(answer[42:], external.Port())
	a := told.As16()
	copy(answer[44:], a[:])
	return finish(0, g.told(life))
}
