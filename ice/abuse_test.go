package ice_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// What strangers, and peers that are none, can make an agent do.

// most is the greatest number of messages within any second, to one IP and to all.
func most(all []sent) (one, total int) {
	perIP := make(map[netip.Addr][]time.Duration)
	var times []time.Duration
	for _, s := range all {
		perIP[s.to.Addr()] = append(perIP[s.to.Addr()], s.at)
		times = append(times, s.at)
	}
	busiest := func(at []time.Duration) (n int) {
		for i, j := 0, 0; j < len(at); j++ {
			for at[j]-at[i] >= time.Second {
				i++
			}
			n = max(n, j-i+1)
		}
		return n
	}
	for _, at := range perIP {
		one = max(one, busiest(at))
	}
	return one, busiest(times)
}

// Ten thousand candidates, at one victim or at many: at most 100 pairs, 40 packets a
// second to a victim and 700 in all; silence after the failure.
func TestTenThousandCandidates(t *testing.T) {
	places := map[string]func(i int) netip.AddrPort{
		"one victim": func(i int) netip.AddrPort { return netip.AddrPortFrom(peerAt.Addr(), uint16(2000+i)) },
		"many":       spread,
		"both":       func(i int) netip.AddrPort { return [2]netip.AddrPort{peerAt, spread(i)}[i%2] },
	}
	for name, place := range places {
		for _, pace := range []time.Duration{0, 5 * time.Millisecond} {
			for _, transport := range []ice.Transport{ice.UDP, ice.TCP} {
				t.Run(fmt.Sprint(name, " ", pace, " ", transport), func(t *testing.T) {
					l := emptyLab(t)
					l.base(ice.Base{Socket: 0, Addr: ours})
					l.base(ice.Base{Socket: 1, Addr: ours2})
					l.tcpBase(ice.Active)
					l.tcpBase(ice.SimultaneousOpen)
					cfg := ice.AgentConfig{Controlling: true, Pace: pace}
					if pace != 0 {
						cfg.Timeout = 11 * time.Second // while pairs are being checked
					}
					l.agent(cfg)
					l.know(peerCreds)
					for i := range 10000 {
						l.candidate(place(i), uint32(1000+i*7919%10000), func(c *ice.Candidate) {
							c.Foundation = fmt.Sprint(i)
							if transport == ice.TCP {
								tcp(ice.Passive)(c)
								if i%2 == 0 {
									tcp(ice.SimultaneousOpen)(c)
								}
							}
						})
						if i%100 != 99 {
							continue
						}
						l.run(100 * time.Millisecond) // they are trickled over 10 s
						if n := len(l.m.Pairs(l.id)); n > 100 {
							t.Fatalf("%d pairs", n)
						}
					}
					l.until(time.Minute, ice.Failed)
					failed := len(l.sent)
					l.run(time.Hour)
					var packets []sent
					for _, s := range l.sent {
						if s.op == machine.Send || s.op == machine.Dial || s.op == machine.Write {
							packets = append(packets, s)
						}
					}
					one, total := most(packets)
					if one > 40 || len(packets) > 700 || pace == 0 && total > 40 {
						t.Errorf("%d packets in a second to a victim, %d to all, %d altogether", one, total, len(packets))
					}
					if len(packets) < 100 {
						t.Errorf("only %d packets: this shows nothing", len(packets))
					}
					if len(l.sent) != failed {
						t.Errorf("%d packets after the failure", len(l.sent)-failed)
					}
				})
			}
		}
	}
}

// No packet goes where no peer can be, however it is written.
func TestForbiddenCandidates(t *testing.T) {
	var bad []string
	for _, ip := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "255.255.255.255", "169.254.169.254",
		"169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192",
	} {
		bad = append(bad, ip+":5000", "[::ffff:"+ip+"]:5000", "[64:ff9b::"+ip+"]:5000", "[::"+ip+"]:5000")
	}
	for _, ip := range []string{"::", "::1", "ff02::1", "ff0e::1", "fd00:ec2::254", "fec0::1", "2002:7f00:1::1", "::1%lo", "100::1"} {
		bad = append(bad, "["+ip+"]:5000")
	}
	for _, port := range []int{0, 1, 22, 25, 53, 123, 161, 389, 443, 1023} {
		ip := "198.51.100.1"
		if port == 443 {
			ip = "192.168.1.1" // 443 is allowed of public hosts alone
		}
		bad = append(bad, fmt.Sprintf("%s:%d", ip, port))
	}
	l := emptyLab(t)
	l.base(ice.Base{Socket: 0, Addr: ours})
	l.base(ice.Base{Socket: 1, Addr: netip.MustParseAddrPort("[2001:db8::5]:4000")})
	l.base(ice.Base{Socket: 2, Addr: netip.MustParseAddrPort("169.254.1.5:4000")})
	l.base(ice.Base{Socket: 3, Addr: netip.MustParseAddrPort("[fe80::5]:4000")})
	l.base(ice.Base{Socket: 9, Type: ice.Relay, Addr: netip.MustParseAddrPort("192.0.2.99:50000")})
	l.tcpBase(ice.Active)
	l.tcpBase(ice.SimultaneousOpen)
	l.agent(ice.AgentConfig{})
	l.know(peerCreds)
	for _, a := range bad {
		at := netip.MustParseAddrPort(a)
		l.candidate(at, highPriority)
		l.candidate(at, highPriority, tcp(ice.Passive))
		l.candidate(at, highPriority, tcp(ice.SimultaneousOpen))
		// A check that pretends to come from there must not be answered there.
		for socket := range machine.SocketID(4) {
			l.deliver(socket, at, l.request())
		}
		l.deliver(9, at, l.request())
	}
	l.run(time.Minute)
	for _, s := range l.sent {
		t.Errorf("%v to %v", s.op, s.to)
	}
	if got := len(l.all(ice.EventPassedOver)); got != 3*len(bad) {
		t.Errorf("%d of %d were told to be passed over", got, 3*len(bad))
	}
}

