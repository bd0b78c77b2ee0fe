package natsbus

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// script plays NATS to one node by hand.
type script struct {
	t *testing.T
	*node
	now time.Time
}

// newScript returns a node that is up, and keeps its lease out of what it wants.
func newScript(t *testing.T) *script {
	s := &script{t: t, now: time.Unix(1_700_000_000, 0)}
	s.node = newNode(Config{Patience: 4 * time.Second, QueueMessages: 4, QueueBytes: 10_000}.settings(), rand.New(rand.NewPCG(1, 1)))
	s.expect(opJoin)
	s.entered(s.now, nodeID{1})
	s.reply(s.expect(opPut), reply{status: replyOK, revision: 1})
	return s
}

// expect returns the next effect.
func (s *script) expect(op effectOp) effect {
	s.t.Helper()
	for {
		e, ok := s.pollEffect()
		switch {
		case !ok && s.nextTimeout().IsZero():
			s.t.Fatalf("nothing is wanted, not op %d", op)
		case !ok:
			s.now = s.nextTimeout()
			s.handleTimeout(s.now)
		case e.key == nodeKey(nodeID{1}) && s.lease != 0:
			s.reply(e, reply{status: replyOK, revision: s.highest + 1})
		case e.op != op:
			s.t.Fatalf("op %d of key %q is wanted, not op %d", e.op, e.key, op)
		default:
			return e
		}
	}
}

func (s *script) reply(e effect, r reply) { s.settle(s.now, e.id, r) }

// says checks what a record to be stored says.
func (s *script) says(e effect, form byte, expect uint64) record {
	s.t.Helper()
	v, err := decodeRecord(e.data)
	if err != nil || v.form != form || e.expect != expect {
		s.t.Fatalf("it is to say %q (%v) in the place of revision %d; want %q, %d", v.form, err, e.expect, form, expect)
	}
	return v
}

var (
	room   = rendezvous.Topic{Room: "r"}
	other  = nodeID{2}
	joiner = func(t *testing.T, session uint64) rendezvous.BusMessage {
		return rendezvous.BusMessage{Kind: rendezvous.BusJoin, Room: "r", From: rendezvous.BusMember{Peer: peerID(t, 1), Session: session}}
	}
)

func (s *script) publishes(topic rendezvous.Topic, m rendezvous.BusMessage) {
	s.publish(s.now, topic, m)
	s.flush(s.now)
}

// polls expects one message.
func (s *script) polls(kind rendezvous.BusKind) rendezvous.BusMessage {
	s.t.Helper()
	_, m, ok := s.poll(s.now)
	if !ok || m.Kind != kind {
		s.t.Fatalf("polled %+v, want kind %d", m, kind)
	}
	return m
}

func homeOf(n nodeID, attempt uint64) []byte {
	return appendRecord(nil, record{form: formHome, home: n, attempt: attempt})
}

// A claim whose answer was lost is recognised.
func TestClaimAnswerLost(t *testing.T) {
	s := newScript(t)
	s.publishes(room, joiner(t, 1))
	s.reply(s.expect(opGet), reply{status: replyNone})
	claim := s.expect(opPut)
	v := s.says(claim, formHome, 0)
	s.reply(s.expect(opGet), reply{status: replyOK, revision: 7, data: homeOf(s.id, v.attempt)}) // after the time-out
	s.polls(rendezvous.BusJoin)
	if s.holds["r"] == nil || s.holds["r"].revision != 7 {
		t.Errorf("holds %+v", s.holds)
	}
}

