package stund

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

var _ machine.Machine[struct{}] = (*Machine)(nil)

var (
	t0     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	id     = wire.TransactionID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	client = netip.MustParseAddrPort("203.0.113.9:40001")
	four   = []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("192.0.2.1:3479"),
		netip.MustParseAddrPort("198.51.100.1:3478"), netip.MustParseAddrPort("198.51.100.1:3479"),
	}
)

func newMachine(t *testing.T, addrs []netip.AddrPort, perSecond int) *Machine {
	t.Helper()
	m, err := NewMachine(addrs, perSecond, 7)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func build(typ wire.MessageType, add func(b *wire.Builder)) []byte {
	var b wire.Builder
	b.Reset(typ, id)
	if add != nil {
		add(&b)
	}
	return bytes.Clone(b.Bytes())
}

// ask returns the answer to data, or nil.
func ask(m *Machine, to machine.SocketID, from netip.AddrPort, data []byte) *machine.Transmit {
	m.HandleDatagram(t0, machine.Datagram{Socket: to, Remote: from, Data: data})
	var out *machine.Transmit
	machine.Drain(m, func(t machine.Transmit) { out = &t }, func(struct{}) {})
	return out
}

// answer decodes the answer to data, which must be one to client.
func answer(t *testing.T, m *Machine, to machine.SocketID, data []byte) (machine.SocketID, *wire.Message) {
	t.Helper()
	out := ask(m, to, client, data)
	if out == nil || out.Op != machine.Send || out.Remote != client {
		t.Fatalf("socket %d: answer %+v", to, out)
	}
	msg := new(wire.Message)
	if err := msg.Decode(out.Data); err != nil {
		t.Fatal(err)
	}
	if msg.TransactionID() != id {
		t.Errorf("answer in transaction %v", msg.TransactionID())
	}
	return out.Socket, msg
}

// TestRFC5780Table1 asks each of the four sockets for each kind of answer.
func TestRFC5780Table1(t *testing.T) {
	m := newMachine(t, four, 0)
	for to := range machine.SocketID(4) {
		for _, tt := range []struct {
			ip, port, absent bool
			from             machine.SocketID
		}{
			{absent: true, from: to},
			{from: to},
			{ip: true, from: (to + 2) % 4},
			{port: true, from: []machine.SocketID{1, 0, 3, 2}[to]},
			{ip: true, port: true, from: 3 - to},
		} {
			from, msg := answer(t, m, to, build(wire.BindingRequest, func(b *wire.Builder) {
				if !tt.absent {
					b.AddChangeRequest(tt.ip, tt.port)
				}
			}))
			if from != tt.from || msg.Type() != wire.BindingSuccess {
				t.Errorf("asked %d to change %v %v: %v from %d, want %d", to, tt.ip, tt.port, msg.Type(), from, tt.from)
			}
			if a, ok := msg.XORMappedAddress(); !ok || a != client {
				t.Errorf("XOR-MAPPED-ADDRESS %v", a)
			}
			if a, ok := msg.MappedAddress(); !ok || a != client {
				t.Errorf("MAPPED-ADDRESS %v", a)
			}
			if a, ok := msg.Address(wire.AttrResponseOrigin); !ok || a != four[tt.from] {
				t.Errorf("RESPONSE-ORIGIN %v, want %v", a, four[tt.from])
			}
			if a, ok := msg.OtherAddress(); !ok || a != four[3-to] {
				t.Errorf("OTHER-ADDRESS %v, want %v", a, four[3-to])
			}
		}
	}
}

// TestSeveralSocketsForAnAddress: socket i has address i modulo their number, and
// the answer leaves from one that has the address asked for.
func TestSeveralSocketsForAnAddress(t *testing.T) {
	for n := range machine.SocketID(5) {
		if n == 0 || n == 3 {
			continue
		}
		m := newMachine(t, four[:n], 0)
		for to := range 3 * n {
			for change := range machine.SocketID(4) {
				from, msg := answer(t, m, to, build(wire.BindingRequest, func(b *wire.Builder) {
					if n == 4 {
						b.AddChangeRequest(change&2 != 0, change&1 != 0)
					}
				}))
				want := to % n
				if n == 4 {
					want ^= change
				}
				if from%n != want || from >= 3*n {
					t.Errorf("%d addresses: asked socket %d to change %02b: answer from socket %d, want one of address %d", n, to, change, from, want)
				}
				if a, ok := msg.Address(wire.AttrResponseOrigin); !ok || a != four[want] {
					t.Errorf("%d addresses: RESPONSE-ORIGIN %v, want %v", n, a, four[want])
				}
			}
		}
	}
}

// TestRFC5780_6_WithoutSecondAddress: no OTHER-ADDRESS, and 420 to CHANGE-REQUEST.
func TestRFC5780_6_WithoutSecondAddress(t *testing.T) {
	for n := 1; n <= 2; n++ {
		m := newMachine(t, four[:n], 0)
		_, msg := answer(t, m, 0, build(wire.BindingRequest, nil))
		if a, ok := msg.OtherAddress(); ok || msg.Type() != wire.BindingSuccess {
			t.Errorf("%d sockets: %v, OTHER-ADDRESS %v", n, msg.Type(), a)
		}
		expect420(t, m, build(wire.BindingRequest, func(b *wire.Builder) { b.AddChangeRequest(false, true) }), wire.AttrChangeRequest)
	}
	m := newMachine(t, []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:3478")}, 0)
	if _, msg := answer(t, m, 0, build(wire.BindingRequest, nil)); msg.Has(wire.AttrResponseOrigin) {
		t.Error("RESPONSE-ORIGIN tells an unspecified address")
	}
}

func expect420(t *testing.T, m *Machine, req []byte, want ...wire.AttrType) {
	t.Helper()
	from, msg := answer(t, m, 1%machine.SocketID(len(m.addrs)), req)
	code, reason, _ := msg.ErrorCode()
	unknown := msg.AppendUnknownAttributes(nil)
	if msg.Type() != wire.BindingFailure || code != 420 || len(reason) == 0 || !slices.Equal(unknown, want) {
		t.Errorf("%v with code %d, unknown %v; want 420 for %v", msg.Type(), code, unknown, want)
	}
	if int(from) != 1%len(m.addrs) {
		t.Errorf("error sent from socket %d", from)
	}
}

func TestRFC8489_6_3_1_UnknownAttributes(t *testing.T) {
	m := newMachine(t, four, 0)
	expect420(t, m, build(wire.BindingRequest, func(b *wire.Builder) {
		b.AddRaw(0x7001, []byte{1})
		b.AddChangeRequest(true, true) // must not move the error to another socket
		b.AddRaw(0x7002, nil)
		b.AddRaw(0x7001, nil)
		b.AddRaw(0xF001, []byte{1})
	}), 0x7001, 0x7002)
	_, msg := answer(t, m, 0, build(wire.BindingRequest, func(b *wire.Builder) {
		b.AddRaw(0xF001, []byte{1})
		b.AddString(wire.AttrUsername, "u")
		b.AddIntegrity([]byte("key"))
	}))
	if msg.Type() != wire.BindingSuccess {
		t.Errorf("optional and authentication attributes: %v", msg.Type())
	}
}

func TestMalformedChangeRequest(t *testing.T) {
	m := newMachine(t, four, 0)
	from, msg := answer(t, m, 2, build(wire.BindingRequest, func(b *wire.Builder) { b.AddRaw(wire.AttrChangeRequest, []byte{6}) }))
	if code, _, _ := msg.ErrorCode(); code != 400 || from != 2 {
		t.Errorf("code %d from socket %d", code, from)
	}
}

func TestFingerprint(t *testing.T) {
	m := newMachine(t, four, 0)
	req := build(wire.BindingRequest, func(b *wire.Builder) { b.AddFingerprint() })
	if _, msg := answer(t, m, 0, req); msg.CheckFingerprint() != nil {
		t.Error("a request with FINGERPRINT is answered without")
	}
	req[len(req)-1]++
	if out := ask(m, 0, client, req); out != nil {
		t.Errorf("a wrong FINGERPRINT is answered: %+v", out)
	}
}

// TestSilence: what must not be answered, so that the server can be turned against
// nobody.
func TestSilence(t *testing.T) {
	m := newMachine(t, four, 0)
	ok := build(wire.BindingRequest, nil)
	classic := bytes.Clone(ok)
	classic[4]++
	for name, tt := range map[string]struct {
		to   machine.SocketID
		from string
		data []byte
	}{
		"indication":     {0, "203.0.113.9:1", build(wire.BindingIndication, nil)},
		"success":        {0, "203.0.113.9:1", build(wire.BindingSuccess, nil)},
		"failure":        {0, "203.0.113.9:1", build(wire.BindingFailure, nil)},
		"another method": {0, "203.0.113.9:1", build(wire.MessageType{Method: wire.Allocate, Class: wire.Request}, nil)},
		"classic":        {0, "203.0.113.9:1", classic},
		"cut short":      {0, "203.0.113.9:1", ok[:19]},
		"bytes behind":   {0, "203.0.113.9:1", append(bytes.Clone(ok), 0)},
		"nothing":        {0, "203.0.113.9:1", nil},
		"port 0":         {0, "203.0.113.9:0", ok},
		"unspecified":    {0, "0.0.0.0:1", ok},
		"multicast":      {0, "224.0.0.1:1", ok},
		"broadcast":      {0, "255.255.255.255:1", ok},
		"IPv6 multicast": {0, "[ff02::1]:1", ok},
	} {
		if out := ask(m, tt.to, netip.MustParseAddrPort(tt.from), tt.data); out != nil {
			t.Errorf("%s: answered with %+v", name, out)
		}
	}
	if ask(m, 0, client, ok) == nil || !m.NextTimeout().IsZero() {
		t.Error("a good request after all that is not answered")
	}
}

// TestAnswersAreNoAmplifier counts bytes with IP and UDP headers.
func TestAnswersAreNoAmplifier(t *testing.T) {
	v6 := []netip.AddrPort{
		netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::1]:2"),
		netip.MustParseAddrPort("[2001:db8::2]:1"), netip.MustParseAddrPort("[2001:db8::2]:2"),
	}
	for _, tt := range []struct {
		addrs  []netip.AddrPort
		client netip.AddrPort
		header int
		max    float64
	}{{four, client, 28, 2}, {v6, netip.MustParseAddrPort("[2001:db8::3]:1"), 48, 2.5}} {
		m := newMachine(t, tt.addrs, 0)
		for name, add := range map[string]func(b *wire.Builder){
			"plain":       nil,
			"fingerprint": func(b *wire.Builder) { b.AddFingerprint() },
			"change":      func(b *wire.Builder) { b.AddChangeRequest(true, true) },
			"one unknown": func(b *wire.Builder) { b.AddRaw(0x7001, nil) },
			"many unknown": func(b *wire.Builder) {
				for i := range 300 {
					b.AddRaw(wire.AttrType(0x7000+i), nil)
				}
			},
			"padding": func(b *wire.Builder) { b.AddPadding(1000) },
		} {
			req := build(wire.BindingRequest, add)
			out := ask(m, 0, tt.client, req)
			if out == nil {
				t.Fatalf("%s: no answer", name)
			}
			if x := float64(len(out.Data)+tt.header) / float64(len(req)+tt.header); x > tt.max {
				t.Errorf("%s: %d bytes for %d, factor %.2f", name, len(out.Data), len(req), x)
			}
		}
	}
}

func TestAnswersPerSourceAreCapped(t *testing.T) {
	const rate = 20
	req := build(wire.BindingRequest, nil)
	answers := func(m *Machine, ip string, from, to time.Duration) (n int) {
		for at := from; at < to; at += time.Millisecond {
			source := netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(1+at/time.Millisecond))
			m.HandleDatagram(t0.Add(at), machine.Datagram{Remote: source, Data: req})
			if _, ok := m.PollTransmit(); ok {
				n++
			}
		}
		return n
	}
	m := newMachine(t, four, rate)
	if n := answers(m, "203.0.113.9", 0, 10*time.Second); n < 11*rate-1 || n > 11*rate {
		t.Errorf("%d answers in 10 s, want a burst of %d and %d a second", n, rate, rate)
	}
	if n := answers(m, "203.0.113.10", 10*time.Second, 10100*time.Millisecond); n < rate {
		t.Errorf("another source got %d answers at first", n)
	}
	if n := answers(m, "203.0.113.9", 20*time.Second, 20100*time.Millisecond); n < rate {
		t.Errorf("after a pause %d answers", n)
	}
	answers(m, "2001:db8:0:1::1", 0, time.Second)
	if n := answers(m, "2001:db8:0:1::2", time.Second, 1100*time.Millisecond); n > 3 {
		t.Errorf("%d answers more to one /64", n)
	}
	if n := answers(newMachine(t, four, -1), "203.0.113.9", 0, time.Second); n != 1000 {
		t.Errorf("without cap: %d answers", n)
	}
}

