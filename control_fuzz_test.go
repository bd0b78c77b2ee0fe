package bradawl

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// play is two controls whose every message is at the mercy of a script.
type play struct {
	t       *testing.T
	now     time.Time
	script  []byte
	sides   [2]*side
	secrets *rand.ChaCha8
	said    int
	mail    map[string]int // how often what was sent was delivered
}

type side struct {
	*control
	id      *Identity
	addr    netip.AddrPort
	base    ice.BaseID
	inbox   []machine.Datagram
	signals [][]byte // of the other side
	asked   []uint32
	untold  []uint32
	wanted  []machine.SocketID // to be opened
}

var fuzzIDs = func() (all [3]*Identity) {
	for i := range all {
		all[i], _ = ident.NewIdentity(rand.NewChaCha8([32]byte{byte(i)}))
	}
	return all
}()

func newPlay(t *testing.T, script []byte) *play {
	p := &play{t: t, now: time.Unix(1_000_000_000, 0), script: script, secrets: rand.NewChaCha8([32]byte{9}), mail: make(map[string]int)}
	for i := range p.sides {
		b := p.byte()
		cfg := controlConfig{identity: fuzzIDs[i], timeout: 30 * time.Second, ask: b&1 != 0, treat: b&2 != 0}
		c, err := newControl(cfg, rand.New(rand.NewPCG(uint64(i), 1)), rand.NewChaCha8([32]byte{byte(i)}))
		if err != nil {
			t.Fatal(err)
		}
		s := &side{control: c, id: fuzzIDs[i], addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + i)}), 40000)}
		p.sides[i] = s
		c.ice.AddServer(p.now, netip.MustParseAddrPort("198.51.100.1:3478"))
		s.base, _ = c.addBase(p.now, ice.Base{Addr: s.addr})
	}
	p.drain()
	return p
}

// byte takes one from the script; at its end there are zeros.
func (p *play) byte() byte {
	if len(p.script) == 0 {
		return 0
	}
	b := p.script[0]
	p.script = p.script[1:]
	return b
}

func (p *play) bytes() []byte {
	n := min(int(p.byte()), len(p.script))
	b := p.script[:n]
	p.script = p.script[n:]
	return b
}

// drain takes what both have to say, and keeps it for the script to deliver.
func (p *play) drain() {
	for i, s := range p.sides {
		other := p.sides[1-i]
		machine.Drain(s.control, func(t machine.Transmit) {
			switch {
			case t.Op == machine.OpenSocket:
				s.wanted = append(s.wanted, t.Socket)
			case t.Op != machine.Send:
			case t.Remote == other.addr && len(other.inbox) < 100:
				other.inbox = append(other.inbox, machine.Datagram{Local: other.addr, Remote: s.addr, Data: append([]byte(nil), t.Data...)})
			}
		}, func(n note) {
			switch n.kind {
			case noteSignal:
				if n.peer == other.id.ID() && len(other.signals) < 100 {
					other.signals = append(other.signals, n.message)
				}
			case noteAsk:
				s.asked = append(s.asked, n.conn)
			case noteTreat:
				s.untold = append(s.untold, n.conn)
			case noteData:
				p.mail[string(n.data)]++
				if got, sent := p.mail[string(n.data)], n.data; got != 1 {
					p.t.Fatalf("%q was delivered although it was sent %d times", sent, 1-got)
				}
			}
		})
	}
}

