package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// drill leads a translator through whatever bytes say, and asks a naive model after
// each packet whether that may be.
type drill struct {
	bytes []byte
	now   time.Time
	c     NATConfig
	nat   *translator
	log   []passage
	stray []passage // what was not let in
}

// passage is one packet that went through, with the endpoints of both sides.
type passage struct {
	at                      time.Time
	proto                   Proto
	out                     bool
	inside, outside, remote netip.AddrPort
	flags                   Flags
}

// next is a number below n; 0 for ever when the bytes are used up.
func (d *drill) next(n int) int {
	if len(d.bytes) == 0 {
		return 0
	}
	b := d.bytes[0]
	d.bytes = d.bytes[1:]
	return int(b) % n
}

func (d *drill) duration(all ...time.Duration) time.Duration { return all[d.next(len(all))] }

func (d *drill) rules() Rules {
	r := Rules{Mapping: Behavior(d.next(3)), Filtering: Behavior(d.next(3))}
	r.Ports = PortPolicy{
		Kind: PortKind(d.next(4)), Low: uint16([]int{0, 1000, 40000}[d.next(3)]), High: uint16([]int{0, 40007, 41000}[d.next(3)]),
		Delta: d.next(7) - 3, Block: []int{0, 4, 8}[d.next(3)], CrossTraffic: float64(d.next(3)),
		Parity: d.next(2) == 1, Contiguous: d.next(2) == 1, Overload: d.next(2) == 1,
	}
	return r
}

func newDrill(bytes []byte) (*drill, error) {
	d := &drill{bytes: bytes, now: time.Unix(1e9, 0)}
	r := d.rules()
	d.c = NATConfig{
		Mapping: r.Mapping, Filtering: r.Filtering, Ports: r.Ports,
		Arbitrary: d.next(2) == 1, Firewall: d.next(8) == 7, BlockUDP: d.next(16) == 15, Only443: d.next(16) == 15,
		Idle: d.duration(0, time.Minute, 5*time.Second), IdleUnreplied: d.duration(0, 30*time.Second, 90*time.Second),
		IdleStream: d.duration(0, 3*time.Minute, time.Second), Absolute: d.duration(0, 4*time.Minute),
		InboundRefresh: d.next(2) == 1, TCPIdle: d.duration(0, 10*time.Minute), TCPTransitory: d.duration(0, time.Minute),
		TCPReset: d.duration(0, -1, 10*time.Second), TCPLoose: d.next(2) == 1, NoSimultaneousOpen: d.next(2) == 1,
		Poison: d.next(2) == 1, Table: []int{0, 3, 10}[d.next(3)],
	}
	if d.next(2) == 1 {
		tcp := d.rules()
		d.c.TCP = &tcp
	}
	c, err := d.c.withDefaults()
	if err != nil {
		return nil, err
	}
	d.c = c
	d.nat = newTranslator(c, rand.New(rand.NewPCG(1, 2)), addrs("203.0.113.1", "203.0.113.2"))
	return d, nil
}

// run plays until the bytes are used up, and returns what went wrong.
func (d *drill) run() error {
	for len(d.bytes) > 0 {
		var err error
		switch n := d.next(8); {
		case n < 3:
			err = d.outbound()
		case n < 6:
			err = d.inbound()
		case n == 6:
			err = d.icmp()
		default:
			d.now = d.now.Add(d.duration(time.Millisecond, time.Second, 4*time.Second, 29*time.Second, 2*time.Minute, time.Hour))
		}
		if err != nil {
			return err
		}
		if n := len(d.nat.byInside) + len(d.nat.strays); n > d.c.Table {
			return fmt.Errorf("%d entries in a table of %d", n, d.c.Table)
		}
	}
	return nil
}

func (d *drill) proto() Proto { return Proto(d.next(2)) }

func (d *drill) host() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 0, byte(2 + d.next(3))}), uint16(40000+d.next(4)))
}

func (d *drill) remote() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + d.next(3))}), uint16(443+d.next(2)))
}

// goal is an outside endpoint: most often one that was seen.
func (d *drill) goal() netip.AddrPort {
	if n := d.next(8); n > 0 && len(d.log) > 0 {
		return d.log[d.next(len(d.log))].outside
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + d.next(2))}), uint16(40000+d.next(8)))
}

func (d *drill) packet(src, dst netip.AddrPort) *Packet {
	p := &Packet{Proto: d.proto(), Src: src, Dst: dst, TTL: 9}
	if p.Proto == TCP {
		p.Segment.Flags = []Flags{SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, 0}[d.next(7)]
	}
	return p
}

func (d *drill) blocked(p *Packet, remote netip.AddrPort) bool {
	return d.c.BlockUDP && p.Proto == UDP || d.c.Only443 && (p.Proto == UDP || remote.Port() != 443)
}

