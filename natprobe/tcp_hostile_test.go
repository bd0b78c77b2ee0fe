package natprobe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
)

// tcpRig is a TCPProbe on the bare machine, with servers that are a function.
type tcpRig struct {
	*natprobe.TCPProbe
	t       *testing.T
	now     time.Time
	answer  func(*tcpRig, tcpDial)
	dials   []tcpDial
	resets  map[machine.StreamID]int
	reports []natprobe.TCPReport
	ended   time.Duration // since the start
}

// tcpDial is a connection that the probe has made.
type tcpDial struct {
	machine.Transmit
	n  int           // of them, from 0
	at time.Duration // since the start
	id wire.TransactionID
}

var tcpStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newTCPRig(t *testing.T, seed uint64, answer func(*tcpRig, tcpDial), servers ...netip.AddrPort) *tcpRig {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	m, err := natprobe.NewTCPProbe(servers, &natprobe.DiscoveryConfig{Secrets: rand.NewChaCha8(key), Rand: random})
	if err != nil {
		t.Fatal(err)
	}
	return &tcpRig{TCPProbe: m, t: t, now: tcpStart, answer: answer, resets: make(map[machine.StreamID]int)}
}

// run starts the probe and lets it come to its end.
func (r *tcpRig) run() *tcpRig {
	r.t.Helper()
	r.Start(r.now)
	r.drain()
	for range 100 {
		next := r.NextTimeout()
		if next.IsZero() {
			return r
		}
		r.now = next
		r.HandleTimeout(r.now)
		r.drain()
	}
	r.t.Fatal("does not end")
	return nil
}

// drain does what the probe asks for: connections stand at once, and answer when they are asked.
func (r *tcpRig) drain() {
	for {
		t, ok := r.PollTransmit()
		if !ok {
			break
		}
		switch t.Op {
		case machine.Dial:
			r.dials = append(r.dials, tcpDial{Transmit: t, n: len(r.dials), at: r.now.Sub(tcpStart)})
			r.notice(machine.Notice{Kind: machine.Connected, Stream: t.Stream, Local: local(t)})
		case machine.Write:
			var m wire.Message
			if m.Decode(t.Data) != nil || m.Type() != wire.BindingRequest {
				r.t.Fatalf("writes %x", t.Data)
			}
			d := &r.dials[slices.IndexFunc(r.dials, func(d tcpDial) bool { return d.Stream == t.Stream })]
			d.id = m.TransactionID()
			r.answer(r, *d)
		case machine.Reset:
			r.resets[t.Stream]++
		default:
			r.t.Fatalf("asks for %v", t.Op)
		}
	}
	for e, ok := r.PollEvent(); ok; e, ok = r.PollEvent() {
		r.reports, r.ended = append(r.reports, e.Report), r.now.Sub(tcpStart)
	}
}

func (r *tcpRig) notice(n machine.Notice) { r.HandleNotice(r.now, n) }

// say has a server say something to the client.
func (r *tcpRig) say(d tcpDial, data []byte) {
	r.notice(machine.Notice{Kind: machine.Received, Stream: d.Stream, Data: data})
}

// told has a server tell an address, and the attributes that more adds.
func (r *tcpRig) told(d tcpDial, mapped netip.AddrPort, more func(*wire.Builder)) {
	r.say(d, success(d.id, mapped, more))
}

func success(id wire.TransactionID, mapped netip.AddrPort, more func(*wire.Builder)) []byte {
	var b wire.Builder
	b.Reset(wire.BindingSuccess, id)
	if mapped.IsValid() {
		b.AddXORAddress(wire.AttrXORMappedAddress, mapped)
	}
	if more != nil {
		more(&b)
	}
	return bytes.Clone(b.Bytes())
}

// local is where a connection is made from.
func local(t machine.Transmit) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("192.168.0.2"), t.Local.Port())
}

// outside is a port of the NAT's address.
func outside(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), uint16(port))
}

// other names another address of a server's.
func other(a netip.AddrPort) func(*wire.Builder) {
	return func(b *wire.Builder) { b.AddAddress(wire.AttrOtherAddress, a) }
}

