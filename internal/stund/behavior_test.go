package stund

import (
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/internal/wire"
)

// TestRFC5780_6_1_ResponsePort: the answer goes to the port asked for, of the same address,
// and tells where the request came from.
func TestRFC5780_6_1_ResponsePort(t *testing.T) {
	for _, addrs := range [][]netip.AddrPort{four, four[:1]} {
		for _, value := range [][]byte{{0x12, 0x34}, {0x12, 0x34, 0, 0}} { // senders differ in the length
			m := newMachine(t, addrs, 0)
			out := ask(m, 0, client, build(wire.BindingRequest, func(b *wire.Builder) { b.AddRaw(wire.AttrResponsePort, value) }))
			if want := netip.AddrPortFrom(client.Addr(), 0x1234); out == nil || out.Remote != want {
				t.Fatalf("answer %+v, want to %v", out, want)
			}
			var msg wire.Message
			if err := msg.Decode(out.Data); err != nil {
				t.Fatal(err)
			}
			if a, _ := msg.XORMappedAddress(); a != client {
				t.Errorf("mapped %v", a)
			}
		}
	}
	m := newMachine(t, four, 0)
	for name, add := range map[string]func(b *wire.Builder){
		"with PADDING": func(b *wire.Builder) { b.AddResponsePort(5); b.AddPadding(8) },
		"port 0":       func(b *wire.Builder) { b.AddResponsePort(0) },
		"too short":    func(b *wire.Builder) { b.AddRaw(wire.AttrResponsePort, []byte{1}) },
	} {
		from, msg := answer(t, m, 1, build(wire.BindingRequest, add)) // fails if it is not to the client
		if code, _, _ := msg.ErrorCode(); code != wire.CodeBadRequest || from != 1 {
			t.Errorf("%s: code %d from %d, want 400", name, code, from)
		}
	}
}

// TestRFC5780_6_1_Padding: it comes back, but never more than was sent.
func TestRFC5780_6_1_Padding(t *testing.T) {
	m := newMachine(t, four, 0)
	for _, n := range []int{0, 4, 1000, 1500, 2000} {
		_, msg := answer(t, m, 0, build(wire.BindingRequest, func(b *wire.Builder) { b.AddPadding(n) }))
		if p, ok := msg.Padding(); !ok || len(p) != min(n, maxPadding) {
			t.Errorf("%d bytes of PADDING come back as %d", n, len(p))
		}
	}
}

func TestFaults(t *testing.T) {
	wrong := netip.MustParseAddrPort("203.0.113.1:1")
	change := build(wire.BindingRequest, func(b *wire.Builder) { b.AddChangeRequest(true, true) })
	plain := build(wire.BindingRequest, nil)
	faulty := func(f Faults) *Machine {
		m := newMachine(t, four, 0)
		m.SetFaults(f)
		return m
	}
	if from, _ := answer(t, faulty(Faults{}), 0, change); from != 3 {
		t.Errorf("without faults: from %d", from)
	}
	if from, msg := answer(t, faulty(Faults{IgnoreChange: true}), 0, change); from != 0 || msg.Type() != wire.BindingSuccess {
		t.Errorf("IgnoreChange: from %d", from)
	}
	if from, msg := answer(t, faulty(Faults{RefuseChange: 420}), 0, change); from != 0 || msg.Type() != wire.BindingFailure {
		t.Errorf("RefuseChange: from %d", from)
	}
	if out := ask(faulty(Faults{DropChange: true}), 0, client, change); out != nil {
		t.Errorf("DropChange: %+v", out)
	}
	if _, msg := answer(t, faulty(Faults{Other: wrong}), 0, plain); func() bool { a, _ := msg.OtherAddress(); return a != wrong }() {
		t.Error("Other")
	}
	if _, msg := answer(t, faulty(Faults{Rewrite: func(netip.AddrPort) netip.AddrPort { return wrong }}), 0, plain); func() bool { a, _ := msg.MappedAddress(); return a != wrong }() {
		t.Error("Rewrite")
	}
	if from, _ := answer(t, faulty(Faults{Source: 1}), 0, plain); from != 1 {
		t.Errorf("Source: from %d", from)
	}
}