// check holds what always must.
func (p *play) check() {
	for _, s := range p.sides {
		if s.illegal != 0 || s.ice.Illegal() != 0 {
			p.t.Fatal("a transition that the table does not have")
		}
		if len(s.byIndex) != len(s.conns) || len(s.byAgent) > len(s.conns) || len(s.peers) > maxPeers {
			p.t.Fatalf("%d connections, %d indexes, %d agents", len(s.conns), len(s.byIndex), len(s.byAgent))
		}
		on := 0
		for _, k := range s.links {
			if on += len(k.conns); len(k.conns) == 0 || len(k.boarded) > boardedKept || len(k.parts) > maxParts || k.up && k.path == nil || !k.up && k.path != nil && k.acquainted() {
				p.t.Fatalf("a link of %d connections, up: %v", len(k.conns), k.up)
			}
		}
		if on != len(s.conns) || len(s.byAgent) > len(s.links) {
			p.t.Fatalf("%d connections, %d of them on links", len(s.conns), on)
		}
		for _, k := range s.conns {
			if n := len(s.ice.Pairs(k.agent)); n > 100 || len(k.parts) > maxParts || len(k.story) > maxSteps || k.state == over {
				p.t.Fatalf("%d pairs, %d parts, %d steps, %s", n, len(k.parts), len(k.story), connStates[k.state])
			}
			if (k.state == connected) != (k.path != nil) && k.proven {
				p.t.Fatalf("%s, and its path is %v", connStates[k.state], k.path)
			}
		}
	}
}

// number is one of a side's connections.
func (p *play) number(s *side) uint32 {
	all := s.order()
	if len(all) == 0 {
		return 1
	}
	return all[int(p.byte())%len(all)].number
}

