package turnclient_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// Section 4.3: the same authentication on every connection; 438 is retried on each, and
// an unsigned or wrongly signed answer is none.
func TestDataConnectionIsAuthenticated(t *testing.T) {
	stale := func(m *wire.Message) [][]byte {
		if n, _ := m.Nonce(); string(n) != "fresh "+m.Method().String() {
			return one(challengeTo(m, wire.CodeStaleNonce, "fresh "+m.Method().String()))
		}
		return nil
	}
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.Connect] = func(_ *lab, m *wire.Message) [][]byte {
		if again := stale(m); again != nil {
			return again
		}
		return one(answerTo(m, 0, md5Key, func(b *wire.Builder) { b.AddUint32(wire.AttrConnectionID, 77) }))
	}
	s.answers[wire.ConnectionBind] = func(_ *lab, m *wire.Message) [][]byte {
		if again := stale(m); again != nil {
			return again
		}
		return one(answerTo(m, 0, md5Key, nil))
	}
	c := l.mustConnect(id, peerA)
	l.run(time.Second)
	if err, told := l.ends()[c]; !told || err != nil {
		t.Fatal(err)
	}
	binds := l.requests(wire.ConnectionBind)
	if len(l.requests(wire.Connect)) != 2 || len(binds) != 2 || len(l.dials) != 2 {
		t.Errorf("%d and %d requests, %d dials", len(l.requests(wire.Connect)), len(binds), len(l.dials))
	}
	for _, r := range binds {
		if number, _ := r.msg().Uint32(wire.AttrConnectionID); number != 77 || r.msg().CheckIntegrity(md5Key) != nil {
			t.Errorf("bind of %d", number)
		}
	}
	for _, key := range [][]byte{nil, []byte("another's")} {
		s.answers[wire.ConnectionBind] = func(_ *lab, m *wire.Message) [][]byte {
			return one(append(answerTo(m, 0, key, nil), "not from the peer"...))
		}
		c := l.mustConnect(id, peerB)
		l.run(time.Second)
		if err := l.ends()[c]; !errors.Is(err, turnclient.ErrIntegrity) || l.connData(c) != "" {
			t.Errorf("%v, data %q", err, l.connData(c))
		}
	}
}

// Section 4.5: what the peer sent before comes right behind the answer to the
// ConnectionBind, in one piece or in many, whatever it looks like. From there on nothing
// is looked at.
func TestPeerBytesBehindTheBindSuccess(t *testing.T) {
	for _, c := range []struct {
		data string
		step int
	}{
		{"hello", 1000}, {"hello", 1}, {"\x00\x01\x00\x00", 1000}, {"\xff\xfe\xfd\xfc", 3},
		{string(challengeTo(new(wire.Message), wire.CodeStaleNonce, "x")), 7}, {strings.Repeat("x", 100_000), 4096},
	} {
		l, s, id := tcpLab(t, turnclient.MachineConfig{})
		s.answers[wire.ConnectionBind] = func(l *lab, m *wire.Message) [][]byte {
			return slices.Collect(slices.Chunk(append(answerTo(m, 0, md5Key, nil), c.data...), c.step))
		}
		conn := l.mustConnect(id, peerA)
		l.run(time.Second)
		if got := l.connData(conn); got != c.data {
			t.Errorf("%d bytes in pieces of %d: %d came, %.20q", len(c.data), c.step, len(got), got)
		}
		on := l.requests(wire.ConnectionBind)[0].stream
		l.notice(machine.Notice{Kind: machine.Received, Stream: on, Data: []byte(" and on")})
		l.notice(machine.Notice{Kind: machine.Closed, Stream: on})
		if e := l.last(turnclient.EventConnEnded); l.connData(conn) != c.data+" and on" || e.Conn != conn || e.Err != nil {
			t.Errorf("%v", e.Err)
		}
	}
}

// Neither the answer nor what is before it may be anything else.
func TestGarbageOnADataConnection(t *testing.T) {
	for _, garbage := range []string{"SSH-2.0-OpenSSH\r\n", "\x00\x01\x00\x03"} {
		l, s, id := tcpLab(t, turnclient.MachineConfig{})
		s.answers[wire.ConnectionBind] = func(l *lab, m *wire.Message) [][]byte { return one([]byte(garbage)) }
		c := l.mustConnect(id, peerA)
		l.run(time.Second)
		if err := l.ends()[c]; err == nil || !strings.Contains(err.Error(), "check that a TURN server") || l.connData(c) != "" {
			t.Errorf("%v", err)
		}
	}
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.ConnectionBind] = func(l *lab, m *wire.Message) [][]byte {
		var other wire.Message
		var b wire.Builder
		b.Reset(wire.MessageType{Method: wire.ConnectionBind, Class: wire.Request}, wire.TransactionID{7})
		if err := other.Decode(b.Bytes()); err != nil {
			t.Fatal(err)
		}
		foreign := answerTo(&other, 0, md5Key, nil)
		return [][]byte{foreign, answerTo(m, 0, md5Key, nil)}
	}
	c := l.mustConnect(id, peerA)
	l.run(time.Second)
	if err, told := l.ends()[c]; !told || err != nil || l.m.Dropped() != 1 {
		t.Errorf("a foreign transaction first: %v, %d dropped", err, l.m.Dropped())
	}
}
