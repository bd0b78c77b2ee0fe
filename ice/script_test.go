package ice_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

// A script changes a message of a peer before it is signed.
type script func(*outgoing)

// outgoing is a message that a peer is about to send.
type outgoing struct {
	kind     wire.MessageType
	id       wire.TransactionID
	user     string
	pwd      string // "": not signed
	priority uint32 // 0: none
	role     wire.AttrType
	breaker  uint64
	nominate bool
	mapped   netip.AddrPort
	code     int
	reason   string
	more     func(*wire.Builder) // before it is signed
	bare     bool                // without FINGERPRINT
}

func (o outgoing) bytes() []byte {
	var b wire.Builder
	b.Reset(o.kind, o.id)
	if o.user != "" {
		b.AddString(wire.AttrUsername, o.user)
	}
	if o.priority != 0 {
		b.AddUint32(wire.AttrPriority, o.priority)
	}
	if o.role != 0 {
		b.AddUint64(o.role, o.breaker)
	}
	if o.nominate {
		b.AddUseCandidate()
	}
	if o.mapped.IsValid() {
		b.AddXORAddress(wire.AttrXORMappedAddress, o.mapped)
	}
	if o.code != 0 {
		b.AddErrorCode(o.code, o.reason)
	}
	if o.more != nil {
		o.more(&b)
	}
	if o.pwd != "" {
		b.AddIntegrity([]byte(o.pwd))
	}
	if !o.bare {
		b.AddFingerprint()
	}
	if b.Err() != nil {
		panic(b.Err())
	}
	return b.Bytes()
}

// request is a check of the peer for the agent in force. Its role is the other one.
func (l *lab) request(change ...script) []byte {
	local := l.m.Credentials(l.id)
	l.ids++
	o := outgoing{kind: wire.BindingRequest, user: local.Ufrag + ":" + peerCreds.Ufrag, pwd: local.Pwd, priority: 110<<24 | 65535<<8 | 255, role: wire.AttrICEControlling, breaker: 1}
	binary.BigEndian.PutUint64(o.id[4:], l.ids)
	if l.m.Controlling(l.id) {
		o.role = wire.AttrICEControlled
	}
	for _, fn := range change {
		fn(&o)
	}
	return o.bytes()
}

// ask lets the peer check from an address, at once.
func (l *lab) ask(from netip.AddrPort, change ...script) { l.deliver(0, from, l.request(change...)) }

// answer is the answer of a peer to a check.
func answer(s sent, change ...script) []byte {
	m := s.msg()
	if m == nil || m.Type() != wire.BindingRequest {
		return nil
	}
	o := outgoing{kind: wire.BindingSuccess, id: m.TransactionID(), pwd: peerCreds.Pwd, mapped: s.from}
	for _, fn := range change {
		fn(&o)
	}
	return o.bytes()
}

// What messages can have.

func nominating(o *outgoing)     { o.nominate = true }
func unsigned(o *outgoing)       { o.pwd = "" }
func withoutRole(o *outgoing)    { o.role = 0 }
func signedBy(pwd string) script { return func(o *outgoing) { o.pwd = pwd } }
func mappedTo(a netip.AddrPort) script {
	return func(o *outgoing) { o.mapped = a }
}

func inRole(role wire.AttrType, breaker uint64) script {
	return func(o *outgoing) { o.role, o.breaker = role, breaker }
}

func refusing(code int, reason string) script {
	return func(o *outgoing) {
		o.kind, o.mapped, o.code, o.reason = wire.BindingFailure, netip.AddrPort{}, code, reason
	}
}

func with(more func(*wire.Builder)) script { return func(o *outgoing) { o.more = more } }

// Hosts.

// answering is a peer that answers every check.
func answering(l *lab, s sent) { l.reply(s, answer(s)) }

// answeringAs is one that answers it otherwise.
func answeringAs(change ...script) host {
	return func(l *lab, s sent) { l.reply(s, answer(s, change...)) }
}

// first answers the first n checks as one host does and the others as another, which may
// be nil.
func first(n int, one, other host) host {
	return func(l *lab, s sent) {
		h := other
		if n > 0 {
			h = one
		}
		n--
		if h != nil {
			h(l, s)
		}
	}
}

// tcp makes a candidate one of RFC 6544.
func tcp(side ice.TCPType) func(*ice.Candidate) {
	return func(c *ice.Candidate) { c.Transport, c.TCPType = ice.TCP, side }
}

func of(t ice.CandidateType) func(*ice.Candidate) { return func(c *ice.Candidate) { c.Type = t } }

func TestLabConnects(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		l := newLab(t, ice.AgentConfig{Controlling: controlling})
		l.hosts[peerAt] = answering
		l.know(peerCreds)
		l.candidate(peerAt, highPriority)
		l.run(200 * time.Millisecond)
		if want := map[bool]ice.State{false: ice.Connected, true: ice.Completed}[controlling]; l.state() != want {
			t.Errorf("%v, want %v", l.state(), want)
		}
	}
}
