package turnclient_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// errorCodes are those of RFC 8489, 8656, 6062, 8016 and 8445, and some that nobody has
// defined.
var errorCodes = []int{300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 487, 500, 508, 333, 499, 599, 699}

// transportLab has a server over a transport, whose scripted answers may follow.
func transportLab(t *testing.T, transport turnclient.Transport) *lab {
	l := newLab(t, turnclient.MachineConfig{
		Credentials: creds, ChannelAfter: 1,
		Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: transport, Name: "turn.example.org"}},
	})
	l.whole = transport == turnclient.DTLS
	return l
}

// speaks checks that an error names server, transport, code and remedy and shows no
// secret.
func speaks(t *testing.T, err error, op string, code int, transport turnclient.Transport) {
	t.Helper()
	var s *turnclient.ServerError
	if !errors.As(err, &s) || s.Code != code || s.Op != op || s.Server != (turnclient.Endpoint{Addr: serverAddr, Transport: transport, Name: "turn.example.org"}) {
		t.Errorf("%s refused with %d: %#v", op, code, err)
		return
	}
	text := s.Error()
	for _, want := range []string{"turnclient: " + op + " at ", "turn.example.org", serverAddr.String(), "over " + transport.String(), "refused with " + fmt.Sprint(code), "; "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%q"} {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(fmt.Sprintf(form, e), "canary") {
				t.Errorf("a secret in "+form, e)
			}
		}
	}
}

// A server that answers everything with an error code, signed or not: the allocation
// fails at once with that code, and the server is left in peace.
func TestServerThatRefusesEverything(t *testing.T) {
	for _, transport := range []turnclient.Transport{turnclient.UDP, turnclient.TCP, turnclient.DTLS} {
		for _, code := range errorCodes {
			for _, how := range []string{"unsigned", "signed"} {
				t.Run(fmt.Sprintf("%d %s over %v", code, how, transport), func(t *testing.T) {
					l := transportLab(t, transport)
					l.hosts[serverAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
						if how == "unsigned" {
							return one(answerTo(m, code, nil, nil))
						}
						if !signed(m) || code == 401 {
							return one(challengeTo(m, 401, nonce))
						}
						if code == 438 {
							return one(challengeTo(m, 438, nonce+fmt.Sprint(len(l.sent))))
						}
						return one(answerTo(m, code, md5Key, nil))
					})
					at, err := l.failed(l.allocate(), time.Minute)
					if code == 300 && how == "unsigned" {
						// Anybody could send us anywhere: it counts as forged.
						if !errors.Is(err, turnclient.ErrIntegrity) {
							t.Error(err)
						}
						return
					}
					if at > time.Second {
						t.Errorf("failed after %v only", at)
					}
					var all *turnclient.AllocateError
					if !errors.As(err, &all) || len(all.Attempts) != 1 {
						t.Fatalf("%#v", err)
					}
					speaks(t, all.Attempts[0], "allocate", code, transport)
					if want := code == 401 && how == "signed"; errors.Is(err, turnclient.ErrCredentials) != want {
						t.Error(err)
					}
					if e := l.last(turnclient.EventServer); e.Server.Addr != serverAddr {
						t.Errorf("%+v", e)
					}
					n := len(l.sent)
					l.run(time.Hour)
					if n > 12 || len(l.sent) != n || len(l.sockets)+len(l.streams) != 0 {
						t.Errorf("%d sent, then %d more; %d sockets, %d streams are open", n, len(l.sent)-n, len(l.sockets), len(l.streams))
					}
				})
			}
		}
	}
}

