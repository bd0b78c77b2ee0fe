package natprobe

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

func TestRFC8489_6_2_1_SilentServerSchedule(t *testing.T) {
	b := newBench(t, ReflexiveConfig{}, serverA)
	b.until(39499 * time.Millisecond)
	if len(b.events) != 0 {
		t.Fatalf("gave up too early: %+v", b.events)
	}
	b.until(time.Hour)
	want := []time.Duration{0, 500, 1500, 3500, 7500, 15500, 31500}
	if len(b.sent) != len(want) {
		t.Fatalf("%d sends, want %d", len(b.sent), len(want))
	}
	for i, s := range b.sent {
		if s.at != want[i]*time.Millisecond {
			t.Errorf("send %d at %v, want %v ms", i, s.at, int(want[i]))
		}
		if !bytes.Equal(s.data, b.sent[0].data) {
			t.Errorf("send %d is another request than the first", i)
		}
	}
	got := b.only()
	var se *ServerError
	if !errors.As(got.Err, &se) || se.Server != serverA || !errors.Is(got.Err, ErrNoAnswer) || got.Addr.IsValid() {
		t.Errorf("result %+v", got)
	}
	if want := "39.5s"; !strings.Contains(got.Err.Error(), want) {
		t.Errorf("%q does not tell %s", got.Err, want)
	}
}

func TestRFC8489_6_2_1_NoRTTFromARetransmittedTransaction(t *testing.T) {
	b := newBench(t, ReflexiveConfig{}, serverA)
	b.until(600 * time.Millisecond)
	b.receive(serverA, success(b.id(serverA), nil))
	if got := b.only(); got.Addr != mapped || got.RTT != 0 || got.Err != nil {
		t.Errorf("result %+v, want an address and no RTT", got)
	}

	b = newBench(t, ReflexiveConfig{}, serverA)
	b.until(80 * time.Millisecond)
	b.receive(serverA, success(b.id(serverA), nil))
	if got := b.only(); got != (Mapped{Server: serverA, Addr: mapped, RTT: 80 * time.Millisecond}) {
		t.Errorf("result %+v", got)
	}
}

func TestKernelStampRefinesRTT(t *testing.T) {
	for _, tt := range []struct{ stamp, want time.Duration }{{60, 60}, {90, 80}, {-5, 80}} {
		b := newBench(t, ReflexiveConfig{}, serverA)
		b.until(80 * time.Millisecond)
		b.m.HandleDatagram(b.now, machine.Datagram{Remote: serverA, Data: success(b.id(serverA), nil), Stamp: t0.Add(tt.stamp * time.Millisecond)})
		b.drain()
		if got := b.only().RTT; got != tt.want*time.Millisecond {
			t.Errorf("stamp at %d ms: RTT %v", int(tt.stamp), got)
		}
	}
}

func TestRFC8489_6_3_OthersAnswersAreDropped(t *testing.T) {
	b := newBench(t, ReflexiveConfig{}, serverA, serverB)
	right := b.id(serverA)
	wrong := right
	wrong[11]++
	request := bytes.Clone(b.sent[0].data)
	indication := success(right, nil)
	indication[0], indication[1] = 0, 0x11
	allocate := success(right, nil)
	allocate[1] = 3
	badPrint := success(right, func(w *wire.Builder) {
		w.AddXORAddress(wire.AttrXORMappedAddress, mapped)
		w.AddFingerprint()
	})
	badPrint[len(badPrint)-1]++
	for name, d := range map[string]struct {
		from netip.AddrPort
		data []byte
	}{
		"wrong transaction":          {serverA, success(wrong, nil)},
		"another server":             {serverB, success(right, nil)},
		"another port":               {netip.AddrPortFrom(serverA.Addr(), 3479), success(right, nil)},
		"our own request":            {serverA, request},
		"an indication":              {serverA, indication},
		"another method":             {serverA, allocate},
		"bad fingerprint":            {serverA, badPrint},
		"cut short":                  {serverA, success(right, nil)[:28]},
		"no STUN":                    {serverA, []byte("hello")},
		"nothing":                    {serverA, nil},
		"error, wrong transaction":   {serverA, failure(wrong, 500)},
		"unknown, wrong transaction": {serverA, success(wrong, func(w *wire.Builder) { w.AddRaw(0x7001, nil) })},
	} {
		b.receive(d.from, d.data)
		if len(b.events) != 0 {
			t.Fatalf("%s: taken for an answer: %+v", name, b.events)
		}
	}
	b.receive(serverA, success(right, nil)) // the transaction has survived all that
	if len(b.events) != 1 || b.events[0].Addr != mapped {
		t.Errorf("events %+v", b.events)
	}
	b.receive(serverA, success(right, func(w *wire.Builder) { w.AddXORAddress(wire.AttrXORMappedAddress, serverB) }))
	if len(b.events) != 1 {
		t.Errorf("a second answer counts: %+v", b.events)
	}
}

