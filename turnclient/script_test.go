package turnclient_test

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// script is a server that answers as a test says.
type script func(l *lab, from netip.AddrPort, m *wire.Message) (answers [][]byte)

func (s script) datagram(l *lab, from, at netip.AddrPort, b []byte) {
	m := new(wire.Message)
	if m.Decode(b) != nil || m.Class() != wire.Request {
		return
	}
	for _, a := range s(l, from, m) {
		l.reply(at, from, a)
	}
}

func (s script) stream(l *lab, n machine.Notice) {
	m := new(wire.Message)
	if n.Kind != machine.Received || m.Decode(n.Data) != nil || m.Class() != wire.Request {
		return
	}
	id := n.Stream - machine.AcceptedBase
	for _, a := range s(l, n.Remote, m) {
		l.at(l.delay, func() { l.notice(machine.Notice{Kind: machine.Received, Stream: id, Data: a}) })
	}
}

const nonce = "nonce-canary"

var md5Key = wire.LongTermKey("user", "example.org", "canary-password")

// answer makes an answer to m: an error if code is not 0. key signs it, nil: nothing
// does.
func answerTo(m *wire.Message, code int, key []byte, add func(b *wire.Builder)) []byte {
	class := wire.Success
	if code != 0 {
		class = wire.Failure
	}
	var b wire.Builder
	b.Reset(wire.MessageType{Method: m.Method(), Class: class}, m.TransactionID())
	if code != 0 {
		b.AddErrorCode(code, "scripted")
	}
	if add != nil {
		add(&b)
	}
	if key != nil {
		b.AddIntegrity(key)
	}
	return b.Bytes()
}

// challengeTo is a 401 or 438.
func challengeTo(m *wire.Message, code int, nonce string) []byte {
	return answerTo(m, code, nil, func(b *wire.Builder) {
		b.AddString(wire.AttrRealm, "example.org")
		b.AddString(wire.AttrNonce, nonce)
	})
}

// granted adds what an Allocate success has.
func granted(b *wire.Builder) {
	b.AddXORAddress(wire.AttrXORRelayedAddress, netip.AddrPortFrom(relayIP, 50000))
	b.AddXORAddress(wire.AttrXORMappedAddress, netip.MustParseAddrPort("203.0.113.5:40000"))
	b.AddUint32(wire.AttrLifetime, 600)
}

func signed(m *wire.Message) bool {
	return m.Has(wire.AttrMessageIntegrity) || m.Has(wire.AttrMessageIntegritySHA256)
}

// after401 challenges what is not signed and lets next answer the rest.
func after401(next func(m *wire.Message) [][]byte) script {
	return func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
		if !signed(m) {
			return [][]byte{challengeTo(m, wire.CodeUnauthenticated, nonce)}
		}
		return next(m)
	}
}

func one(b []byte) [][]byte { return [][]byte{b} }

// failed waits for the allocation to fail and returns when, and the error.
func (l *lab) failed(id turnclient.AllocationID, within time.Duration) (time.Duration, error) {
	l.t.Helper()
	if !l.runUntil(within, func() bool { return l.m.State(id) == turnclient.Failed }) {
		l.t.Fatalf("state %v after %v", l.m.State(id), l.elapsed())
	}
	for _, e := range l.all(turnclient.EventState) {
		if e.State == turnclient.Failed && e.Allocation == id {
			return e.At.Sub(l.start), e.Err
		}
	}
	return 0, nil
}

func times(all []sent) (at []time.Duration) {
	for _, s := range all {
		at = append(at, s.at)
	}
	return at
}