// TestTCPHostileServers: what is no answer to the question asked tells nothing, costs no
// waiting where more cannot come, and leaves no connection.
func TestTCPHostileServers(t *testing.T) {
	stranger := netip.MustParseAddrPort("[2001:db8::9]:1234")
	for name, c := range map[string]struct {
		answer func(*tcpRig, tcpDial)
		waits  bool // for all of an answer that may still come
	}{
		"another's transaction": {func(r *tcpRig, d tcpDial) {
			d.id[0] ^= 1
			r.told(d, outside(4000+d.n), nil)
		}, false},
		"an address of the other family": {func(r *tcpRig, d tcpDial) { r.told(d, stranger, nil) }, false},
		"port 0":                         {func(r *tcpRig, d tcpDial) { r.told(d, outside(0), nil) }, false},
		"no address":                     {func(r *tcpRig, d tcpDial) { r.told(d, netip.AddrPort{}, nil) }, false},
		"an error": {func(r *tcpRig, d tcpDial) {
			var b wire.Builder
			b.Reset(wire.BindingFailure, d.id)
			b.AddErrorCode(400, "no")
			b.AddXORAddress(wire.AttrXORMappedAddress, outside(4000))
			r.say(d, b.Bytes())
		}, false},
		"the request": {func(r *tcpRig, d tcpDial) {
			var b wire.Builder
			b.Reset(wire.BindingRequest, d.id)
			b.AddXORAddress(wire.AttrXORMappedAddress, outside(4000))
			r.say(d, b.Bytes())
		}, false},
		"60,000 bytes that are to come": {func(r *tcpRig, d tcpDial) {
			msg := success(d.id, outside(4000+d.n), nil)
			binary.BigEndian.PutUint16(msg[2:], 60000)
			r.say(d, msg)
		}, false},
		"60,000 bytes": {func(r *tcpRig, d tcpDial) {
			r.told(d, outside(4000+d.n), func(b *wire.Builder) { b.AddRaw(0x8099, make([]byte, 60000)) })
		}, false},
		"another protocol":  {func(r *tcpRig, d tcpDial) { r.say(d, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, false},
		"half of an answer": {func(r *tcpRig, d tcpDial) { r.say(d, success(d.id, outside(4000), nil)[:30]) }, true},
		"nothing":           {func(*tcpRig, tcpDial) {}, true},
		"an end": {func(r *tcpRig, d tcpDial) {
			r.notice(machine.Notice{Kind: machine.Closed, Stream: d.Stream, Err: errors.New("reset by peer")})
			r.told(d, outside(4000+d.n), nil)
		}, false},
		"as of a stream that is not": {func(r *tcpRig, d tcpDial) {
			for _, s := range []machine.StreamID{0, 100, machine.AcceptedBase, 1<<32 - 1} {
				r.say(tcpDial{Transmit: machine.Transmit{Stream: s}}, success(d.id, outside(4000), nil))
			}
			r.say(d, make([]byte, wire.HeaderSize))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTCPRig(t, 1, c.answer, all...).run()
			if len(r.reports) != 1 {
				t.Fatalf("%d reports", len(r.reports))
			}
			got := r.reports[0]
			if got.Mapping != natprobe.MappingUnknown || got.Mapped.IsValid() || got.NAT != natprobe.VerdictUnknown || got.Preserving != natprobe.VerdictUnknown ||
				got.Ports.Samples != 0 || got.Confidence != 0 || !strings.Contains(got.Because, "no server answers over TCP") {
				t.Errorf("%+v", got)
			}
			if waits := r.ended > 200*time.Millisecond; waits != c.waits || r.ended > 4*time.Second {
				t.Errorf("ends after %v", r.ended)
			}
			if strings.Contains(got.Because, "reset by peer") != (name == "an end") {
				t.Errorf("because %s", got.Because)
			}
			r.isOver(6)
		})
	}
}

// isOver checks that as many connections were made as are wanted, one a moment, that all are
// dropped, and that nothing moves the probe any more.
func (r *tcpRig) isOver(want int) {
	r.t.Helper()
	if len(r.dials) != want {
		r.t.Errorf("%d connections, want %d", len(r.dials), want)
	}
	for i, d := range r.dials {
		if i > 0 && d.at-r.dials[i-1].at < 20*time.Millisecond {
			r.t.Errorf("connection %d is made after %v, the one before it after %v", i, d.at, r.dials[i-1].at)
		}
		if r.resets[d.Stream] != 1 {
			r.t.Errorf("connection %d is dropped %d times", i, r.resets[d.Stream])
		}
	}
	for _, d := range r.dials {
		r.notice(machine.Notice{Kind: machine.Connected, Stream: d.Stream, Local: local(d.Transmit)})
		r.told(d, outside(1), nil)
	}
	r.HandleTimeout(r.now.Add(time.Minute))
	r.Stop(r.now)
	reports := len(r.reports)
	if _, ok := r.PollTransmit(); ok || !r.NextTimeout().IsZero() {
		r.t.Error("does something after its end")
	}
	if r.drain(); len(r.reports) != reports {
		r.t.Errorf("%d reports", len(r.reports))
	}
}

// TestTCPOtherAddressOnce: a server has one other address, the first that it names; whoever
// names one after another does not make us connect to them all.
func TestTCPOtherAddressOnce(t *testing.T) {
	named := []netip.AddrPort{capable[3], netip.MustParseAddrPort("198.51.100.66:3479"), netip.MustParseAddrPort("198.51.100.67:3479")}
	r := newTCPRig(t, 1, func(r *tcpRig, d tcpDial) { r.told(d, outside(4000), other(named[min(d.n, 2)])) }, capable[0]).run()
	r.isOver(6)
	for _, d := range r.dials {
		if a := d.Remote.Addr(); a != capable[0].Addr() && a != capable[3].Addr() {
			t.Errorf("connects to %v", d.Remote)
		}
	}
	if got := r.reports[0]; got.Mapping != eim || got.Confidence < 0.9 {
		t.Errorf("%+v", got)
	}
}

// TestTCPAnswerInPieces: a stream has no datagrams.
func TestTCPAnswerInPieces(t *testing.T) {
	r := newTCPRig(t, 1, func(r *tcpRig, d tcpDial) {
		for _, b := range success(d.id, outside(4000), nil) {
			r.say(d, []byte{b})
		}
		r.told(d, outside(5000), nil) // the first answer counts
	}, all...).run()
	if got := r.reports[0]; got.Mapping != eim || got.Mapped != outside(4000) {
		t.Errorf("%+v", got)
	}
	r.isOver(6)
}

// TestTCPConclusions: what is read from the answers to connections made in this order: from
// the first port to each of the servers, from the second to each, then to the other address of
// the first that names one, with the server's port and with another, from either port.
func TestTCPConclusions(t *testing.T) {
	yes, no := natprobe.Yes, natprobe.No
	plain, rich := []netip.AddrPort{plainB, plainC}, capable[:1]
	for name, c := range map[string]struct {
		servers []netip.AddrPort
		ports   []int // that servers see; 0: the local one; -1: no answer
		check   func(natprobe.TCPReport) bool
	}{
		"one answer": {plain, []int{4000, -1, -1, -1}, func(r natprobe.TCPReport) bool {
			return r.Because == "only one server address answers over TCP" && r.Mapped == outside(4000) && r.NAT == yes
		}},
		"the local port is kept by half": {plain, []int{0, 4001, 4002, 0}, func(r natprobe.TCPReport) bool {
			return r.Preserving == no && r.Mapping == adm && r.MappingLeast && r.Confidence == 0.6
		}},
		"the local port is kept by most": {plain, []int{0, 0, 0, 4001}, func(r natprobe.TCPReport) bool { return r.Preserving == yes }},
		"what one port shows only in part counts less than what the other shows": {
			rich, []int{4000, 5000, 4001, -1, 5001, 5002}, func(r natprobe.TCPReport) bool {
				return r.Mapping == apdm && !r.MappingLeast && r.Confidence == 0.7
			}},
		"and so it is the other way round": {
			rich, []int{4000, 5000, 4001, 4002, 5001, -1}, func(r natprobe.TCPReport) bool {
				return r.Mapping == apdm && !r.MappingLeast
			}},
		"of two certain ones the less restrictive counts": {
			rich, []int{4000, 5000, 4000, 4000, 5001, 5002}, func(r natprobe.TCPReport) bool {
				return r.Mapping == eim && !r.MappingLeast && r.Confidence == 0.7
			}},
		"a sequence": {rich, []int{4000, 4001, 4002, 4003, 4004, 4005}, sequence(1)},
		// The connection that was lost has got a port, too: it was nobody else's.
		"a sequence with a gap": {rich, []int{4000, 4001, 4002, -1, 4004, 4005}, sequence(1)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTCPRig(t, 1, func(r *tcpRig, d tcpDial) {
				more := other(capable[3])
				if slices.Equal(c.servers, plain) || d.Remote != capable[0] {
					more = nil
				}
				switch port := c.ports[min(d.n, len(c.ports)-1)]; port {
				case -1:
					r.notice(machine.Notice{Kind: machine.Closed, Stream: d.Stream, Err: errors.New("refused")})
				case 0:
					r.told(d, outside(int(d.Local.Port())), more)
				default:
					r.told(d, outside(port), more)
				}
			}, c.servers...).run()
			if got := r.reports[0]; !c.check(got) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func sequence(delta int) func(natprobe.TCPReport) bool {
	return func(r natprobe.TCPReport) bool {
		return r.Mapping == apdm && r.Ports.Model == natprobe.PortsSequential && r.Ports.Delta == delta && r.Ports.Rate == 0
	}
}
