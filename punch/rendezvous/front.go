package rendezvous

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// clientState is the life of one connection as the server sees it.
type clientState uint8

const (
	stateChallenged clientState = iota // the challenge is out, no hello yet
	stateSignedOn
	stateGone
)

// client is one connection.
type client struct {
	stream   machine.StreamID
	remote   netip.AddrPort
	source   netip.Prefix
	state    clientState
	deadline time.Time     // for the hello, then for the next frame; zero: none
	busy     time.Time     // when it signed on, or last had to do with a room or a peer
	place    *list.Element // in halfOpen or signedOn

	nonce  [nonceSize]byte
	peer   ident.PeerID
	proven bool
	newest bool // its sign-on has come back from the bus: whatever comes from now on is newer

	rooms  []string  // asked for or joined
	paired []pairing // in those
	sends  bucket    // frames from the client
	inbox  bucket    // messages to it from strangers
}

// pairing is one other member that a client was paired with.
type pairing struct {
	room    string
	peer    ident.PeerID
	session uint64
}

// pairedWith reports whether c is paired with peer; a session of 0 is any.
func (c *client) pairedWith(peer ident.PeerID, session uint64) bool {
	return slices.ContainsFunc(c.paired, func(p pairing) bool {
		return p.peer == peer && (session == 0 || p.session == session)
	})
}

// member is how the bus names this sign-on. The nonce is random, so it serves
// as the session's number too.
func (c *client) member() BusMember {
	return BusMember{Peer: c.peer, Session: binary.BigEndian.Uint64(c.nonce[:]), Proven: c.proven}
}

// setState moves c on, keeps the lists that hang on its state, and reports e.
func (s *ServerMachine) setState(c *client, to clientState, e ServerEvent) {
	switch {
	case c.state == stateChallenged && to == stateSignedOn:
		s.halfOpen.Remove(c.place)
		c.place = s.signedOn.PushBack(c)
		s.peers[c.peer] = c
		s.bus.Subscribe(c.peer)
	case c.state == stateChallenged && to == stateGone:
		s.halfOpen.Remove(c.place)
	case c.state == stateSignedOn && to == stateGone:
		s.signedOn.Remove(c.place)
		delete(s.peers, c.peer)
		s.bus.Unsubscribe(c.peer)
	default:
		s.illegal++
		return
	}
	c.state = to
	e.Remote, e.Peer, e.Proven = c.remote, c.peer, c.proven
	s.events.Push(e)
}

// receive takes in one message of c.
func (s *ServerMachine) receive(now time.Time, c *client, data []byte) {
	if !c.sends.take(now, s.cfg.MessageRate, s.cfg.MessageBurst) {
		s.drop(c, CodeRateLimited, "you send too fast")
		return
	}
	if c.state == stateChallenged && len(data) > maxHello {
		s.drop(c, CodeTooLarge, "the hello is larger than 4 KiB")
		return
	}
	f, err := decodeFrame(data)
	if err != nil {
		s.drop(c, frameCode(err), err.Error())
		return
	}
	if c.state == stateChallenged {
		if f.Type != typeHello {
			s.drop(c, CodeUnexpected, "the first frame must be a hello")
			return
		}
		s.hello(now, c, f)
		return
	}
	s.touch(now, c)
	switch f.Type {
	case typePing:
		s.write(c, frame{Type: typePong})
	case typeServers:
		s.write(c, frame{Type: typeServers, Servers: s.ice.forClient(now, c.peer, c.proven)})
	case typeJoin:
		c.busy = now
		s.join(c, f)
	case typeUpdate, typeLeave:
		c.busy = now
		s.change(c, f)
	case typeSend:
		c.busy = now
		s.send(c, f)
	case typeHello:
		s.drop(c, CodeUnexpected, "you have signed on already")
	default:
		s.refuse(c, CodeUnknownType, "this server knows no such type of frame", "", ident.PeerID{})
	}
}

// touch puts off the time at which c counts as idle.
func (s *ServerMachine) touch(now time.Time, c *client) {
	s.signedOn.MoveToBack(c.place)
	c.deadline = time.Time{}
	if s.cfg.IdleTimeout > 0 {
		c.deadline = now.Add(s.cfg.IdleTimeout)
	}
}