// A claim that was given up and succeeds after all is taken back, whether this
// node comes by or another one asks.
func TestStrayClaim(t *testing.T) {
	for _, asked := range []bool{false, true} {
		s := newScript(t)
		s.publishes(room, joiner(t, 1))
		s.reply(s.expect(opGet), reply{status: replyNone})
		v := s.says(s.expect(opPut), formHome, 0)                                             // and nothing is heard of it
		s.reply(s.expect(opGet), reply{status: replyOK, revision: 3, data: homeOf(other, 1)}) // another was first
		s.reply(s.expect(opAskNode), reply{status: replyOK, data: appendAnswer(nil, answerTaken)})
		if len(s.lanes) != 0 {
			t.Fatal("there is something left to do")
		}
		if asked {
			s.takeBatch(s.now, appendBatch(nil, batch{from: other, topic: room, entries: []entry{{1, joiner(t, 2)}}}), "them")
			get := s.expect(opGet)
			if a, err := decodeAnswer(s.expect(opAnswer).data); err != nil || a != answerRefused {
				t.Errorf("answered %d, %v", a, err)
			}
			s.reply(get, reply{status: replyOK, revision: 9, data: homeOf(s.id, v.attempt)})
		} else {
			s.homes.forget("r")
			s.publishes(room, joiner(t, 3))
			s.reply(s.expect(opGet), reply{status: replyOK, revision: 9, data: homeOf(s.id, v.attempt)})
		}
		s.says(s.expect(opPut), formFree, 9)
		if len(s.holds) != 0 {
			t.Error("it took itself for the home")
		}
	}
}

// A home that says nothing may have lost its line, which NATS need not have noticed:
// when its lease has ended, another node takes its place.
func TestSilentHome(t *testing.T) {
	s := newScript(t)
	s.publishes(room, joiner(t, 1))
	s.reply(s.expect(opGet), reply{status: replyOK, revision: 3, data: homeOf(other, 1)})
	s.expect(opAskNode)
	mark := s.expect(opPut)
	s.says(mark, formDead, 0)
	s.reply(mark, reply{status: replyConflict}) // it has its lease yet
	s.reply(s.expect(opGet), reply{status: replyOK, revision: 2, data: appendRecord(nil, record{form: formAlive})})
	s.reply(s.expect(opGet), reply{status: replyOK, revision: 3, data: homeOf(other, 1)})
	s.expect(opAskNode)
	mark = s.expect(opPut)
	s.says(mark, formDead, 0)
	s.reply(mark, reply{status: replyOK, revision: 9})
	s.reply(s.expect(opGet), reply{status: replyOK, revision: 3, data: homeOf(other, 1)})
	claim := s.expect(opPut)
	s.says(claim, formHome, 3)
	s.reply(claim, reply{status: replyOK, revision: 10})
	s.polls(rendezvous.BusJoin)
}

// With messages waiting, a home that is released is the home anew.
func TestReleaseWithMessages(t *testing.T) {
	s := newScript(t)
	s.publishes(room, joiner(t, 1))
	s.publishes(room, joiner(t, 2))
	s.reply(s.expect(opGet), reply{status: replyNone})
	s.reply(s.expect(opPut), reply{status: replyOK, revision: 5})
	s.polls(rendezvous.BusJoin)
	s.release("r")
	if s.holds["r"] == nil {
		t.Fatal("not the home any more")
	}
	s.polls(rendezvous.BusJoin)
	s.release("r")
	s.flush(s.now)
	if s.holds["r"] != nil {
		t.Fatal("still the home")
	}
	free := s.expect(opPut)
	s.says(free, formFree, 5)
	// The record has been renewed in between, which was not heard of: it is found.
	s.reply(free, reply{status: replyConflict})
	s.reply(s.expect(opGet), reply{status: replyOK, revision: 6, data: homeOf(s.id, 1)})
	free = s.expect(opPut)
	s.says(free, formFree, 6)
	s.reply(free, reply{status: replyOK, revision: 8})
	if len(s.lanes) != 0 {
		t.Error("there is something left to do")
	}
}

