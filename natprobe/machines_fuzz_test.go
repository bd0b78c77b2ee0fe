package natprobe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
)

// fuzzSeeds start the fuzzing of machines: one where all goes well, and two that are a mess.
var fuzzSeeds = [][]byte{
	bytes.Repeat([]byte{0, 0, 1, 1, 2, 7}, 100),
	bytes.Repeat([]byte{0, 9, 3, 8, 4, 7, 5, 1, 9, 10, 27, 33, 2, 0}, 30),
	bytes.Repeat([]byte{1, 200, 6, 12, 4, 255, 3, 3, 2, 0, 7, 99}, 20),
}

// fuzzed is a machine in a world where anything may happen, in which what it opens is kept.
type fuzzed[E any] struct {
	t *testing.T
	machine.Machine[E]
	notice  func(time.Time, machine.Notice)
	now     time.Time
	pending []machine.Transmit // OpenSocket and Dial that nothing came of yet
	sockets map[machine.SocketID]bool
	streams map[machine.StreamID]bool // true: it stands
	asked   []machine.Transmit        // requests, in datagrams and on streams
	events  []E
	effects int
}

func newFuzzed[E any](t *testing.T, m machine.Machine[E]) *fuzzed[E] {
	f := &fuzzed[E]{t: t, Machine: m, now: tcpStart, sockets: make(map[machine.SocketID]bool), streams: make(map[machine.StreamID]bool)}
	f.notice = func(time.Time, machine.Notice) {}
	if n, ok := m.(machine.Noticer); ok {
		f.notice = n.HandleNotice
	}
	return f
}

func fuzzConfig() *natprobe.DiscoveryConfig {
	return &natprobe.DiscoveryConfig{Secrets: rand.NewChaCha8([32]byte{1}), Rand: rand.New(rand.NewPCG(1, 2))}
}

// drain notes what the machine wants, and checks that it makes sense.
func (f *fuzzed[E]) drain() {
	machine.Drain(f.Machine, func(t machine.Transmit) {
		if f.effects++; f.effects > 20000 {
			f.t.Fatal("20,000 effects")
		}
		switch t.Op {
		case machine.OpenSocket, machine.Dial:
			f.pending = append(f.pending, t)
		case machine.CloseSocket:
			delete(f.sockets, t.Socket)
			f.forget(func(p machine.Transmit) bool { return p.Op == machine.OpenSocket && p.Socket == t.Socket })
		case machine.Close, machine.Reset:
			delete(f.streams, t.Stream)
			f.forget(func(p machine.Transmit) bool { return p.Op == machine.Dial && p.Stream == t.Stream })
		case machine.Send:
			if !f.sockets[t.Socket] {
				f.t.Fatalf("sends from socket %d, which is not open", t.Socket)
			}
			if !t.Remote.IsValid() || t.Remote.Port() == 0 || t.Remote.Addr().IsMulticast() || t.Remote.Addr().IsUnspecified() {
				f.t.Fatalf("sends to %v", t.Remote)
			}
			t.Data = bytes.Clone(t.Data)
			f.asked = append(f.asked, t)
		case machine.Write:
			if !f.streams[t.Stream] {
				f.t.Fatalf("writes to stream %d, which does not stand", t.Stream)
			}
			t.Data = bytes.Clone(t.Data)
			f.asked = append(f.asked, t)
		}
	}, func(e E) { f.events = append(f.events, e) })
}

func (f *fuzzed[E]) forget(which func(machine.Transmit) bool) {
	f.pending = slices.DeleteFunc(f.pending, which)
}

// settle gives the machine what it waits for.
func (f *fuzzed[E]) settle() {
	for len(f.pending) > 0 {
		p := f.pending[0]
		f.pending = f.pending[1:]
		n := machine.Notice{Kind: machine.SocketOpened, Socket: p.Socket, Local: netip.AddrPortFrom(p.Local.Addr(), max(p.Local.Port(), 1))}
		if f.sockets[p.Socket] = true; p.Op == machine.Dial {
			n = machine.Notice{Kind: machine.Connected, Stream: p.Stream, Local: local(p), Remote: p.Remote}
			delete(f.sockets, p.Socket)
			f.streams[p.Stream] = true
		}
		f.notice(f.now, n)
		f.drain()
	}
}

// arrive hands data to the machine, as what came in where a request went out.
func (f *fuzzed[E]) arrive(t machine.Transmit, from netip.AddrPort, data []byte) {
	switch {
	case t.Op == machine.Write:
		f.notice(f.now, machine.Notice{Kind: machine.Received, Stream: t.Stream, Data: data})
	case f.sockets[t.Socket]:
		f.HandleDatagram(f.now, machine.Datagram{Socket: t.Socket, Remote: from, Data: data})
	}
}

