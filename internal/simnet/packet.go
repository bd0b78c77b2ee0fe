package simnet

import (
	"fmt"
	"net/netip"
)

// Proto is the transport of a packet.
type Proto uint8

// The transports that travel in a world.
const (
	UDP Proto = iota
	TCP
	ICMP // errors
	Echo // ICMP echo requests and replies
)

// String returns the transport's name.
func (p Proto) String() string {
	switch p {
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	case ICMP:
		return "icmp"
	case Echo:
		return "echo"
	}
	return "unknown"
}

// Packet is one IP packet under way.
type Packet struct {
	Proto    Proto
	Src, Dst netip.AddrPort
	TTL      uint8
	DF       bool // don't fragment
	Data     []byte
	Segment  Segment // TCP only
	Error    *Error  // ICMP only
}

// Segment is what a TCP header adds to a packet.
type Segment struct {
	Flags    Flags
	Seq, Ack uint32
	Window   uint32
}

// Flags are TCP control bits.
type Flags uint8

// The control bits that the simulated hosts and NATs look at (RFC 9293 3.1).
const (
	FIN Flags = 1 << iota
	SYN
	RST
	ACK
)

// String spells the bits, "SYN|ACK".
func (f Flags) String() string {
	s := ""
	for i, n := range []string{"FIN", "SYN", "RST", "ACK"} {
		if f&(1<<i) != 0 {
			if s != "" {
				s += "|"
			}
			s += n
		}
	}
	return s
}

// ErrorKind is the sort of an ICMP error.
type ErrorKind uint8

// The ICMP errors of a world, as ICMPv4 and ICMPv6 both have them.
const (
	PortUnreachable ErrorKind = iota
	HostUnreachable
	AdminProhibited
	TTLExceeded
	PacketTooBig
)

// String describes the error as a system would.
func (k ErrorKind) String() string {
	return [...]string{"port unreachable", "host unreachable", "administratively prohibited", "time to live exceeded", "packet too big"}[k]
}

// Error is an ICMP error about a packet: what is quoted of that packet is its
// transport and its addresses, as they were where the error arose.
type Error struct {
	Kind     ErrorKind
	MTU      int        // PacketTooBig only
	From     netip.Addr // who says so, as the host knows it that hears it
	Proto    Proto
	Src, Dst netip.AddrPort
}

// Error makes an ICMP error usable as a Go error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s to %s", e.Kind, e.Proto, e.Dst)
}

// size is the length of the packet on the wire, in bytes, IP header included.
func (p *Packet) size() int {
	n := 20
	if p.Dst.Addr().Is6() {
		n = 40
	}
	switch p.Proto {
	case UDP, Echo:
		n += 8
	case TCP:
		n += 20
	case ICMP:
		n += 8 + 28
	}
	return n + len(p.Data)
}

// clone copies a packet that is to travel twice. Data is never changed under way,
// so it is shared.
func (p *Packet) clone() *Packet {
	c := *p
	if p.Error != nil {
		e := *p.Error
		c.Error = &e
	}
	return &c
}

// complaint is the ICMP error that a device at from sends about p; nil where none
// may be sent, which is about another error (RFC 1122 3.2.2).
func complaint(from netip.Addr, p *Packet, kind ErrorKind) *Packet {
	if p.Proto == ICMP || !from.IsValid() {
		return nil
	}
	return &Packet{
		Proto: ICMP,
		Src:   netip.AddrPortFrom(from, 0),
		Dst:   netip.AddrPortFrom(p.Src.Addr(), 0),
		TTL:   defaultTTL,
		Error: &Error{Kind: kind, Proto: p.Proto, Src: p.Src, Dst: p.Dst},
	}
}

const defaultTTL = 64