// hello signs c on, or drops it.
func (s *ServerMachine) hello(now time.Time, c *client, f frame) {
	switch {
	case f.Version != protocolVersion:
		s.drop(c, CodeVersion, fmt.Sprintf("this server speaks version %d", protocolVersion))
		return
	case f.Peer.IsZero():
		s.drop(c, CodeBadFrame, "the hello names no peer")
		return
	case f.Proof == nil && !s.cfg.AllowUnproven:
		s.drop(c, CodeProofRequired, "this server wants a proof of the key")
		return
	case f.Proof != nil && s.cfg.Name != "" && f.Host != s.cfg.Name:
		s.drop(c, CodeBadProof, "the proof is for a server of another name")
		return
	case f.Proof != nil && !checkProof(s.key, f.Peer, c.nonce[:], f.Host, f.Proof):
		s.drop(c, CodeBadProof, "the proof does not fit the peer ID")
		return
	}
	proven := f.Proof != nil
	if old := s.peers[f.Peer]; old != nil {
		if !proven {
			s.drop(c, CodeDuplicate, takenReason)
			return
		}
		s.drop(old, CodeReplaced, replacedReason)
	}
	c.peer, c.proven = f.Peer, proven
	s.setState(c, stateSignedOn, ServerEvent{Kind: ServerSignedOn})
	s.bus.Publish(Topic{Peer: c.peer}, BusMessage{Kind: BusSignOn, From: c.member()})
	s.touch(now, c)
	c.busy = now
	s.write(c, frame{
		Type: typeWelcome, Version: protocolVersion, Address: c.remote, Peer: c.peer, Proven: proven,
		Servers: s.ice.forClient(now, c.peer, proven),
	})
}

const (
	takenReason    = "this peer ID is in use, and you give no proof that it is yours"
	replacedReason = "a newer sign-on of the same identity took its place; give each program one of its own"
)

// contend takes in a sign-on of c's peer: c's own, or one at another node. Every
// node gets them in the same order, so that exactly one sign-on outlasts all. If
// c is older than what comes, it makes way for a proof and stands up to the rest.
func (s *ServerMachine) contend(c *client, from BusMember) {
	switch {
	case from.Session == c.member().Session:
		c.newest = true
	case !c.newest: // it is older than c, and will learn of c
	case from.Proven:
		s.drop(c, CodeReplaced, replacedReason)
	default:
		s.bus.Publish(Topic{Peer: c.peer}, BusMessage{Kind: BusTaken, To: from.Session, From: c.member()})
	}
}

// join asks the room's home to admit c.
func (s *ServerMachine) join(c *client, f frame) {
	known := slices.Contains(c.rooms, f.Room)
	switch {
	case !ValidRoom(f.Room):
		s.refuse(c, CodeBadRoom, "that "+roomRule, f.Room, ident.PeerID{})
		return
	case known: // said again: harmless, and answered again
	case len(c.rooms) >= s.cfg.MaxRoomsPerClient:
		s.refuse(c, CodeTooManyRooms, "you are in too many rooms; leave one", f.Room, ident.PeerID{})
		return
	case s.sources[c.source].rooms >= s.cfg.MaxRoomsPerAddress:
		s.refuse(c, CodeTooManyRooms, "the clients of your address are in too many rooms", f.Room, ident.PeerID{})
		return
	}
	if !known {
		c.rooms = append(c.rooms, f.Room)
		s.sources[c.source].rooms++
	}
	s.bus.Publish(Topic{Room: f.Room}, BusMessage{Kind: BusJoin, From: c.member(), Room: f.Room, Data: f.Data})
}

// change passes an update or a leave on to the room's home.
func (s *ServerMachine) change(c *client, f frame) {
	i := slices.Index(c.rooms, f.Room)
	if i < 0 {
		s.refuse(c, CodeNotInRoom, notMemberReason, f.Room, ident.PeerID{})
		return
	}
	switch {
	case f.Type == typeLeave:
		s.leave(c, i)
	case f.Data == nil:
		s.drop(c, CodeBadFrame, "the update has no message")
	default:
		s.bus.Publish(Topic{Room: f.Room}, BusMessage{Kind: BusUpdate, From: c.member(), Room: f.Room, Data: f.Data})
	}
}

// leave takes the i-th room off c's list and tells its home. Every way off the
// list is this one, a refusal included: c may have asked again meanwhile, and
// nobody would ever take away what came of that.
func (s *ServerMachine) leave(c *client, i int) {
	name := c.rooms[i]
	s.bus.Publish(Topic{Room: name}, BusMessage{Kind: BusLeave, From: c.member(), Room: name})
	c.paired = slices.DeleteFunc(c.paired, func(p pairing) bool { return p.room == name })
	c.rooms = slices.Delete(c.rooms, i, i+1)
	s.sources[c.source].rooms--
}

