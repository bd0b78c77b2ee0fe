package turnclient_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// puppet runs a client machine against a server whose every answer is chosen by bytes.
type puppet struct {
	m       *turnclient.Machine
	now     time.Time
	id      turnclient.AllocationID
	sockets map[machine.SocketID]bool
	streams map[machine.StreamID]bool
	asked   []machine.Transmit // requests, the latest last
	events  int
	told    []turnclient.Event // those of connections
	sent    int
}

// newPuppet makes one; the bits of kind choose among configurations, the first of them
// the transport.
func newPuppet(kind int) *puppet {
	e := turnclient.Endpoint{Addr: serverAddr}
	if kind&1 != 0 {
		e.Transport = turnclient.TCP
	}
	cfg := turnclient.MachineConfig{
		Servers: []turnclient.Endpoint{e, {Addr: otherAddr}}, Credentials: creds, ChannelAfter: 2,
		Mobility: kind&2 != 0, Ask: kind&4 != 0, DontFragment: kind&8 != 0,
	}
	if kind&16 != 0 {
		cfg.Family = turnclient.DualStack
	}
	if cfg.Ask {
		cfg.Credentials = turnclient.Credentials{}
	}
	m, err := turnclient.NewMachine(cfg,
		rand.New(rand.NewPCG(1, 1)), rand.NewChaCha8([32]byte{1}))
	if err != nil {
		panic(err)
	}
	return &puppet{
		m: m, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		sockets: make(map[machine.SocketID]bool), streams: make(map[machine.StreamID]bool),
	}
}

func (p *puppet) do(fn func(now time.Time)) {
	fn(p.now)
	machine.Drain(p.m, func(t machine.Transmit) {
		p.sent++
		switch t.Op {
		case machine.OpenSocket:
			p.sockets[t.Socket] = true
		case machine.CloseSocket:
			delete(p.sockets, t.Socket)
		case machine.Dial:
			p.streams[t.Stream] = true
		case machine.Close, machine.Reset:
			delete(p.streams, t.Stream)
		}
		if len(t.Data) >= wire.HeaderSize && t.Data[0] < 4 {
			t.Data = slices.Clone(t.Data)
			p.asked = append(p.asked[max(0, len(p.asked)-7):], t)
		}
	}, func(e turnclient.Event) {
		p.events++
		if e.Conn != 0 {
			p.told = append(p.told, e)
		}
	})
}

// first is the lowest number that is open, so that a run replays.
func first[T machine.SocketID | machine.StreamID](open map[T]bool) (id T, ok bool) {
	for n := range open {
		if !ok || n < id {
			id, ok = n, true
		}
	}
	return id, ok
}

// incoming brings b to whatever asked last.
func (p *puppet) incoming(t machine.Transmit, b []byte) {
	if t.Op == machine.Write {
		p.do(func(now time.Time) {
			p.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: t.Stream, Data: b})
		})
		return
	}
	p.do(func(now time.Time) {
		p.m.HandleDatagram(now, machine.Datagram{Socket: t.Socket, Remote: t.Remote, Data: b})
	})
}

// answer answers the request that is back-th from the last with a code.
func (p *puppet) answer(back, kind byte, code int) {
	if len(p.asked) == 0 {
		return
	}
	t := p.asked[len(p.asked)-1-int(back)%len(p.asked)]
	var m wire.Message
	if m.Decode(t.Data) != nil {
		return
	}
	key := md5Key
	switch kind & 3 {
	case 0:
		key = nil
	case 1:
		key = []byte("wrong")
	}
	p.incoming(t, answerTo(&m, code, key, func(b *wire.Builder) {
		if kind&4 != 0 {
			b.AddString(wire.AttrRealm, "example.org")
			b.AddString(wire.AttrNonce, fmt.Sprint("nonce", kind))
		}
		if kind&8 != 0 {
			granted(b)
			b.AddRaw(wire.AttrMobilityTicket, []byte{kind, back})
		}
		if kind&16 != 0 {
			b.AddAddress(wire.AttrAlternateServer, netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, kind}), 3478))
		}
		if kind&32 != 0 {
			b.AddUint32(wire.AttrLifetime, uint32(kind))
		}
	}))
}

var fuzzCodes = []int{0, 300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 487, 500, 508, 699}