func (d *drill) outbound() error {
	p := d.packet(d.host(), d.remote())
	was := *p
	refused := d.nat.out(d.now, p)
	if refused != "" {
		if p.Src != was.Src || p.Dst != was.Dst {
			return fmt.Errorf("a refused packet was changed: %v -> %v", p.Src, p.Dst)
		}
		if opens(p) || p.Proto == UDP {
			if refused != fullTable && refused != noPort && !d.blocked(p, p.Dst) {
				return fmt.Errorf("%v -> %v refused: %s", p.Src, p.Dst, refused)
			}
		}
		return nil
	}
	if d.blocked(p, p.Dst) {
		return fmt.Errorf("%v -> %v was forbidden and passed", was.Src, p.Dst)
	}
	now := passage{d.now, p.Proto, true, was.Src, p.Src, p.Dst, p.Segment.Flags}
	if err := d.checkMapping(now); err != nil {
		return err
	}
	d.log = append(d.log, now)
	return nil
}

// checkMapping holds a packet that went out against all that went out before.
func (d *drill) checkMapping(now passage) error {
	r := d.c.rules(now.proto)
	if d.c.Firewall {
		if now.outside != now.inside {
			return fmt.Errorf("a firewall translates %v to %v", now.inside, now.outside)
		}
		return nil
	}
	port, preserved := now.outside.Port(), now.outside.Port() == now.inside.Port()
	pair := r.Ports.Contiguous && now.inside.Port()%2 == 1
	switch in := port >= r.Ports.Low && port <= r.Ports.High; {
	case !in && !preserved && !pair:
		return fmt.Errorf("port %d is not in %d-%d", port, r.Ports.Low, r.Ports.High)
	case r.Ports.Parity && !pair && port%2 != now.inside.Port()%2:
		return fmt.Errorf("port %d for %d", port, now.inside.Port())
	}
	known := false
	for _, e := range d.log {
		if e.proto != now.proto {
			continue
		}
		same := e.inside == now.inside && r.Mapping.part(e.remote) == r.Mapping.part(now.remote)
		known = known || same && e.outside == now.outside
		if !e.out || !d.alive(e.inside, e.outside, e.remote, e.proto, atLeast) {
			continue
		}
		switch {
		case same && e.outside != now.outside:
			return fmt.Errorf("%v has %v although %v lives", now.inside, now.outside, e.outside)
		case e.inside != now.inside && e.outside == now.outside && (!r.Ports.Overload || e.remote == now.remote):
			return fmt.Errorf("%v and %v share %v", now.inside, e.inside, now.outside)
		}
	}
	if !d.c.Poison || known || now.proto != UDP {
		return nil
	}
	for _, s := range d.stray {
		if s.proto == UDP && s.outside == now.outside && s.remote == now.remote && now.at.Sub(s.at) < d.c.IdleUnreplied && d.c.Table > 10 {
			return fmt.Errorf("the poisoned port %v was given to %v for %v", now.outside, now.inside, now.remote)
		}
	}
	return nil
}

func (d *drill) inbound() error {
	p := d.packet(d.remote(), d.goal())
	was := *p
	refused := d.nat.in(d.now, p)
	if refused != "" {
		if p.Src != was.Src || p.Dst != was.Dst {
			return fmt.Errorf("a refused packet was changed: %v -> %v", p.Src, p.Dst)
		}
		if p.Proto == UDP {
			if inside, may := d.admits(p); may && !d.blocked(p, p.Src) {
				return fmt.Errorf("%v -> %v was kept from %v: %s", p.Src, p.Dst, inside, refused)
			}
		}
		if !d.blocked(p, p.Src) {
			d.stray = append(d.stray, passage{d.now, p.Proto, false, netip.AddrPort{}, p.Dst, p.Src, p.Segment.Flags})
		}
		return nil
	}
	switch inside, may := d.admits(&was); {
	case !may || d.blocked(p, p.Src):
		return fmt.Errorf("%v %v -> %v came in to %v", p.Proto, was.Src, was.Dst, p.Dst)
	case inside != p.Dst:
		return fmt.Errorf("%v -> %v came in to %v, not %v", was.Src, was.Dst, p.Dst, inside)
	}
	d.log = append(d.log, passage{d.now, p.Proto, false, p.Dst, was.Dst, was.Src, p.Segment.Flags})
	return nil
}

// icmp sends an error about some packet either way. It must find the host that the
// packet was of, or nobody, and change nothing.
func (d *drill) icmp() error {
	e := &Error{Proto: d.proto(), Src: d.goal(), Dst: d.remote()}
	outside := e.Src
	p := &Packet{Proto: ICMP, Dst: netip.AddrPortFrom(outside.Addr(), 0), Error: e}
	if d.next(2) == 1 {
		e.Src, e.Dst = d.remote(), d.host()
		d.nat.out(d.now, p)
		return nil
	}
	if d.nat.in(d.now, p) != "" {
		return nil
	}
	for _, l := range d.log {
		if l.out && l.outside == outside && l.inside == e.Src && p.Dst.Addr() == l.inside.Addr() {
			return nil
		}
	}
	return fmt.Errorf("an error about %v came in to %v", outside, e.Src)
}