// A million strangers: nothing is kept, nothing is answered.
func TestUnknownSources(t *testing.T) {
	n := 1_000_000
	if raceEnabled {
		n /= 20
	}
	l := newLab(t, ice.AgentConfig{})
	l.tcpBase(ice.Passive)
	l.connected()
	user := l.m.Credentials(l.id).Ufrag + ":" + peerCreds.Ufrag
	packets := [][]byte{
		[]byte("no STUN"), {}, {0, 1}, make([]byte, 1200),
		l.request(func(o *outgoing) { o.user = "nobody:peer" }),
		l.request(signedBy("notThePasswordOfTheAgent")),
		l.request(unsigned),
		outgoing{kind: wire.BindingSuccess, mapped: ours, pwd: peerCreds.Pwd}.bytes(),
		outgoing{kind: wire.BindingFailure, code: 487, pwd: peerCreds.Pwd}.bytes(),
		outgoing{kind: wire.MessageType{Method: wire.Binding, Class: wire.Indication}}.bytes(),
		outgoing{kind: wire.MessageType{Method: wire.Allocate, Class: wire.Request}, user: user}.bytes(),
	}
	sent, events, size := len(l.sent), len(l.events), l.m.Size()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)}), uint16(1024+i%60000))
		l.m.HandleDatagram(l.now, machine.Datagram{Socket: 0, Local: ours, Remote: from, Data: packets[i%len(packets)]})
		machine.Drain(l.m, l.carryOut, func(e ice.Event) { l.events = append(l.events, e) })
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	if len(l.sent) != sent || len(l.events) != events || l.m.Size() != size {
		t.Errorf("%d messages, %d events, %d things kept", len(l.sent)-sent, len(l.events)-events, l.m.Size()-size)
	}
}

// A peer that has the credentials and lies about where it is: it gets one answer for each
// check, no more bytes than it sent twice over, and the victims few checks.
func TestPeerThatLiesAboutItsAddress(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Timeout: -1, Pace: 5 * time.Millisecond})
	l.know(peerCreds)
	in, out := 0, 0
	for i := range 20000 { // a thousand a second
		b := l.request(nominating)
		in += len(b)
		l.deliver(0, spread(i), b)
		l.run(time.Millisecond)
	}
	if n := len(l.m.Pairs(l.id)); n > 16 {
		t.Errorf("%d pairs", n)
	}
	for _, s := range l.sent {
		out += len(s.raw)
	}
	checks := len(l.requests(netip.AddrPort{}))
	answers := len(l.sent) - checks
	if checks > 720 || answers > 400*21 || out > 2*in {
		t.Errorf("%d checks, %d answers, %d bytes for %d", checks, answers, out, in)
	}
	l.run(20 * time.Second)
	before := len(l.sent)
	l.run(time.Hour)
	if len(l.sent) != before {
		t.Errorf("%d messages after the peer has stopped", len(l.sent)-before)
	}
	// What was spent on lies does not keep the true peer out.
	l.hosts[peerAt] = answering
	l.ask(peerAt)
	l.until(2*time.Second, ice.Connected)
}

// The true address of a peer is learned, however many false ones came before.
func TestLiesDoNotFillTheList(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	for i := range 100 {
		l.ask(spread(i))
	}
	l.hosts[peerAt] = answering
	l.ask(peerAt)
	l.until(2*time.Second, ice.Connected)
	for i := range 100 {
		l.ask(spread(i))
	}
	if !l.pair(peerAt).Valid {
		t.Error("false addresses drove out one that works")
	}
}

// STUN messages of any length are read, or not, without harm, and what is answered is
// short.
func TestOversizeSTUN(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.tcpBase(ice.Passive)
	l.know(peerCreds)
	long := func(attr wire.AttrType, size, n int) script {
		return with(func(b *wire.Builder) {
			for i := range n {
				b.AddRaw(attr+wire.AttrType(i), make([]byte, size))
			}
		})
	}
	for name, c := range map[string]struct {
		change script
		code   int
	}{
		"one long optional attribute":  {long(0x9000, 60000, 1), 0},
		"many optional attributes":     {long(0x9000, 0, 10000), 0},
		"many attributes that must be": {long(0x4000, 0, 10000), wire.CodeUnknownAttribute},
		"a long user name":             {func(o *outgoing) { o.user += strings.Repeat("x", 60000) }, -1},
	} {
		b := l.request(c.change)
		answer := func() (m *wire.Message) {
			for _, s := range l.sent {
				if a := s.msg(); a != nil && a.IsResponse() {
					m = a
				}
			}
			return m
		}
		for _, overTCP := range []bool{false, true} {
			l.sent = nil
			if overTCP {
				l.frame(l.accept(peerAt, ours), b)
			} else {
				l.deliver(0, peerAt, b)
			}
			m := answer()
			if (m == nil) != (c.code < 0) {
				t.Fatalf("%s: answered %v", name, m != nil)
			}
			if m == nil {
				continue
			}
			if code, _, _ := m.ErrorCode(); code != c.code || len(m.Raw()) > 200 {
				t.Errorf("%s: code %d, %d bytes", name, code, len(m.Raw()))
			}
		}
	}
}
