package stund

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// talk feeds data to a stream and returns what the server does.
func talk(m *Machine, now time.Time, n machine.Notice) (out []machine.Transmit) {
	m.HandleNotice(now, n)
	machine.Drain(m, func(t machine.Transmit) { out = append(out, t) }, func(struct{}) {})
	return out
}

const streamID = machine.AcceptedBase

func accept(m *Machine, at int) {
	talk(m, t0, machine.Notice{Kind: machine.Accepted, Stream: streamID, Local: four[at], Remote: client})
}

func received(data ...byte) machine.Notice {
	return machine.Notice{Kind: machine.Received, Stream: streamID, Data: data}
}

// TestRFC8489_6_2_2_OverTCP: requests in pieces and several at once, each answered with the
// address that the client is seen at and the other address of the one it came to.
func TestRFC8489_6_2_2_OverTCP(t *testing.T) {
	req := build(wire.BindingRequest, nil)
	for at := range four {
		m := newMachine(t, four, 0)
		accept(m, at)
		for i := range req[:len(req)-1] {
			if out := talk(m, t0, received(req[i])); len(out) > 0 {
				t.Fatalf("an answer to %d bytes: %+v", i+1, out)
			}
		}
		out := talk(m, t0, received(append([]byte{req[len(req)-1]}, append(req, req[:3]...)...)...))
		if len(out) != 2 {
			t.Fatalf("%d answers to two requests", len(out))
		}
		var msg wire.Message
		if err := msg.Decode(out[1].Data); err != nil || out[1].Op != machine.Write || out[1].Stream != streamID {
			t.Fatalf("%+v, %v", out[1], err)
		}
		mapped, _ := msg.XORMappedAddress()
		other, _ := msg.OtherAddress()
		if mapped != client || other != four[3-at] || msg.TransactionID() != id {
			t.Errorf("mapped %v, other address %v", mapped, other)
		}
	}
}

func TestOverTCPAnswersComeBackOnTheStream(t *testing.T) {
	m := newMachine(t, four, 0)
	accept(m, 0)
	for name, add := range map[string]func(*wire.Builder){
		"CHANGE-REQUEST": func(b *wire.Builder) { b.AddChangeRequest(true, true) },
		"RESPONSE-PORT":  func(b *wire.Builder) { b.AddResponsePort(5) },
		"PADDING":        func(b *wire.Builder) { b.AddPadding(4) },
	} {
		out := talk(m, t0, received(build(wire.BindingRequest, add)...))
		var msg wire.Message
		if len(out) != 1 || msg.Decode(out[0].Data) != nil {
			t.Fatalf("%s: %+v", name, out)
		}
		if code, _, _ := msg.ErrorCode(); code != wire.CodeUnknownAttribute {
			t.Errorf("%s: code %d, want 420", name, code)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	m := newMachine(t, four, 0)
	for name, data := range map[string][]byte{
		"no STUN":    []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"long":       {0, 1, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"bad length": {0, 1, 0, 1, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		accept(m, 0)
		if out := talk(m, t0, received(data...)); len(out) != 1 || out[0].Op != machine.Reset || len(m.streams.order) != 0 {
			t.Errorf("%s: %+v", name, out)
		}
	}
	resets := 0
	for i := range machine.StreamID(3 * maxStreams) {
		resets += len(talk(m, t0.Add(time.Duration(i)), machine.Notice{Kind: machine.Accepted, Stream: streamID + i, Local: four[0], Remote: client}))
	}
	if resets != 2*maxStreams || len(m.streams.byID) != maxStreams || len(m.streams.order) != maxStreams {
		t.Errorf("%d streams, %d resets", len(m.streams.byID), resets)
	}
	m.HandleTimeout(m.NextTimeout().Add(time.Second))
	if len(m.streams.byID) != 0 || !m.NextTimeout().IsZero() {
		t.Errorf("%d streams after the time for silence", len(m.streams.byID))
	}
}
