package rendezvous

import (
	"bytes"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// FuzzServerFrames feeds a server any sequence of messages on a few streams,
// some of them signed on. It never panics, what it counts agrees with what it
// holds, its limits hold, and nothing is left once the streams have ended.
//
// The input is a sequence of steps, each a byte that picks stream and action,
// and for a message the text up to the next newline.
func FuzzServerFrames(f *testing.F) {
	ids := []string{identity(f, 1).ID().String(), identity(f, 2).ID().String()}
	f.Add([]byte("\x00" + `{"type":"join","room":"r","data":"YQ=="}` + "\n\x01" + `{"type":"join","room":"r","data":"Yg=="}` + "\n"))
	f.Add([]byte("\x00" + `{"type":"send","peer":"` + ids[1] + `","data":"YQ=="}` + "\n\x80"))
	f.Add([]byte("\x02" + `{"type":"hello","version":1,"peer":"` + ids[0] + `"}` + "\n\xc0\x40"))
	f.Add([]byte("\x02" + `{"type":"hello","version":1,"peer":"` + ids[0] + `","proof":"AAAA"}` + "\n"))
	f.Add([]byte("\x00" + `{"type":"update","room":"r","data":""}` + "\n\x00" + `{"type":"leave","room":"r"}` + "\n\x00" + `{"type":"ping"}` + "\n"))
	f.Add([]byte("\x00" + `{"type":"servers"}` + "\n\x01" + `{"type":"servers","servers":[{"uris":null}]}` + "\n\xc5"))
	f.Add([]byte("\x00{\"type\":\"dance\"}\n\x41\n\x00[[[[[[[[\n\x00nul"))
	f.Fuzz(func(t *testing.T, input []byte) {
		w := newWorld(t, ServerConfig{AllowUnproven: true, MaxRoomsPerClient: 3, MaxWaiting: 1000, MaxClients: 5, MaxHalfOpen: 2, ICEServers: []string{"stun:s", "turn:t"}, TURNSecret: "x"})
		var streams [4]*peer
		for i := range streams {
			streams[i] = w.connect(addrA)
		}
		// Proofs are slow, so that just one is given unless the input asks for more.
		streams[0].hello(identity(t, 1).ID(), identity(t, 1))
		streams[1].hello(identity(t, 2).ID(), nil)
		for len(input) > 0 {
			op := input[0]
			input = input[1:]
			p := streams[op%4]
			switch op >> 6 {
			case 0: // a message
				message, rest, _ := bytes.Cut(input, []byte{'\n'})
				input = rest
				p.raw(string(message))
			case 1: // the stream ends, a new one comes
				w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Closed, Stream: p.stream})
				streams[op%4] = w.connect(addrB)
			case 2: // as that, and signed on
				p = w.connect(addrC)
				if id := identity(t, 1+op%4); p.code() == 0 {
					if op&0x3c != 0 {
						p.hello(id.ID(), nil)
					} else {
						p.hello(id.ID(), id)
					}
				}
				streams[op%4] = p
			case 3:
				if op&0x3f == 0x3f {
					w.server.Drain(w.now, 10*time.Second)
				}
				w.advance(time.Duration(op&0x3f) * time.Second)
			}
			if w.server.rooms.bytes > 1000 || len(w.server.clients) > 5 || w.server.halfOpen.Len() > 2 {
				t.Fatalf("beyond the limits: %d bytes, %d clients, %d half open",
					w.server.rooms.bytes, len(w.server.clients), w.server.halfOpen.Len())
			}
		}
		w.check()
		for i := range w.last {
			w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Closed, Stream: machine.AcceptedBase + i + 1})
		}
		w.run()
		w.empty()
	})
}

// FuzzClientFrames feeds a client any sequence of messages, one a line.
func FuzzClientFrames(f *testing.F) {
	id := identity(f, 50).ID()
	challenge := (&frame{Type: typeChallenge, Version: 1, Key: id, Nonce: make([]byte, nonceSize)}).encode()
	welcome := []byte(`{"type":"welcome","address":"[::ffff:192.0.2.1]:1"}`)
	paired := (&frame{Type: typePaired, Room: "r", Peer: id, Data: []byte("x")}).encode()
	f.Add(bytes.Join([][]byte{challenge, welcome, paired}, []byte{'\n'}))
	f.Add(bytes.Join([][]byte{challenge, welcome, []byte(`{"type":"error","code":4020}`), []byte(`{"type":"left"}`)}, []byte{'\n'}))
	f.Add(bytes.Join([][]byte{challenge, []byte(`{"type":"welcome","servers":[{"uris":["turn:t","x"],"username":"u","credential":"c","ttl":9}]}`), []byte(`{"type":"servers","servers":[{}]}`)}, []byte{'\n'}))
	f.Fuzz(func(t *testing.T, input []byte) {
		l := newLone(t, ClientConfig{})
		l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Connected})
		lines := bytes.Split(input, []byte{'\n'})
		for _, line := range lines {
			l.receive(line)
		}
		events := 0
		machine.Drain(l.m, func(machine.Transmit) {}, func(Event) { events++ })
		if events > len(lines)+1 {
			t.Errorf("%d messages made %d events", len(lines), events)
		}
		l.m.Close()
		machine.Drain(l.m, func(machine.Transmit) {}, func(Event) {})
		if !l.m.NextTimeout().IsZero() {
			t.Error("a closed client has a deadline")
		}
	})
}