// TestMemoryIsBounded: a million sources leave nothing behind.
func TestMemoryIsBounded(t *testing.T) {
	m := newMachine(t, four, 100)
	req := build(wire.BindingRequest, nil)
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for i := range uint32(1_000_000) {
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], 0x0B000000+i)
		m.HandleDatagram(t0, machine.Datagram{Remote: netip.AddrPortFrom(netip.AddrFrom4(ip), 9), Data: req})
	}
	if after := heap(); after > before+10<<20 {
		t.Errorf("heap grew by %d bytes", after-before)
	}
	runtime.KeepAlive(m)
}

func TestAnsweringDoesNotAllocate(t *testing.T) {
	m := newMachine(t, four, 1<<20)
	req := build(wire.BindingRequest, func(b *wire.Builder) { b.AddChangeRequest(true, true) })
	now := t0
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(time.Millisecond)
		m.HandleDatagram(now, machine.Datagram{Remote: client, Data: req})
		if _, ok := m.PollTransmit(); !ok {
			t.Fatal("no answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations for an answer", n)
	}
}

func TestNewMachineRefuses(t *testing.T) {
	at := netip.MustParseAddrPort
	for name, addrs := range map[string][]netip.AddrPort{
		"none":              nil,
		"three":             four[:3],
		"no port":           {at("192.0.2.1:0")},
		"no address":        {{}},
		"one address":       {four[0], four[1], four[0], four[1]},
		"one port":          {four[0], four[0], four[2], four[2]},
		"three ports":       {four[0], four[1], four[2], at("198.51.100.1:3480")},
		"wrong order":       {four[0], four[2], four[1], four[3]},
		"any address twice": {at("0.0.0.0:1"), at("0.0.0.0:2"), at("0.0.0.0:1"), at("0.0.0.0:2")},
	} {
		if _, err := NewMachine(addrs, 0, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzMachine(f *testing.F) {
	f.Add(build(wire.BindingRequest, nil))
	f.Add(build(wire.BindingRequest, func(b *wire.Builder) { b.AddChangeRequest(true, false); b.AddFingerprint() }))
	f.Add(build(wire.BindingRequest, func(b *wire.Builder) { b.AddRaw(0x7001, nil) }))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := NewMachine(four, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		out := ask(m, 1, client, data)
		if out == nil {
			return
		}
		var msg wire.Message
		if err := msg.Decode(out.Data); err != nil || !msg.IsResponse() || len(out.Data)+28 > 2*(len(data)+28) {
			t.Errorf("%x answered with %x, %v", data, out.Data, err)
		}
	})
}
