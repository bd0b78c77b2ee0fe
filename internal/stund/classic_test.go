package stund

import (
	"bytes"
	"testing"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

var classicID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func classicRequest(add func(b *wire.Builder)) []byte {
	var b wire.Builder
	b.ResetClassic(wire.BindingRequest, classicID)
	if add != nil {
		add(&b)
	}
	return bytes.Clone(b.Bytes())
}

// TestRFC3489_8_1_Classic: the addresses of section 8.1 by each socket and each kind of
// CHANGE-REQUEST, and nothing without being asked to.
func TestRFC3489_8_1_Classic(t *testing.T) {
	m := newMachine(t, four, 0)
	if out := ask(m, 0, client, classicRequest(nil)); out != nil {
		t.Fatalf("answered without ServeClassic: %+v", out)
	}
	m.ServeClassic()
	for at := range four {
		for change := range 4 {
			out := ask(m, 0, client, nil)
			if out != nil {
				t.Fatal("an answer to nothing")
			}
			out = ask(m, machine.SocketID(at), client, classicRequest(func(b *wire.Builder) { b.AddChangeRequest(change&2 != 0, change&1 != 0) }))
			if out == nil || out.Remote != client || int(out.Socket) != at^change {
				t.Fatalf("at %d, change %02b: %+v", at, change, out)
			}
			var msg wire.Message
			if err := msg.DecodeClassic(out.Data); err != nil || msg.Type() != wire.BindingSuccess || msg.ClassicID() != classicID {
				t.Fatalf("%v, %v", err, msg.Type())
			}
			mapped, _ := msg.MappedAddress()
			source, _ := msg.Address(wire.AttrSourceAddress)
			changed, _ := msg.ChangedAddress()
			if mapped != client || source != four[at^change] || changed != four[3-at] || msg.Has(wire.AttrXORMappedAddress) {
				t.Errorf("mapped %v, source %v, changed %v", mapped, source, changed)
			}
		}
	}
}

func TestClassicRefuses(t *testing.T) {
	m := newMachine(t, four, 0)
	m.ServeClassic()
	for code, add := range map[int]func(b *wire.Builder){
		wire.CodeUnknownAttribute: func(b *wire.Builder) { b.AddAddress(wire.AttrResponseAddress, four[3]) },
		wire.CodeBadRequest:       func(b *wire.Builder) { b.AddRaw(wire.AttrChangeRequest, []byte{1}) },
	} {
		out := ask(m, 1, client, classicRequest(add))
		var msg wire.Message
		if out == nil || out.Remote != client || out.Socket != 1 || msg.DecodeClassic(out.Data) != nil {
			t.Fatalf("%d: %+v", code, out)
		}
		if got, _, _ := msg.ErrorCode(); got != code {
			t.Errorf("code %d, want %d", got, code)
		}
	}
	m = newMachine(t, four[:1], 0)
	m.ServeClassic()
	out := ask(m, 0, client, classicRequest(func(b *wire.Builder) { b.AddChangeRequest(true, true) }))
	var msg wire.Message
	if out == nil || msg.DecodeClassic(out.Data) != nil || msg.Type() != wire.BindingFailure {
		t.Errorf("CHANGE-REQUEST without a second address: %+v", out)
	}
}
