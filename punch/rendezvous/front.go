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
		s.bus.Subscribe(Topic{Peer: c.peer})
	case c.state == stateChallenged && to == stateGone:
		s.halfOpen.Remove(c.place)
	case c.state == stateSignedOn && to == stateGone:
		s.signedOn.Remove(c.place)
		delete(s.peers, c.peer)
		s.bus.Unsubscribe(Topic{Peer: c.peer})
	default:
		panic(fmt.Sprintf("rendezvous: client state %d cannot become %d", c.state, to))
	}
	c.state = to
	e.Remote, e.Peer, e.Proven = c.remote, c.peer, c.proven
	s.events.push(e)
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
	case f.Version != Version:
		s.drop(c, CodeVersion, fmt.Sprintf("this server speaks version %d", Version))
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
	me := BusMember{Peer: f.Peer, Session: binary.BigEndian.Uint64(c.nonce[:]), Proven: proven}
	old := s.peers[f.Peer]
	if old != nil && proven {
		s.drop(old, CodeReplaced, "you signed on again elsewhere")
		old = nil
	}
	// With old gone, only another node can hold the peer.
	taken := old != nil || s.bus.Publish(Topic{Peer: f.Peer}, BusMessage{Kind: BusSignOn, From: me})
	if taken && !proven {
		s.drop(c, CodeDuplicate, "this peer ID is in use, and you give no proof that it is yours")
		return
	}
	c.peer, c.proven = f.Peer, proven
	s.setState(c, stateSignedOn, ServerEvent{Kind: ServerSignedOn})
	s.touch(now, c)
	c.busy = now
	s.write(c, frame{
		Type: typeWelcome, Version: Version, Address: c.remote, Peer: c.peer, Proven: proven,
		Servers: s.ice.forClient(now, c.peer, proven),
	})
}

// join asks the room's home to admit c; if the room has none, this node
// becomes it.
func (s *ServerMachine) join(c *client, f frame) {
	known := slices.Contains(c.rooms, f.Room)
	switch {
	case !ValidRoom(f.Room):
		s.refuse(c, CodeBadRoom, roomRemedy, f.Room, ident.PeerID{})
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
	t := Topic{Room: f.Room}
	m := BusMessage{Kind: BusJoin, From: c.member(), Room: f.Room, Data: f.Data}
	if !s.bus.Publish(t, m) {
		s.rooms.handle(f.Room, m)
	}
}

// change passes an update or a leave on to the room's home.
func (s *ServerMachine) change(c *client, f frame) {
	i := slices.Index(c.rooms, f.Room)
	if i < 0 {
		s.refuse(c, CodeNotInRoom, "you are not in this room; join it first", f.Room, ident.PeerID{})
		return
	}
	kind := BusUpdate
	if f.Type == typeLeave {
		kind = BusLeave
		c.leave(s, i)
	} else if f.Data == nil {
		s.drop(c, CodeBadFrame, "the update has no message")
		return
	}
	s.bus.Publish(Topic{Room: f.Room}, BusMessage{Kind: kind, From: c.member(), Room: f.Room, Data: f.Data})
}

// leave takes the i-th room off c's list.
func (c *client) leave(s *ServerMachine, i int) {
	name := c.rooms[i]
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
	m := BusMessage{Kind: BusSend, From: c.member(), Data: f.Data}
	if !s.bus.Publish(Topic{Peer: f.Peer}, m) {
		s.refuse(c, CodeNoPeer, noPeerReason, "", f.Peer)
	}
}

const noPeerReason = "no such peer is signed on"

// refuse answers a request with an error.
func (s *ServerMachine) refuse(c *client, code Code, reason, room string, peer ident.PeerID) {
	if len(room) > MaxRoom {
		room = "" // not a room's name; the answer must stay a frame
	}
	s.write(c, frame{Type: typeError, Code: code, Reason: reason, Room: room, Peer: peer})
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
		s.write(c, frame{Type: typeJoined, Room: m.Room})
	case BusRefused:
		if i := slices.Index(c.rooms, m.Room); i >= 0 {
			c.leave(s, i)
		}
		s.refuse(c, m.Code, m.Reason, m.Room, ident.PeerID{})
	case BusPaired:
		if !slices.Contains(c.rooms, m.Room) {
			return // it has just left
		}
		c.busy = now
		c.paired = append(c.paired, pairing{m.Room, m.From.Peer, m.From.Session})
		s.write(c, frame{Type: typePaired, Room: m.Room, Peer: m.From.Peer, Proven: m.From.Proven, Data: m.Data})
		s.events.push(ServerEvent{Kind: ServerPaired, Remote: c.remote, Peer: c.peer, Proven: c.proven, Room: m.Room})
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
		if m.From.Proven && m.From.Session != c.member().Session {
			s.drop(c, CodeReplaced, "you signed on again elsewhere")
		}
	}
}

// bounce tells the sender of m that it did not reach peer.
func (s *ServerMachine) bounce(peer ident.PeerID, m BusMessage, code Code, reason string) {
	s.bus.Publish(Topic{Peer: m.From.Peer}, BusMessage{
		Kind: BusError, To: m.From.Session, From: BusMember{Peer: peer}, Code: code, Reason: reason,
	})
}