// The same once there is an allocation: whatever code each request is refused with, while
// data is to be sent, the server is not asked all the time; and once it does not refuse
// any more everything is well again.
func TestRefusalsDoNotFloodTheServer(t *testing.T) {
	for _, c := range []struct {
		method wire.Method
		op     string
		begin  func(l *lab, id turnclient.AllocationID)
	}{
		{wire.Refresh, "refresh", func(*lab, turnclient.AllocationID) {}}, // it comes by itself
		{wire.CreatePermission, "permission", func(l *lab, id turnclient.AllocationID) { l.send(id, peerB, "b") }},
		{wire.ChannelBind, "channel", func(l *lab, id turnclient.AllocationID) { l.send(id, peerA, "a") }},
	} {
		for _, code := range errorCodes {
			t.Run(fmt.Sprintf("%s %d", c.op, code), func(t *testing.T) {
				l := transportLab(t, turnclient.UDP)
				s := l.serve(serverAddr, authed())
				id := l.ready()
				l.do(func(now time.Time) { l.m.Permit(now, id, peerA.Addr()) })
				l.run(time.Second)
				s.Refuse = map[wire.Method]int{c.method: code}
				before := len(l.sent)
				c.begin(l, id)
				for range 9 * 60 {
					l.run(time.Second)
					l.send(id, peerA, "a")
				}
				requests := 0
				for _, m := range l.sent[before:] {
					if m.raw[0] < 4 && m.msg().Class() == wire.Request {
						requests++
					}
				}
				if requests > 250 {
					t.Errorf("%d requests in nine minutes", requests)
				}
				s.Refuse = nil
				l.run(2 * time.Minute)
				l.toPeers = nil
				l.send(id, peerA, "a")
				l.send(id, peerB, "b")
				l.run(time.Second)
				if len(l.toPeers) != 2 || !l.m.State(id).Usable() {
					t.Errorf("%d of 2 came to the peers, state %v: %v", len(l.toPeers), l.m.State(id), l.failures())
				}
			})
		}
	}
}

// What comes and should not is dropped, and told once of each kind for a path: with the
// server, the transport, what it was and what to do.
func TestStrangeDataIsTold(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	local := l.sockets[l.sent[len(l.sent)-1].socket]
	var b wire.Builder
	b.Reset(wire.MessageType{Method: wire.Data, Class: wire.Indication}, wire.TransactionID{1})
	b.AddXORAddress(wire.AttrXORPeerAddress, peerB)
	b.AddString(wire.AttrData, "stranger")
	for range 10 {
		for _, c := range [][]byte{b.Bytes(), []byte("\x00\x17garbage"), {0x40, 0, 0, 6, 'w', 'r', 'o', 'n', 'g'}, {0x4f, 0xff, 0, 1, 'x'}} {
			l.reply(serverAddr, local, c)
			l.run(time.Second)
		}
	}
	all := l.all(turnclient.EventServer)
	if len(all) != 2 || len(l.data()) != 0 {
		t.Fatalf("%d events, data %q: %v", len(all), l.data(), l.failures())
	}
	for i, c := range []struct {
		kind error
		want []string
	}{
		{turnclient.ErrNotAsked, []string{peerB.String(), "not permitted"}},
		{turnclient.ErrNotTURN, []string{"check that a TURN server"}},
	} {
		var s *turnclient.ServerError
		if !errors.Is(all[i].Err, c.kind) || !errors.As(all[i].Err, &s) || s.Server.Addr != serverAddr || s.Op != "data" {
			t.Errorf("%#v", all[i].Err)
		}
		for _, want := range append(c.want, serverAddr.String()+" over udp") {
			if !strings.Contains(all[i].Err.Error(), want) {
				t.Errorf("%q lacks %q", all[i].Err, want)
			}
		}
	}
}

// Something else than a TURN server is at the address.
func TestGarbageInsteadOfAnAnswer(t *testing.T) {
	for _, transport := range []turnclient.Transport{turnclient.UDP, turnclient.TCP, turnclient.DTLS} {
		t.Run(transport.String(), func(t *testing.T) {
			l := transportLab(t, transport)
			l.hosts[serverAddr] = script(func(*lab, netip.AddrPort, *wire.Message) [][]byte {
				return one([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			})
			at, err := l.failed(l.allocate(), time.Minute)
			if !errors.Is(err, turnclient.ErrNotTURN) || !strings.Contains(err.Error(), "over "+transport.String()) || !strings.Contains(err.Error(), "check that a TURN server") {
				t.Errorf("%v", err)
			}
			if transport == turnclient.TCP && at > time.Second {
				t.Errorf("after %v", at) // nothing else can come
			}
		})
	}
}