// play does what script says. Each step is one byte with one more that says how.
func (f *fuzzed[E]) play(script []byte) {
	for f.drain(); len(script) > 1; f.drain() {
		op, how := script[0], script[1]
		script = script[2:]
		var last machine.Transmit
		if len(f.asked) > 0 {
			last = f.asked[max(0, len(f.asked)-1-int(how%4))]
		}
		switch op % 8 {
		case 0:
			f.settle()
		case 1, 2: // an answer, right or wrong
			var m wire.Message
			if m.Decode(last.Data) != nil {
				break
			}
			id, from := m.TransactionID(), last.Remote
			if how&32 != 0 {
				id[3]++
			}
			if how&64 != 0 {
				from = capable[int(op>>3)%4]
			}
			msg := success(id, outside(4000+int(op>>3)+len(f.asked)*int(how&1)), func(b *wire.Builder) {
				if how&2 != 0 {
					b.AddAddress(wire.AttrOtherAddress, capable[3])
				}
				if how&4 != 0 {
					b.AddAddress(wire.AttrOtherAddress, outside(int(how)))
				}
			})
			if how&128 != 0 {
				binary.BigEndian.PutUint16(msg, 0x0111) // an error without a code
			}
			f.arrive(last, from, msg[:len(msg)-int(how>>3&1)])
		case 3: // anything
			n := min(int(how), len(script))
			f.arrive(last, last.Remote, bytes.Clone(script[:n]))
		case 4: // a request of ours comes back, to any socket
			if last.Op == machine.Send {
				last.Socket = machine.SocketID(how >> 2)
				f.arrive(last, outside(int(op)), last.Data)
			}
		case 5, 6: // something happens to any socket or stream, or to one that is not
			n := machine.Notice{Kind: machine.NoticeKind(op >> 3 % 8), Socket: machine.SocketID(how), Remote: last.Remote, Err: errors.New("fuzzed"), Reason: machine.Reason(how % 8)}
			switch n.Kind {
			case machine.Accepted, machine.Received:
				n.Stream, n.Socket, n.Data = machine.StreamID(how), 0, script
			case machine.Closed: // the last that is told of a stream, a dialled one among them
				n.Stream, n.Socket = machine.StreamID(how), 0
				f.forget(func(p machine.Transmit) bool { return p.Op == machine.Dial && p.Stream == n.Stream })
				delete(f.streams, n.Stream)
			case machine.Connected, machine.SocketOpened:
				continue // only what was asked for comes to be
			case machine.SocketFailed:
				f.forget(func(p machine.Transmit) bool { return p.Op == machine.OpenSocket && p.Socket == n.Socket })
				delete(f.sockets, n.Socket)
			}
			f.notice(f.now, n)
		case 7: // time passes
			f.now = f.now.Add(time.Duration(how) * 4 * time.Millisecond)
			f.HandleTimeout(f.now)
		}
	}
}

// end lets time pass until the machine is at rest, by when it has to have let go of everything.
func (f *fuzzed[E]) end(within time.Duration) {
	f.settle()
	for limit := f.now.Add(within); ; f.settle() {
		next := f.NextTimeout()
		if next.IsZero() {
			break
		}
		if next.After(limit) {
			f.t.Fatalf("is not done after %v", within)
		}
		if next.After(f.now) {
			f.now = next
		}
		f.HandleTimeout(f.now)
		f.drain()
	}
	f.HandleTimeout(f.now.Add(time.Hour))
	f.drain()
	delete(f.sockets, 0) // it was lent
	if len(f.sockets)+len(f.streams)+len(f.pending) > 0 {
		f.t.Fatalf("%d sockets and %d connections are left, %d are being made", len(f.sockets), len(f.streams), len(f.pending))
	}
}

// FuzzTCPProbe: whatever servers and networks do, twelve connections are made at most, to what
// was named only, and one report comes of it within the patience.
func FuzzTCPProbe(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		m, err := natprobe.NewTCPProbe(all, fuzzConfig())
		if err != nil {
			t.Fatal(err)
		}
		w := newFuzzed(t, m)
		m.Start(w.now)
		w.play(script)
		w.end(4 * time.Second)
		if len(w.events) != 1 || w.effects > 12*3 {
			t.Errorf("%d reports, %d effects", len(w.events), w.effects)
		}
	})
}

// FuzzDiscovery: likewise for UDP, within the time that Config.Timeout gives.
func FuzzDiscovery(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		m, err := natprobe.NewDiscovery(all, fuzzConfig())
		if err != nil {
			t.Fatal(err)
		}
		w := newFuzzed(t, m)
		m.Start(w.now)
		w.play(script)
		w.end(10 * time.Second)
		if last := w.events[len(w.events)-1]; last.Stage != natprobe.StageDone || len(last.Report.Conclusions) == 0 && last.Err == nil {
			t.Errorf("ends at stage %v: %v", last.Stage, last.Err)
		}
	})
}

// FuzzLifetimeProbe: likewise for what goes on for minutes.
func FuzzLifetimeProbe(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		m, err := natprobe.NewLifetimeProbe(capable[0], 10*time.Second, fuzzConfig())
		if err != nil {
			t.Fatal(err)
		}
		w := newFuzzed(t, m)
		m.Start(w.now)
		w.play(script)
		w.end(10 * time.Minute)
		if last := w.events[len(w.events)-1]; !last.Last {
			t.Error("no event is the last one")
		}
	})
}

// FuzzReflexive: each server is told of once, and the last one as such.
func FuzzReflexive(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		m, err := natprobe.NewReflexive(all, &natprobe.ReflexiveConfig{Secrets: rand.NewChaCha8([32]byte{1})})
		if err != nil {
			t.Fatal(err)
		}
		w := newFuzzed(t, m)
		w.sockets[0] = true // lent
		m.Start(w.now, netip.AddrPort{})
		w.play(script)
		w.end(40 * time.Second)
		told := make(map[netip.AddrPort]int)
		for i, e := range w.events {
			if told[e.Server]++; told[e.Server] > 1 || e.Addr.IsValid() == (e.Err != nil) || e.Last != (i == len(all)-1) {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		if len(told) != len(all) {
			t.Errorf("%d servers are told of", len(told))
		}
	})
}