func TestRFC8489_6_3_3_UnknownAttributes(t *testing.T) {
	b := newBench(t, ReflexiveConfig{}, serverA)
	b.receive(serverA, success(b.id(serverA), func(w *wire.Builder) {
		w.AddXORAddress(wire.AttrXORMappedAddress, mapped)
		w.AddRaw(0x7001, []byte{1})
	}))
	if got := b.only(); got.Err == nil || got.Addr.IsValid() || !strings.Contains(got.Err.Error(), "0x7001") {
		t.Errorf("unknown required attribute: %+v", got)
	}

	b = newBench(t, ReflexiveConfig{}, serverA)
	b.receive(serverA, success(b.id(serverA), func(w *wire.Builder) {
		w.AddRaw(0xF001, []byte{1})
		w.AddXORAddress(wire.AttrXORMappedAddress, mapped)
		w.AddString(wire.AttrSoftware, "x")
	}))
	if got := b.only(); got.Err != nil || got.Addr != mapped {
		t.Errorf("unknown optional attribute: %+v", got)
	}
}

// TestRFC5389_12_1_OldServers: they tell MAPPED-ADDRESS alone and have attributes
// of their own in the comprehension-required range.
func TestRFC5389_12_1_OldServers(t *testing.T) {
	b := newBench(t, ReflexiveConfig{}, serverA)
	b.receive(serverA, success(b.id(serverA), func(w *wire.Builder) {
		w.AddAddress(wire.AttrMappedAddress, mapped)
		w.AddAddress(wire.AttrResponseAddress, mapped)
		w.AddAddress(wire.AttrSourceAddress, serverA)
		w.AddAddress(wire.AttrChangedAddress, serverB)
		w.AddAddress(wire.AttrReflectedFrom, mapped)
	}))
	if got := b.only(); got.Err != nil || got.Addr != mapped {
		t.Errorf("result %+v", got)
	}
}

func TestErrorResponses(t *testing.T) {
	b := newBench(t, ReflexiveConfig{}, serverA)
	b.receive(serverA, failure(b.id(serverA), 401))
	var se *ServerError
	if got := b.only(); !errors.As(got.Err, &se) || se.Code != 401 || got.Addr.IsValid() {
		t.Errorf("result %+v", got)
	}
	for name, add := range map[string]func(w *wire.Builder){
		"no address":    func(w *wire.Builder) {},
		"empty address": func(w *wire.Builder) { w.AddRaw(wire.AttrXORMappedAddress, nil) },
		"port 0": func(w *wire.Builder) {
			w.AddXORAddress(wire.AttrXORMappedAddress, netip.MustParseAddrPort("192.0.2.1:0"))
		},
		"unspecified address": func(w *wire.Builder) {
			w.AddXORAddress(wire.AttrXORMappedAddress, netip.MustParseAddrPort("0.0.0.0:1"))
		},
	} {
		b := newBench(t, ReflexiveConfig{}, serverA)
		b.receive(serverA, success(b.id(serverA), add))
		if got := b.only(); got.Err == nil || got.Addr.IsValid() {
			t.Errorf("%s: result %+v", name, got)
		}
	}
	b = newBench(t, ReflexiveConfig{}, serverA)
	bad := failure(b.id(serverA), 500)
	bad[26] = 7 // an error class that does not exist
	b.receive(serverA, bad)
	if got := b.only(); !errors.As(got.Err, &se) || se.Code != 0 {
		t.Errorf("result %+v", got)
	}
}