// step does what one instruction of three bytes says.
func (p *puppet) step(op, a, b byte) {
	switch op % 14 {
	case 0, 1, 2, 3:
		p.answer(a>>6, a, fuzzCodes[int(b)%len(fuzzCodes)])
	case 4:
		if id, ok := first(p.sockets); ok {
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.SocketOpened, Socket: id, Local: turntest.StubLocal})
			})
		}
		if id, ok := first(p.streams); ok {
			p.do(func(now time.Time) { p.m.HandleNotice(now, machine.Notice{Kind: machine.Connected, Stream: id}) })
		}
	case 5, 6:
		d := time.Duration(b) * time.Duration(b) * time.Millisecond
		if a&1 != 0 {
			d *= 20
		}
		for end := p.now.Add(d); ; {
			next := p.m.NextTimeout()
			if next.IsZero() || next.After(end) {
				p.now = end
				break
			}
			if next.After(p.now) {
				p.now = next
			}
			p.do(p.m.HandleTimeout)
		}
	case 7, 8:
		p.do(func(now time.Time) { _ = p.m.Send(now, p.id, host4(int(a%8)), []byte{b}) })
	case 9:
		if len(p.asked) > 0 {
			data, _ := wire.AppendChannelData(nil, wire.MinChannel+uint16(a%4), []byte{b}, true)
			p.incoming(p.asked[len(p.asked)-1], data)
		}
	case 10:
		if len(p.asked) > 0 {
			p.incoming(p.asked[len(p.asked)-1], []byte{a, b, a ^ b})
		}
	case 11:
		if id, ok := first(p.sockets); ok && a&1 == 0 {
			delete(p.sockets, id)
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.SocketFailed, Socket: id, Err: fmt.Errorf("broken")})
			})
		}
		if id, ok := first(p.streams); ok && a&1 != 0 {
			delete(p.streams, id)
			p.do(func(now time.Time) { p.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: id}) })
		}
	case 12:
		switch a % 6 {
		case 4:
			p.do(func(now time.Time) { p.m.SetMappingLifetime(now, time.Duration(b)*time.Second/4) })
		case 5:
			var err error
			if b&2 != 0 {
				err = fmt.Errorf("nobody is at home")
			}
			p.do(func(now time.Time) {
				p.m.SetCredentials(now, turnclient.Endpoint{Addr: serverAddr, Transport: turnclient.Transport(b & 1)}, creds, err)
			})
		case 0:
			p.do(p.m.NetworkChanged)
		case 1:
			p.do(func(now time.Time) { _ = p.m.Permit(now, p.id, host4(int(b%8)).Addr()) })
		case 2:
			p.do(func(now time.Time) { p.m.Observe(now, p.id, time.Duration(b)*10*time.Millisecond, b&1 == 0) })
		case 3:
			if id, ok := first(p.sockets); ok {
				p.do(func(now time.Time) {
					p.m.HandleNotice(now, machine.Notice{Kind: machine.Unreachable, Socket: id, Remote: serverAddr, Err: fmt.Errorf("icmp")})
				})
			}
		}
	case 13:
		if a > 200 {
			p.do(func(now time.Time) { p.m.Close(now, p.id) })
		}
	}
}

// Whatever a server does, the machine keeps to its table and its bounds, says no more
// than it should, and closes in the end with nothing left open.
func FuzzServerScript(f *testing.F) {
	f.Add([]byte{0, 4, 0, 0, 0, 4, 3, 0, 10, 0, 7, 1, 1, 0, 2, 0, 9, 0, 1, 5, 1, 200, 0, 2, 7, 0, 4, 8, 0, 10, 0})
	f.Add([]byte{1, 4, 0, 0, 0, 4, 3, 0, 26, 1, 4, 0, 0, 0, 10, 0, 5, 1, 255, 11, 0, 0, 5, 0, 100, 13, 201, 0})
	f.Add([]byte{6, 4, 0, 0, 12, 5, 0, 0, 4, 3, 0, 26, 0, 12, 0, 0, 4, 0, 0, 0, 26, 0, 5, 0, 100})
	f.Add([]byte{26, 4, 0, 0, 0, 12, 0, 7, 1, 1, 7, 1, 2, 7, 1, 3, 0, 2, 0, 0, 2, 2, 5, 0, 50, 0, 2, 16})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 600 || len(script) == 0 {
			return
		}
		p := newPuppet(int(script[0]))
		script = script[1:]
		p.do(func(now time.Time) { p.id = p.m.Allocate(now) })
		start := p.now
		for ; len(script) >= 3; script = script[3:] {
			p.step(script[0], script[1], script[2])
		}
		p.finish(t, start, 400, 40)
	})
}

// finish looks for what no script may bring about. effects and links bound what the
// machine has done and has open.
func (p *puppet) finish(t *testing.T, start time.Time, effects, links int) {
	if n := p.m.Illegal(); n != 0 {
		t.Fatalf("%d transitions that the table does not have", n)
	}
	if most := effects + int(p.now.Sub(start)/(40*time.Millisecond)); p.sent > most {
		t.Fatalf("%d effects in %v", p.sent, p.now.Sub(start))
	}
	if len(p.sockets)+len(p.streams) > links {
		t.Fatalf("%d sockets and %d streams are open", len(p.sockets), len(p.streams))
	}
	p.do(func(now time.Time) { p.m.Close(now, p.id) })
	p.step(5, 1, 255)
	if len(p.sockets)+len(p.streams) != 0 || !p.m.NextTimeout().IsZero() {
		t.Fatalf("after Close and 20 minutes: %d sockets, %d streams, next timeout %v", len(p.sockets), len(p.streams), p.m.NextTimeout())
	}
}

// However a stream is cut, the same comes of it.
func FuzzStreamFraming(f *testing.F) {
	data, _ := wire.AppendChannelData(nil, wire.MinChannel, []byte("hello"), true)
	f.Add(data, []byte{1})
	f.Add(append(slices.Clone(data), dataTo(false, []byte("x"))...), []byte{3, 0, 7})
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0xFF}, []byte{2})
	run := func(stream []byte, cuts []byte) (events, dropped int, open bool) {
		p := newPuppet(1)
		p.do(func(now time.Time) { p.id = p.m.Allocate(now) })
		p.step(4, 0, 0)
		for i := 0; len(stream) > 0; i++ {
			n := len(stream)
			if len(cuts) > 0 {
				n = min(n, 1+int(cuts[i%len(cuts)]))
			}
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: 0, Data: stream[:n]})
			})
			stream = stream[n:]
		}
		return p.events, p.m.Dropped(), p.streams[0]
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		e1, d1, o1 := run(bytes.Clone(stream), nil)
		e2, d2, o2 := run(bytes.Clone(stream), cuts)
		if e1 != e2 || d1 != d2 || o1 != o2 {
			t.Fatalf("whole: %d events, %d dropped, open %v; cut: %d, %d, %v", e1, d1, o1, e2, d2, o2)
		}
	})
}