// admits is the filter by its definition: a packet may come in if the host behind the
// endpoint has sent, from there, to as much of its sender as the filter looks at, and
// that is not too long ago. It also names the host.
func (d *drill) admits(p *Packet) (inside netip.AddrPort, may bool) {
	r := d.c.rules(p.Proto)
	for i := len(d.log) - 1; i >= 0; i-- {
		e := d.log[i]
		if !e.out || e.proto != p.Proto || e.outside != p.Dst || r.Ports.Overload && e.remote != p.Src {
			continue
		}
		if d.alive(e.inside, e.outside, e.remote, e.proto, atMost) && d.permits(e.inside, e.outside, e.remote, p) {
			return e.inside, true
		}
	}
	return netip.AddrPort{}, false
}

// permits asks whether what inside sent from outside lets p in. sentTo is where one of
// those packets went, which tells the mapping.
func (d *drill) permits(inside, outside, sentTo netip.AddrPort, p *Packet) bool {
	r := d.c.rules(p.Proto)
	for remote, until := range d.flows(inside, outside, sentTo, p.Proto, atMost) {
		if r.Filtering.part(remote) == r.Filtering.part(p.Src) && d.now.Before(until) {
			return true
		}
	}
	return r.Filtering == EndpointIndependent
}

// alive asks whether the mapping still is by which inside sent to remote as outside.
func (d *drill) alive(inside, outside, remote netip.AddrPort, proto Proto, b bound) bool {
	for _, until := range d.flows(inside, outside, remote, proto, b) {
		if d.now.Before(until) {
			return true
		}
	}
	return false
}

// bound says on which side the model errs for TCP, whose states it does not follow.
type bound uint8

const (
	atLeast bound = iota
	atMost
)

// flows tells the story of one mapping from the log: when each of its flows ends, by
// what the filter sees of the remote.
func (d *drill) flows(inside, outside, remote netip.AddrPort, proto Proto, b bound) map[netip.AddrPort]time.Time {
	type story struct {
		began, fresh    time.Time
		replied, stream bool
	}
	r := d.c.rules(proto)
	var born time.Time
	told := map[netip.AddrPort]*story{}
	end := func(s *story) time.Time {
		life := d.c.IdleUnreplied
		switch {
		case proto == TCP && b == atLeast:
			life = min(d.c.TCPIdle, d.c.TCPTransitory, d.c.TCPReset)
		case proto == TCP:
			life = max(d.c.TCPIdle, d.c.TCPTransitory, d.c.TCPReset)
		case s.stream:
			life = d.c.IdleStream
		case s.replied:
			life = d.c.Idle
		}
		until := s.fresh.Add(life)
		if proto == TCP && b == atMost {
			return until // it cannot tell when the mapping was made: a reset may have ended the one before
		}
		if last := born.Add(d.c.Absolute); d.c.Absolute > 0 && last.Before(until) {
			return last
		}
		return until
	}
	for _, e := range d.log {
		if e.proto != proto || e.inside != inside || e.outside != outside || r.Mapping.part(e.remote) != r.Mapping.part(remote) && (e.out || r.Ports.Overload) {
			continue // another mapping's; but what comes in to a port is its mapping's, whoever sent it
		}
		lives := false
		for _, s := range told {
			lives = lives || e.at.Before(end(s))
		}
		if !lives {
			clear(told)
			born = e.at
		}
		k := r.Filtering.part(e.remote)
		s := told[k]
		if s == nil || !e.at.Before(end(s)) {
			if !e.out {
				continue
			}
			s = &story{began: e.at}
			told[k] = s
		}
		if e.out || d.c.InboundRefresh || proto == TCP && b == atMost {
			s.fresh = e.at
			s.stream = s.stream || s.replied && e.at.Sub(s.began) > 2*time.Second
		}
		s.replied = s.replied || !e.out
	}
	ends := map[netip.AddrPort]time.Time{}
	for k, s := range told {
		ends[k] = end(s)
	}
	return ends
}

func FuzzTranslator(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		f.Add(noise(r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2000 {
			return
		}
		if d, err := newDrill(b); err == nil {
			if err := d.run(); err != nil {
				t.Fatalf("%v\n%+v\nTCP %+v", err, d.c, d.c.TCP)
			}
		}
	})
}

func noise(r *rand.Rand) []byte {
	b := make([]byte, 60+r.IntN(600))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// Of random NATs under random packets none lets in what its filter forbids, keeps out
// a datagram that it allows, gives a port to two, or fills more than its table.
func TestTranslatorAgainstANaiveModel(t *testing.T) {
	let := 0
	for seed := range uint64(10_000) {
		d, err := newDrill(noise(rand.New(rand.NewPCG(seed, 5))))
		if err != nil {
			continue // a policy that cannot be
		}
		if err := d.run(); err != nil {
			t.Fatalf("seed %d: %v\n%+v\nTCP %+v", seed, err, d.c, d.c.TCP)
		}
		for _, e := range d.log {
			if !e.out {
				let++
			}
		}
	}
	if let < 10_000 {
		t.Errorf("only %d packets came in: this proves little", let)
	}
}