func TestPatienceEndsTheWaitForTheRest(t *testing.T) {
	b := newBench(t, ReflexiveConfig{Patience: 200 * time.Millisecond}, serverA, serverB)
	b.until(50 * time.Millisecond)
	b.receive(serverA, success(b.id(serverA), nil))
	b.until(249 * time.Millisecond)
	if len(b.events) != 1 || b.events[0].Last {
		t.Fatalf("events %+v, want one, not the last", b.events)
	}
	b.until(250 * time.Millisecond)
	if len(b.events) != 2 || !b.events[1].Last || b.events[1].Server != serverB || !errors.Is(b.events[1].Err, ErrNoAnswer) {
		t.Errorf("events %+v", b.events)
	}

	b = newBench(t, ReflexiveConfig{Patience: -1}, serverA, serverB)
	b.receive(serverA, success(b.id(serverA), nil))
	b.until(0)
	if len(b.events) != 2 {
		t.Errorf("negative patience: events %+v", b.events)
	}

	// A failure does not start the patience.
	b = newBench(t, ReflexiveConfig{}, serverA, serverB)
	b.receive(serverA, failure(b.id(serverA), 500))
	b.until(30 * time.Second)
	if len(b.events) != 1 {
		t.Errorf("after a failure: events %+v", b.events)
	}
}

func TestTimeoutCapsTheWhole(t *testing.T) {
	b := newBench(t, ReflexiveConfig{Timeout: 3 * time.Second}, serverA, serverB)
	b.until(time.Hour)
	if len(b.sent) != 6 || b.sent[5].at != 1500*time.Millisecond || len(b.events) != 2 || b.now != t0.Add(time.Hour) {
		t.Errorf("%d sends, events %+v", len(b.sent), b.events)
	}
	// Patience does not outlast it.
	b = newBench(t, ReflexiveConfig{Timeout: 100 * time.Millisecond}, serverA, serverB)
	b.receive(serverA, success(b.id(serverA), nil))
	b.until(100 * time.Millisecond)
	if len(b.events) != 2 {
		t.Errorf("events %+v", b.events)
	}
}

func TestServersAreAskedAtOnceAndOnce(t *testing.T) {
	inV6 := netip.AddrPortFrom(netip.AddrFrom16(serverA.Addr().As16()), serverA.Port())
	b := newBench(t, ReflexiveConfig{}, serverA, serverB, serverA, inV6)
	if len(b.sent) != 2 || b.sent[0].to != serverA || b.sent[1].to != serverB {
		t.Errorf("sent %+v", b.sent)
	}
	if b.id(serverA) == b.id(serverB) {
		t.Error("two transactions have one ID")
	}
}

func TestOtherFamilyFailsAtOnce(t *testing.T) {
	v6 := netip.MustParseAddrPort("[2001:db8::1]:3478")
	b := newBench(t, ReflexiveConfig{}, v6, serverA)
	if len(b.sent) != 1 || len(b.events) != 1 || b.events[0].Server != v6 || b.events[0].Err == nil || b.events[0].Last {
		t.Errorf("sent %d, events %+v", len(b.sent), b.events)
	}
	for _, tt := range []struct {
		local, server string
		want          bool
	}{{"0.0.0.0", "192.0.2.1", true}, {"0.0.0.0", "2001:db8::1", false}, {"::", "192.0.2.1", true}, {"::", "2001:db8::1", true}, {"2001:db8::2", "192.0.2.1", false}} {
		if got := reachable(netip.MustParseAddr(tt.local), netip.MustParseAddr(tt.server)); got != tt.want {
			t.Errorf("reachable(%s, %s) = %v", tt.local, tt.server, got)
		}
	}
}

