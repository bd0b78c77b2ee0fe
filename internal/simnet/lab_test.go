package simnet

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// lab looks at a NAT from outside, as a tester would: by what two servers with two
// ports each see, and by what comes back.
type lab struct {
	t       *testing.T
	w       *World
	site    *Site
	servers [2][2]*socket  // by address, by port
	seen    netip.AddrPort // the source of the last datagram that any server got
	got     []string       // what arrived inside

	inside  *station
	outside [2]*station
}

const access = 10 * time.Millisecond

func newLab(t *testing.T, p Preset, seed uint64) *lab {
	l := &lab{t: t, w: New(seed)}
	site, err := l.w.AddSiteOf("tester", p, Link{Delay: access})
	if err != nil {
		t.Fatalf("preset %s: %v", p.Name, err)
	}
	l.site = site
	for i := range l.servers {
		h := l.w.AddHost(fmt.Sprint("server", i), l.w.Internet(), Link{Delay: access})
		for j := range l.servers[i] {
			s := bind(t, h, uint16(3478+j))
			s.receive = func(p *Packet) { l.seen = p.Src }
			l.servers[i][j] = s
		}
		l.outside[i] = newStation(t, fmt.Sprint("station", i), l.w.Internet())
	}
	l.inside = newStation(t, "inside station", site.LAN())
	return l
}

func bind(t *testing.T, h *Host, port uint16) *socket {
	t.Helper()
	s, err := h.bind(netip.AddrPortFrom(h.Addr(), port))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// socket opens a port inside.
func (l *lab) socket(port uint16) *socket { return l.socketOf(l.site.Host, port) }

func (l *lab) socketOf(h *Host, port uint16) *socket {
	s := bind(l.t, h, port)
	s.receive = func(p *Packet) { l.got = append(l.got, string(p.Data)) }
	return s
}

// ask sends from s to a server and returns whom the server sees; the zero value: nobody.
func (l *lab) ask(s *socket, addr, port int) netip.AddrPort {
	l.seen = netip.AddrPort{}
	l.say(s, l.servers[addr][port].local, "?")
	return l.seen
}

func (l *lab) say(s *socket, to netip.AddrPort, what string) {
	l.t.Helper()
	if err := s.send(to, []byte(what), 0, false); err != nil {
		l.t.Fatal(err)
	}
	l.settle()
}

func (l *lab) settle() { l.w.Run(100 * time.Millisecond) }

// arrives sends to an outside endpoint and tells whether that comes in.
func (l *lab) arrives(from *socket, to netip.AddrPort) bool {
	l.got = nil
	l.say(from, to, "!")
	return len(l.got) > 0
}

// station sends raw segments and keeps what it gets; it answers nothing by itself.
type station struct {
	w     *World
	iface *Iface
	addr  netip.Addr
	got   []*Packet
}

func newStation(t *testing.T, name string, on *Network) *station {
	addr, err := on.assign(false)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{w: on.w, addr: addr}
	s.iface = on.attach(name, s, Link{}, addr)
	return s
}

func (s *station) receive(p *Packet, _ *Iface) { s.got = append(s.got, p) }

func (s *station) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(s.addr, port) }

func (s *station) send(port uint16, to netip.AddrPort, f Flags) {
	s.iface.send(&Packet{Proto: TCP, Src: s.at(port), Dst: to, TTL: defaultTTL, Segment: Segment{Flags: f, Seq: 7}})
}

// last is the last packet that came since it was last asked; nil: none.
func (s *station) last() *Packet {
	if len(s.got) == 0 {
		return nil
	}
	p := s.got[len(s.got)-1]
	s.got = nil
	return p
}

// The ports of the stations outside.
const (
	port0 = 443
	port1 = 444
)

// segment sends from inside and returns whom the station outside sees.
func (l *lab) segment(port uint16, addr int, remote uint16, f Flags) netip.AddrPort {
	l.outside[addr].got = nil
	l.inside.send(port, l.outside[addr].at(remote), f)
	l.settle()
	if p := l.outside[addr].last(); p != nil {
		return p.Src
	}
	return netip.AddrPort{}
}

// enters sends from outside and tells whether that comes in.
func (l *lab) enters(addr int, remote uint16, to netip.AddrPort, f Flags) bool {
	l.inside.got, l.outside[addr].got = nil, nil
	l.outside[addr].send(remote, to, f)
	l.settle()
	return l.inside.last() != nil
}

// connect opens a connection from inside to outside[0].
func (l *lab) connect(port uint16) (seen netip.AddrPort, ok bool) {
	seen = l.segment(port, 0, port0, SYN)
	ok = seen.IsValid() && l.enters(0, port0, seen, SYN|ACK) && l.segment(port, 0, port0, ACK) == seen
	return seen, ok
}