func (p *play) step() {
	op := p.byte()
	s := p.sides[op>>7]
	other := p.sides[1-op>>7]
	switch op & 31 {
	case 0, 1, 2, 3: // time goes on
		p.now = p.now.Add(time.Duration(1+int(p.byte())) << (3 * (op & 3)) * time.Millisecond)
		for _, s := range p.sides {
			for range 100 {
				next := s.NextTimeout()
				if next.IsZero() || next.After(p.now) {
					break
				}
				s.HandleTimeout(p.now)
				p.drain()
			}
			if next := s.NextTimeout(); !next.IsZero() && !next.After(p.now) {
				s.HandleTimeout(p.now)
				p.drain()
				if again := s.NextTimeout(); again.Equal(next) && !again.After(p.now.Add(-time.Minute)) {
					p.t.Fatal("a deadline does not move")
				}
			}
		}
	case 4, 5, 6, 7: // a datagram is delivered, and may come again
		if len(s.inbox) == 0 {
			break
		}
		i := 0
		if op&31 == 7 {
			i = int(p.byte()) % len(s.inbox)
		}
		s.HandleDatagram(p.now, s.inbox[i])
		if op&31 != 6 {
			s.inbox = append(s.inbox[:i], s.inbox[i+1:]...)
		}
	case 8: // lost
		s.inbox = nil
	case 9: // changed, or from elsewhere
		if len(s.inbox) > 0 {
			d := s.inbox[0]
			if i := int(p.byte()); len(d.Data) > 0 {
				d.Data[i%len(d.Data)] ^= p.byte()
			}
			d.Remote = netip.AddrPortFrom(d.Remote.Addr(), uint16(p.byte())+39900)
			s.HandleDatagram(p.now, d)
			s.inbox = s.inbox[1:]
		}
	case 10, 11, 12: // a message is delivered, and may come again
		if len(s.signals) == 0 {
			break
		}
		i := 0
		if op&31 == 12 {
			i = int(p.byte()) % len(s.signals)
		}
		s.signal(p.now, other.id.ID(), s.signals[i])
		if op&31 != 11 {
			s.signals = append(s.signals[:i], s.signals[i+1:]...)
		}
	case 13: // lost
		s.signals = nil
	case 14: // changed
		if len(s.signals) > 0 {
			m := append([]byte(nil), s.signals[0]...)
			m[int(p.byte())%len(m)] ^= p.byte()
			s.signal(p.now, other.id.ID(), m[:len(m)-int(p.byte())%len(m)])
		}
	case 15:
		_, _ = s.dial(p.now, other.id.ID())
	case 16:
		s.close(p.now, p.number(s))
	case 17, 18:
		p.said++
		text := fmt.Sprint(p.said)
		p.mail[text] = 0
		_ = s.send(p.now, p.number(s), []byte(text))
	case 19:
		if len(s.asked) > 0 {
			s.decide(p.now, s.asked[0], p.byte()%4 > 0)
			s.asked = s.asked[1:]
		} else if len(s.untold) > 0 {
			s.treat(p.now, s.untold[0], Treatment{Budget: punch.Budget{Probes: int(p.byte()) - 1}}, nil)
			s.untold = s.untold[1:]
		}
	case 20:
		s.networkChanged(p.now)
	case 21:
		s.setProfile(p.now, natprobe.Profile{Type: natprobe.Type(p.byte() % 8), Mapping: natprobe.Mapping(p.byte() % 4)})
	case 22:
		if p.byte()%2 == 0 {
			s.signedOn(p.now)
		} else {
			s.undeliverable(p.now, other.id.ID(), nil)
		}
	case 23: // anything from anywhere
		s.HandleDatagram(p.now, machine.Datagram{Local: s.addr, Remote: netip.AddrPortFrom(other.addr.Addr(), uint16(p.byte())), Data: p.bytes()})
	case 24:
		s.signal(p.now, fuzzIDs[p.byte()%3].ID(), p.bytes())
	case 25, 26: // the other side is malicious, and has the keys
		for _, k := range other.order() {
			if k.keys == nil {
				continue
			}
			text := p.malice()
			if op&31 == 25 {
				s.signal(p.now, other.id.ID(), wrap(msgSealed, k.theirs, k.keys.SealSignal(text)))
			} else {
				d := k.keys.Seal(nil, 1+seal.Kind(p.byte()%3), k.theirs, text)
				s.HandleDatagram(p.now, machine.Datagram{Local: s.addr, Remote: other.addr, Data: d})
			}
			break
		}
	case 27:
		by := fuzzIDs[2]
		if p.byte()%2 == 1 {
			by = other.id
		}
		if _, offer, err := seal.NewOffer(by, s.id.ID(), p.malice(), p.secrets); err == nil {
			s.signal(p.now, by.ID(), wrap(msgOffer, 0, offer))
			s.message(p.now, by.ID(), wrap(msgOffer, 0, offer), true)
		}
	case 28:
		if e, ok := s.explain(p.now, p.number(s)); ok && e.String() == "" {
			p.t.Fatal("nothing explained")
		}
	case 29:
		s.wrote(p.now, p.number(s))
	case 30:
		n := machine.Notice{Kind: machine.NoticeKind(p.byte() % 7), Socket: machine.SocketID(p.byte() % 2), Local: s.addr, Remote: other.addr}
		if len(s.wanted) > 0 {
			n.Socket, s.wanted = s.wanted[0], s.wanted[1:]
			n.Local = netip.AddrPortFrom(s.addr.Addr(), 41000)
		}
		s.HandleNotice(p.now, n)
	case 31:
		if p.byte()%2 == 0 {
			s.removeBase(p.now, s.base)
		} else if id, err := s.addBase(p.now, ice.Base{Addr: s.addr}); err == nil {
			s.removeBase(p.now, s.base)
			s.base = id
		}
	}
	p.drain()
	p.check()
}