// TestRFC8489_6_2_1_ICMP: a hard error ends the transaction, a soft one, which may be
// forged or pass, does not.
func TestRFC8489_6_2_1_ICMP(t *testing.T) {
	said := errors.New("what ICMP said")
	for reason, hard := range map[machine.Reason]bool{
		machine.PortUnreachable: true, machine.ProtocolUnreachable: true,
		machine.HostUnreachable: false, machine.NetUnreachable: false, machine.Prohibited: false,
		machine.TooBig: false, machine.TimeExceeded: false, machine.OtherReason: false,
	} {
		b := newBench(t, ReflexiveConfig{}, serverA, serverB)
		n := machine.Notice{Kind: machine.Unreachable, Remote: netip.AddrPortFrom(serverA.Addr(), 1), Reason: reason, Err: said}
		b.m.HandleNotice(b.now, n) // nobody was asked there
		b.drain()
		if len(b.events) != 0 {
			t.Fatalf("%v about somebody else: %+v", reason, b.events)
		}
		n.Remote = serverA
		b.m.HandleNotice(b.now, n)
		b.m.HandleNotice(b.now, n)
		b.drain()
		if hard {
			if len(b.events) != 1 || b.events[0].Server != serverA || !errors.Is(b.events[0].Err, said) || b.events[0].Last {
				t.Errorf("%v: events %+v", reason, b.events)
			}
			continue
		}
		if len(b.events) != 0 {
			t.Errorf("%v ended the transaction: %+v", reason, b.events)
			continue
		}
		b.receive(serverA, success(b.id(serverA), nil)) // it did pass
		if len(b.events) != 1 || b.events[0].Addr != mapped {
			t.Errorf("after %v: events %+v", reason, b.events)
		}
	}
	// Where nothing comes after it, it is part of the report.
	b := newBench(t, ReflexiveConfig{}, serverA)
	b.m.HandleNotice(b.now, machine.Notice{Kind: machine.Unreachable, Remote: serverA, Reason: machine.HostUnreachable, Err: said})
	b.until(time.Hour)
	if got := b.only(); !errors.Is(got.Err, ErrNoAnswer) || !errors.Is(got.Err, said) || len(b.sent) != 7 {
		t.Errorf("%d sent, result %+v", len(b.sent), got)
	}
}

func TestSocketFails(t *testing.T) {
	broken := errors.New("cable eaten")
	b := newBench(t, ReflexiveConfig{}, serverA, serverB)
	for range 2 {
		b.m.HandleNotice(b.now, machine.Notice{Kind: machine.SocketFailed, Err: broken})
	}
	b.drain()
	if len(b.events) != 2 || b.events[0].Last || !b.events[1].Last || !errors.Is(b.events[1].Err, broken) {
		t.Errorf("events %+v", b.events)
	}

	// Before Start: each server is told once, whether the socket could have reached it
	// or not, and nothing is sent.
	v6 := netip.MustParseAddrPort("[2001:db8::1]:3478")
	m, err := NewReflexive([]netip.AddrPort{v6, serverA}, &ReflexiveConfig{Secrets: seeded(1)})
	if err != nil {
		t.Fatal(err)
	}
	b = &bench{t: t, m: m, now: t0}
	m.HandleNotice(t0, machine.Notice{Kind: machine.SocketFailed, Err: broken})
	b.drain()
	m.Start(t0, local)
	b.drain()
	if len(b.events) != 2 || !b.events[1].Last || len(b.sent) != 0 || !m.NextTimeout().IsZero() {
		t.Errorf("broken before Start: %d sent, events %+v, next timeout %v", len(b.sent), b.events, m.NextTimeout())
	}
}