// The record of a room is renewed; that somebody else has it now cuts the node off.
func TestRenewal(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := newScript(t)
		s.publishes(room, joiner(t, 1))
		s.reply(s.expect(opGet), reply{status: replyNone})
		s.reply(s.expect(opPut), reply{status: replyOK, revision: 5})
		s.polls(rendezvous.BusJoin)
		began := s.now
		renewal := s.expect(opPut)
		if age := s.now.Sub(began); age < roomRenewal || age > roomLifetime/2 {
			t.Errorf("it is renewed after %v", age)
		}
		s.says(renewal, formHome, 5)
		s.reply(renewal, reply{status: replyConflict})
		get := s.expect(opGet)
		if lost {
			s.reply(get, reply{status: replyOK, revision: 6, data: homeOf(other, 1)})
			s.polls(rendezvous.BusDown)
			continue
		}
		s.reply(get, reply{status: replyOK, revision: 6, data: homeOf(s.id, 1)})
		renewal = s.expect(opPut)
		s.says(renewal, formHome, 6)
		s.reply(renewal, reply{status: replyOK, revision: 1000})
		if s.holds["r"].revision != 1000 || s.state != stateUp {
			t.Errorf("holds %+v in state %d", s.holds["r"], s.state)
		}
	}
}

// What goes wrong with the lease or the sign-ons cuts the node off, with a reason.
func TestCutReasons(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		do     func(s *script)
	}{
		"taken for dead": {"another node has taken this one for dead", func(s *script) {
			put := s.lastLease()
			s.reply(put, reply{status: replyConflict})
			s.reply(s.anyEffect(opGet), reply{status: replyOK, revision: 9, data: appendRecord(nil, record{form: formDead})})
		}},
		"lease ended": {"this node's lease has ended at NATS", func(s *script) {
			s.reply(s.lastLease(), reply{status: replyConflict})
			s.reply(s.anyEffect(opGet), reply{status: replyNone})
		}},
		"NATS went back": {"NATS has lost what it had stored", func(s *script) {
			s.reply(s.lastLease(), reply{status: replyOK, revision: 1})
		}},
		"sign-ons do not come back": {"sign-ons do not come back from NATS", func(s *script) {
			s.publishes(rendezvous.Topic{Peer: peerID(t, 1)}, rendezvous.BusMessage{Kind: rendezvous.BusSignOn})
			s.reply(s.anyEffect(opSignOn), reply{status: replyOK, revision: 4})
			for s.state == stateUp && s.now.Before(time.Unix(1_700_000_100, 0)) {
				s.passes()
			}
		}},
		"sign-ons are not taken": {"NATS does not take sign-ons", func(s *script) {
			s.publishes(rendezvous.Topic{Peer: peerID(t, 1)}, rendezvous.BusMessage{Kind: rendezvous.BusSignOn})
			for s.state == stateUp && s.now.Before(time.Unix(1_700_000_100, 0)) {
				s.passes()
			}
		}},
		"overflow": {"too many messages wait for other nodes", func(s *script) {
			for i := range 100 {
				s.publishes(rendezvous.Topic{Peer: peerID(t, 1)}, rendezvous.BusMessage{Kind: rendezvous.BusLeft, To: uint64(i + 1)})
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.t = t
			c.do(s)
			if m := s.polls(rendezvous.BusDown); m.Reason != c.reason {
				t.Errorf("cut off because %q, want %q", m.Reason, c.reason)
			}
			s.publishes(room, joiner(t, 1))
			s.release("r")
			if len(s.lanes) != 0 {
				t.Error("it does something all the same")
			}
		})
	}
}

// lastLease returns the next renewal of the lease.
func (s *script) lastLease() effect {
	s.now = s.nextTimeout()
	s.handleTimeout(s.now)
	return s.anyEffect(opPut)
}

// anyEffect returns the next effect of a kind, as time passes.
func (s *script) anyEffect(op effectOp) effect {
	s.t.Helper()
	for range 1000 {
		e, ok := s.pollEffect()
		switch {
		case !ok:
			s.now = s.nextTimeout()
			s.handleTimeout(s.now)
		case e.op == op:
			return e
		}
	}
	s.t.Fatal("it never comes")
	return effect{}
}

// passes lets the next timer run; the lease is renewed, nothing else answered.
func (s *script) passes() {
	s.now = s.nextTimeout()
	s.handleTimeout(s.now)
	for e, ok := s.pollEffect(); ok; e, ok = s.pollEffect() {
		if e.key == nodeKey(nodeID{1}) {
			s.reply(e, reply{status: replyOK, revision: s.highest + 1})
		}
	}
}