// malice is what a peer may have to tell: mostly of the right form.
func (p *play) malice() []byte {
	b := p.bytes()
	at := func(i int) int {
		if i < len(b) {
			return int(b[i])
		}
		return 0
	}
	switch p.byte() % 5 {
	case 4: // an offer to ride, for a link that may be there
		h := hello{Stamp: uint64(p.now.UnixNano()) + uint64(at(0)), Index: uint32(at(1)), Protocol: string(b[min(len(b), 5):])}
		s := p.sides[at(2)%2]
		h.Boot = s.boot
		if len(s.links) > 0 {
			h.Link = s.links[at(3)%len(s.links)].name
		} else {
			h.Link = [2]uint32{uint32(at(3)), uint32(at(4))}
		}
		return encode(h)
	case 0:
		return b
	case 1:
		return append([]byte{byte(at(0) % 2)}, binary.BigEndian.AppendUint64(nil, uint64(at(1)))...) // a ping
	case 2:
		return encode(hello{
			Stamp: uint64(at(0)), Boot: uint64(at(1)), Index: uint32(at(2)), Ufrag: "abcd", Pwd: "abcdefghijklmnopqrstuvwx", Profile: b,
			Candidates: []string{fmt.Sprintf("candidate:1 1 udp %d 203.0.113.%d 40000 typ host", 1+at(3), at(4))}, Last: uint64(at(5)),
			Mapped: at(6)%2 == 1, Budget: []float64{float64(at(7)) - 9, float64(at(8)) * 1e9, float64(at(9)), -float64(at(10)), float64(at(11)) / 99}[:at(12)%6],
		})
	}
	u := update{
		Version: uint64(at(0)), Ack: uint64(at(1)), Generation: at(2), Again: at(3), Profile: b, Bye: at(4) == 1,
		Candidates: []string{fmt.Sprintf("candidate:1 1 udp %d 203.0.113.%d %d typ host", 1+at(5), at(6)%8, 39990+at(7)%16), string(b)},
		Withdrawn:  []string{"203.0.113.1:40000", "203.0.113.2:40000", string(b)}, Closed: []uint32{uint32(at(2)), uint32(at(3))},
	}
	if mapped := at(10)%2 == 1; at(9)%2 == 1 {
		u.Mapped = &mapped
	}
	if at(8)%2 == 1 {
		u.Ufrag, u.Pwd = fmt.Sprint("frag", at(9)), "abcdefghijklmnopqrstuvwx"
	}
	return encode(u)
}

// connectScript has both sides connect.
func connectScript() []byte {
	s := []byte{0, 0, 15}
	for range 40 {
		s = append(s, 10, 0x8A, 4, 0x84, 0, 4)
	}
	return s
}

// FuzzControl has two controls at the mercy of a script: messages are lost, doubled,
// changed and made up, users do whatever they like, and either side may be malicious.
// Nothing panics or grows, and what is delivered was sent, once.
func FuzzControl(f *testing.F) {
	base := connectScript()
	f.Add(base)
	for op := range byte(32) {
		f.Add(append(append([]byte(nil), base...), op, 9, 200, 4, 17, 0, 4, 0x84, 3, 40, op|128, 12, 33, 90, 17, 3, 255, 0x84, 4))
	}
	for n := range byte(6) { // further connections, lost and doubled offers, one of them closed
		f.Add(append(append([]byte(nil), base...), 15, 0x8F, 4, 0x84, 4, 6, 0x86, 1, 200, 10, 0x8A, 17, 1, 0x84, 16, n, 27, 7, 5, 9, n, 0, 0, 1, 1, 4, 4, 0x84, 2, 90))
	}
	f.Add(append(append([]byte(nil), base...), 3, 255, 3, 255, 20, 4, 0x84, 0, 200, 17, 0x84, 25, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 3))
	f.Fuzz(func(t *testing.T, script []byte) {
		p := newPlay(t, script)
		for range 400 {
			if len(p.script) == 0 {
				break
			}
			p.step()
		}
	})
}

// TestConnectScript: the script that fuzzing begins with leads to a connection.
func TestConnectScript(t *testing.T) {
	p := newPlay(t, append(connectScript(), 17, 0, 0x84, 0x84, 0x84, 0x84))
	for len(p.script) > 0 {
		p.step()
	}
	for _, s := range p.sides {
		if k := s.order(); len(k) != 1 || k[0].state != connected {
			t.Fatalf("%d connections", len(k))
		}
	}
	if p.mail["1"] != 1 {
		t.Error("a datagram was not delivered")
	}
}