// send passes a message on to whichever node the peer is signed on at.
func (s *ServerMachine) send(c *client, f frame) {
	switch {
	case f.Peer.IsZero() || f.Data == nil:
		s.drop(c, CodeBadFrame, "a send needs a peer and a message")
		return
	case !c.proven && !c.pairedWith(f.Peer, 0):
		s.refuse(c, CodeProofRequired, "without a proof of your key you can write to paired peers only", "", f.Peer)
		return
	}
	s.bus.Publish(Topic{Peer: f.Peer}, BusMessage{Kind: BusSend, From: c.member(), Data: f.Data})
}

const noPeerReason = "no such peer is signed on"

// refuse answers a request with an error.
func (s *ServerMachine) refuse(c *client, code Code, reason, room string, peer ident.PeerID) {
	if len(room) > MaxRoom {
		room = "" // not a room's name; the answer must stay a frame
	}
	s.write(c, frame{Type: typeError, Code: code, Reason: reason, Room: room, Peer: peer})
}

// returned takes in what one of this node's clients sent to a peer that is
// signed on nowhere.
func (s *ServerMachine) returned(peer ident.PeerID, m BusMessage) {
	if c := s.peers[m.From.Peer]; c != nil && c.member() == m.From && m.Kind == BusSend {
		s.refuse(c, CodeNoPeer, noPeerReason, "", peer)
	}
}

// deliver takes in what the bus has for peer.
func (s *ServerMachine) deliver(now time.Time, peer ident.PeerID, m BusMessage) {
	c := s.peers[peer]
	if c == nil || m.To != 0 && m.To != c.member().Session {
		if m.Kind == BusSend {
			s.bounce(peer, m, CodeNoPeer, noPeerReason)
		}
		return
	}
	switch m.Kind {
	case BusJoined:
		if !slices.Contains(c.rooms, m.Room) {
			return // it has just left
		}
		s.write(c, frame{Type: typeJoined, Room: m.Room})
	case BusRefused:
		if i := slices.Index(c.rooms, m.Room); i >= 0 {
			s.leave(c, i)
		}
		s.refuse(c, m.Code, m.Reason, m.Room, ident.PeerID{})
	case BusPaired:
		if !slices.Contains(c.rooms, m.Room) {
			return // it has just left
		}
		c.busy = now
		c.paired = append(c.paired, pairing{m.Room, m.From.Peer, m.From.Session})
		s.write(c, frame{Type: typePaired, Room: m.Room, Peer: m.From.Peer, Proven: m.From.Proven, Data: m.Data})
		s.events.Push(ServerEvent{Kind: ServerPaired, Remote: c.remote, Peer: c.peer, Proven: c.proven, Room: m.Room})
	case BusLeft:
		gone := pairing{m.Room, m.From.Peer, m.From.Session}
		c.paired = slices.DeleteFunc(c.paired, func(p pairing) bool { return p == gone })
		s.write(c, frame{Type: typeLeft, Room: m.Room, Peer: m.From.Peer})
	case BusSend:
		paired := c.pairedWith(m.From.Peer, m.From.Session)
		switch {
		case !paired && !(c.proven && m.From.Proven):
			s.bounce(peer, m, CodeNoPeer, noPeerReason)
		case !paired && !c.inbox.take(now, s.cfg.MessageRate, s.cfg.MessageBurst):
			s.bounce(peer, m, CodePeerBusy, "the peer gets too many messages; try again later")
		default:
			c.busy = now
			s.write(c, frame{Type: typeMessage, Peer: m.From.Peer, Proven: m.From.Proven, Data: m.Data})
		}
	case BusError:
		s.refuse(c, m.Code, m.Reason, m.Room, m.From.Peer)
	case BusSignOn:
		s.contend(c, m.From)
	case BusTaken:
		if !c.proven {
			s.drop(c, CodeDuplicate, takenReason)
		}
	}
}

// bounce tells the sender of m that it did not reach peer.
func (s *ServerMachine) bounce(peer ident.PeerID, m BusMessage, code Code, reason string) {
	s.bus.Publish(Topic{Peer: m.From.Peer}, BusMessage{
		Kind: BusError, To: m.From.Session, From: BusMember{Peer: peer}, Code: code, Reason: reason,
	})
}
