package turnclient_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// relayPuppet is a puppet with a TCP allocation.
type relayPuppet struct {
	*puppet
	conns []turnclient.ConnID
}

func newRelayPuppet() *relayPuppet {
	p := &relayPuppet{puppet: newPuppet(1)}
	p.do(func(now time.Time) { p.id, _ = p.m.AllocateTCP(now) })
	return p
}

// stand answers what was asked until the allocation stands.
func (p *relayPuppet) stand() {
	p.step(4, 0, 0)
	p.answer(0, 4, wire.CodeUnauthenticated)
	p.answer(0, 2|8, 0) // success, signed and with what is granted
	if !p.m.State(p.id).Usable() {
		panic(p.m.State(p.id))
	}
}

// last is the request that was sent last, on whatever stream.
func (p *relayPuppet) last() (machine.Transmit, *wire.Message) {
	t := p.asked[len(p.asked)-1]
	m := new(wire.Message)
	if err := m.Decode(t.Data); err != nil {
		panic(err)
	}
	return t, m
}

// act does what one instruction of three bytes says: of RFC 6062, or any other.
func (p *relayPuppet) act(op, a, b byte) {
	peer := netip.AddrPortFrom(host4(int(a%4)).Addr(), uint16(a%8)+1)
	conn := func() (c turnclient.ConnID) {
		if len(p.conns) > 0 {
			c = p.conns[int(b)%len(p.conns)]
		}
		return c
	}
	switch op % 20 {
	case 0, 1:
		p.do(func(now time.Time) {
			if c, err := p.m.Connect(now, p.id, peer); err == nil {
				p.conns = append(p.conns[max(0, len(p.conns)-15):], c)
			}
		})
	case 2:
		p.do(func(now time.Time) { p.m.CloseConn(now, conn()) })
	case 3:
		p.do(func(now time.Time) { _ = p.m.WriteConn(now, conn(), []byte{a, b}) })
	case 4:
		p.do(func(time.Time) { p.m.DetachConn(conn()) })
	case 5:
		p.do(func(now time.Time) { _ = p.m.Listen(now, p.id) })
	case 6: // the server tells of a peer
		var w wire.Builder
		w.Reset(wire.MessageType{Method: wire.ConnectionAttempt, Class: wire.Indication}, wire.TransactionID{})
		if a&16 == 0 {
			w.AddXORAddress(wire.AttrXORPeerAddress, peer)
		}
		if a&32 == 0 {
			w.AddUint32(wire.AttrConnectionID, uint32(b))
		}
		if id, ok := first(p.streams); ok {
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: id, Data: w.Bytes()})
			})
		}
	case 7, 8, 9: // the right answer, with what is behind it
		if len(p.asked) == 0 {
			return
		}
		t, m := p.last()
		p.incoming(t, append(answerTo(m, 0, md5Key, func(w *wire.Builder) {
			switch m.Method() {
			case wire.Allocate:
				granted(w)
			case wire.Connect:
				w.AddUint32(wire.AttrConnectionID, uint32(a))
			}
		}), make([]byte, b%8)...))
	case 10: // some stream opens, brings something, or ends
		ids := make([]machine.StreamID, 0, len(p.streams))
		for id := range p.streams {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		if len(ids) == 0 {
			return
		}
		n := machine.Notice{Stream: ids[int(a)%len(ids)]}
		switch b % 4 {
		case 0, 1:
			n.Kind = machine.Connected
		case 2:
			n.Kind, n.Data = machine.Received, []byte{a, b, 0}
		case 3:
			n.Kind = machine.Closed
			if b&4 != 0 {
				n.Err = fmt.Errorf("broken")
			}
			delete(p.streams, n.Stream)
		}
		p.do(func(now time.Time) { p.m.HandleNotice(now, n) })
	default:
		p.step(op, a, b)
	}
}

// Whatever a server of RFC 6062 does, the machine keeps to its table and its bounds, and
// leaves nothing open.
func FuzzTCPRelayScript(f *testing.F) {
	f.Add([]byte{0, 1, 0, 7, 9, 0, 10, 1, 0, 7, 0, 5, 3, 0, 0, 2, 0, 0})
	f.Add([]byte{5, 0, 0, 12, 1, 0, 7, 0, 0, 6, 0, 1, 6, 0, 2, 10, 1, 1, 7, 0, 0, 4, 0, 0})
	f.Add([]byte{0, 1, 0, 0, 2, 0, 2, 0, 0, 7, 1, 0, 10, 0, 3, 18, 1, 200})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 600 {
			return
		}
		p := newRelayPuppet()
		p.stand()
		start := p.now
		for ; len(script) >= 3; script = script[3:] {
			p.act(script[0], script[1], script[2])
		}
		for id := range p.streams {
			if !p.m.HasStream(id) {
				delete(p.streams, id) // it was left to the runner
			}
		}
		p.finish(t, start, 1000, 40+256)
	})
}

// A data connection: whatever the server sends around its answer to the ConnectionBind, the
// same comes of it however it is cut, and what is behind the answer is the peer's, to the
// last byte.
func FuzzDataConnection(f *testing.F) {
	f.Add([]byte{}, []byte("hello"), []byte{0})
	f.Add([]byte{}, challengeTo(new(wire.Message), wire.CodeStaleNonce, "x"), []byte{3, 0, 19})
	f.Add(challengeTo(new(wire.Message), wire.CodeStaleNonce, "x"), []byte{0, 1, 0, 0}, []byte{7})
	f.Add([]byte{0x40, 0, 0, 1, 'x', 0, 0, 0}, []byte{0xFF}, []byte{1, 200})
	run := func(before, after, cuts []byte) (connected bool, data string, open int) {
		p := newRelayPuppet()
		p.stand()
		var c turnclient.ConnID
		p.do(func(now time.Time) { c, _ = p.m.Connect(now, p.id, peerA) })
		t, m := p.last()
		p.incoming(t, answerTo(m, 0, md5Key, func(w *wire.Builder) { w.AddUint32(wire.AttrConnectionID, 1) }))
		p.do(func(now time.Time) { p.m.HandleNotice(now, machine.Notice{Kind: machine.Connected, Stream: 1}) })
		if t, m = p.last(); m.Method() != wire.ConnectionBind || t.Stream != 1 {
			panic(m.Method())
		}
		stream := slices.Concat(before, answerTo(m, 0, md5Key, nil), after)
		for i := 0; len(stream) > 0; i++ {
			n := len(stream)
			if len(cuts) > 0 {
				n = min(n, 1+int(cuts[i%len(cuts)]))
			}
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: 1, Data: stream[:n]})
			})
			stream = stream[n:]
		}
		for _, e := range p.told {
			switch {
			case e.Conn != c:
			case e.Kind == turnclient.EventConnected:
				connected = true
			case e.Kind == turnclient.EventConnData:
				data += string(e.Data)
			}
		}
		return connected, data, len(p.streams)
	}
	f.Fuzz(func(t *testing.T, before, after, cuts []byte) {
		c1, d1, o1 := run(before, after, nil)
		c2, d2, o2 := run(before, after, cuts)
		if c1 != c2 || d1 != d2 || o1 != o2 {
			t.Fatalf("whole: %v, %q, %d streams; cut: %v, %q, %d", c1, d1, o1, c2, d2, o2)
		}
		if c1 && d1 != string(after) || !c1 && (d1 != "" || len(before) == 0) {
			t.Fatalf("connected %v; %q behind the answer, %q came", c1, after, d1)
		}
	})
}