// TestForgedFloodChangesNothing: an outsider who knows everything but the
// transaction ID, or everything but the server's address, cannot get in.
func TestForgedFloodChangesNothing(t *testing.T) {
	const seed = 42
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	b := newBench(t, ReflexiveConfig{}, serverA)
	id := b.id(serverA)
	forged := success(id, nil)
	next := b.m.NextTimeout()
	for i := range 1_000_000 {
		from := serverA
		if i%2 == 0 {
			from = netip.AddrPortFrom(serverA.Addr(), uint16(rng.IntN(3478)))
			copy(forged[8:], id[:])
		} else {
			forged[8+rng.IntN(12)] ^= byte(1 + rng.IntN(255))
		}
		b.m.HandleDatagram(t0, machine.Datagram{Remote: from, Data: forged})
	}
	b.drain()
	if len(b.events) != 0 || len(b.sent) != 1 || b.m.NextTimeout() != next {
		t.Fatalf("events %+v, %d sends", b.events, len(b.sent))
	}
	b.receive(serverA, success(id, nil))
	if got := b.only(); got.Addr != mapped {
		t.Errorf("result %+v", got)
	}
}

func TestUnusableArguments(t *testing.T) {
	servers := []netip.AddrPort{serverA}
	for field, f := range map[string]func() error{
		"RTO":      func() error { _, err := NewReflexive(servers, &ReflexiveConfig{RTO: -1}); return err },
		"Sends":    func() error { _, err := NewReflexive(servers, &ReflexiveConfig{Sends: 21}); return err },
		"LastWait": func() error { _, err := NewReflexive(servers, &ReflexiveConfig{LastWait: -1}); return err },
		"Timeout":  func() error { _, err := NewReflexive(servers, &ReflexiveConfig{Timeout: -1}); return err },
		"servers":  func() error { _, err := NewReflexive(nil, nil); return err },
	} {
		var ce *ConfigError
		if err := f(); !errors.As(err, &ce) || ce.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	many := make([]netip.AddrPort, MaxServers+1)
	for i := range many {
		many[i] = netip.AddrPortFrom(serverA.Addr(), uint16(1+i))
	}
	for _, servers := range [][]netip.AddrPort{many, {{}}, {netip.MustParseAddrPort("192.0.2.1:0")}, {netip.MustParseAddrPort("0.0.0.0:1")}, {netip.MustParseAddrPort("224.0.0.1:1")}} {
		var ce *ConfigError
		if _, err := NewReflexive(servers, nil); !errors.As(err, &ce) || ce.Field != "servers" {
			t.Errorf("%v: %v", servers, err)
		}
	}
	if _, err := NewReflexive(servers, &ReflexiveConfig{Secrets: strings.NewReader("")}); !errors.Is(err, io.EOF) {
		t.Errorf("without randomness: %v", err)
	}
	if _, err := NewReflexive(many[:MaxServers], nil); err != nil {
		t.Error(err)
	}
}

func TestEndpointDependent(t *testing.T) {
	at := func(s string) Mapped { return Mapped{Addr: netip.MustParseAddrPort(s)} }
	bad := Mapped{Err: ErrNoAnswer}
	for _, tt := range []struct {
		answers []Mapped
		want    bool
	}{
		{nil, false},
		{[]Mapped{at("192.0.2.1:1")}, false},
		{[]Mapped{at("192.0.2.1:1"), bad, at("192.0.2.1:1")}, false},
		{[]Mapped{at("192.0.2.1:1"), bad, at("192.0.2.1:2")}, true},
		{[]Mapped{at("192.0.2.1:1"), at("192.0.2.2:1")}, true},
		{[]Mapped{at("192.0.2.1:1"), at("[2001:db8::1]:1"), at("192.0.2.1:1")}, false},
		{[]Mapped{at("192.0.2.1:1"), at("[2001:db8::1]:1"), at("[2001:db8::1]:2")}, true},
	} {
		if got := EndpointDependent(tt.answers); got != tt.want {
			t.Errorf("%v: %v", tt.answers, got)
		}
	}
}