// Beyond the bounds clients are told, and other nodes have to wait.
func TestBounds(t *testing.T) {
	s := newScript(t)
	for i := range 4 {
		s.publishes(room, joiner(t, uint64(i)))
	}
	s.publishes(room, joiner(t, 99))
	if m := s.polls(rendezvous.BusRefused); m.To != 99 || m.Code != rendezvous.CodeServerFull {
		t.Errorf("got %+v", m)
	}
	send := rendezvous.BusMessage{Kind: rendezvous.BusSend, From: rendezvous.BusMember{Peer: peerID(t, 1), Session: 5}}
	s.publishes(rendezvous.Topic{Peer: peerID(t, 2)}, send)
	if m := s.polls(rendezvous.BusError); m.To != 5 || m.From.Peer != peerID(t, 2) || m.Code != rendezvous.CodeServerFull {
		t.Errorf("got %+v", m)
	}
	// What cannot be refused still goes in.
	s.publishes(room, rendezvous.BusMessage{Kind: rendezvous.BusLeave, Room: "r", From: joiner(t, 1).From})
	if s.waiting != 5 {
		t.Errorf("%d messages wait", s.waiting)
	}
	// As the home, it takes four, and the fifth when one of these has been polled.
	s.reply(s.expect(opGet), reply{status: replyNone})
	s.reply(s.expect(opPut), reply{status: replyOK, revision: 5})
	fifth := appendBatch(nil, batch{from: other, topic: room, entries: []entry{{1, joiner(t, 7)}}})
	for _, want := range []answer{answerBusy, answerTaken, answerTaken} {
		s.takeBatch(s.now, fifth, "them")
		if a, err := decodeAnswer(s.expect(opAnswer).data); err != nil || a != want {
			t.Errorf("answered %d (%v), want %d", a, err, want)
		}
		for range 2 {
			s.poll(s.now)
		}
	}
	if s.arrived.Len() != 0 { // 5 of its own, one that came twice and counts once
		t.Errorf("%d messages wait", s.arrived.Len())
	}
}

// What waited in vain behind messages for other nodes arrives at its own node by the
// short way, and does not arrive again if NATS brings it after all.
func TestLateToItself(t *testing.T) {
	s := newScript(t)
	to := rendezvous.Topic{Peer: peerID(t, 1)}
	s.subscribe(to.Peer)
	s.expect(opSubscribe)
	s.peers[to.Peer].session = 7
	s.publishes(to, rendezvous.BusMessage{Kind: rendezvous.BusTaken, To: 6}) // signed on elsewhere
	s.publishes(to, rendezvous.BusMessage{Kind: rendezvous.BusLeft, To: 7})
	var asked effect
	for s.arrived.Len() == 0 {
		s.now = s.nextTimeout()
		s.handleTimeout(s.now)
		for e, ok := s.pollEffect(); ok; e, ok = s.pollEffect() {
			switch {
			case e.op == opAskPeer:
				asked = e
			case e.key == nodeKey(s.id):
				s.reply(e, reply{status: replyOK, revision: s.highest + 1})
			}
		}
	}
	if m := s.polls(rendezvous.BusLeft); m.To != 7 {
		t.Errorf("got %+v", m)
	}
	s.takeBatch(s.now, asked.data, "itself")
	if _, m, ok := s.poll(s.now); ok {
		t.Errorf("%+v comes late", m)
	}
}

// A join that reaches no home is refused in the end.
func TestUnreachableHome(t *testing.T) {
	s := newScript(t)
	began := s.now
	s.publishes(room, joiner(t, 1))
	for s.arrived.Len() == 0 && s.now.Sub(began) < time.Minute {
		s.passes()
	}
	if m := s.polls(rendezvous.BusRefused); m.Code != rendezvous.CodeUnreachable || m.To != 1 {
		t.Errorf("got %+v", m)
	}
	if took := s.now.Sub(began); took < s.cfg.forRoom() || took > s.cfg.forRoom()+2*time.Second {
		t.Errorf("it took %v", took)
	}
}
