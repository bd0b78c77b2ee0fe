package rendezvous

import "slices"

// rooms are the rooms whose home is this node. They see members only as the
// bus names them: their connections may be at any node.
type rooms struct {
	bus      Bus
	size     int // members of a room
	maxRooms int
	maxBytes int
	byName   map[string]*room
	bytes    int // of all messages kept
}

type room struct {
	members []*roomMember // in the order of joining
}

// roomMember is one member and its message.
type roomMember struct {
	BusMember
	data   []byte
	given  bool     // data counts, even if it is empty
	paired []uint64 // the sessions it was paired with
}

// handle takes in what was published to the room called name.
func (r *rooms) handle(name string, m BusMessage) {
	switch m.Kind {
	case BusJoin:
		r.join(name, m)
	case BusUpdate:
		r.update(name, m)
	case BusLeave:
		r.leave(name, m.From)
	}
	if r.byName[name] == nil {
		r.bus.Release(name)
	}
}

const (
	fullReason      = "the server holds all the waiting messages that it can; try again later"
	notMemberReason = "you are not in this room; join it first"
	elsewhereReason = "you joined this room again from elsewhere"
)

func (r *rooms) update(name string, m BusMessage) {
	rm := r.byName[name]
	i := rm.index(m.From)
	switch {
	case i < 0: // a home that died took the membership with it
		r.tell(m.From, BusMessage{Kind: BusError, Room: name, Code: CodeNotInRoom, Reason: notMemberReason})
	case !r.keep(rm.members[i], m.Data):
		r.tell(m.From, BusMessage{Kind: BusError, Room: name, Code: CodeServerFull, Reason: fullReason})
	default:
		r.pair(name, rm, rm.members[i])
	}
}

func (r *rooms) join(name string, m BusMessage) {
	r.replace(name, m.From)
	rm := r.byName[name]
	fresh := rm == nil
	if fresh {
		rm = new(room)
	}
	i := rm.index(m.From)
	var me *roomMember
	if i >= 0 {
		me = rm.members[i]
	} else {
		me = &roomMember{BusMember: m.From}
	}
	code, reason := Code(0), ""
	switch {
	case fresh && len(r.byName) >= r.maxRooms:
		code, reason = CodeTooManyRooms, "the server has all the rooms it can take"
	case i < 0 && len(rm.members) >= r.size:
		code, reason = CodeRoomFull, "the room has all its members; choose another name"
	case m.Data != nil && !r.keep(me, m.Data):
		code, reason = CodeServerFull, fullReason
	}
	if code != 0 {
		// A member that joins again keeps its place and its old message.
		kind := BusRefused
		if i >= 0 {
			kind = BusError
		}
		r.tell(m.From, BusMessage{Kind: kind, Room: name, Code: code, Reason: reason})
		return
	}
	if fresh {
		r.byName[name] = rm
	}
	if i < 0 {
		rm.members = append(rm.members, me)
	}
	r.tell(m.From, BusMessage{Kind: BusJoined, Room: name})
	r.pair(name, rm, me)
}

// replace makes a proven peer that joins from a new connection leave by its old
// one: the node that had it says so too, but that may come later.
func (r *rooms) replace(name string, who BusMember) {
	rm := r.byName[name]
	if rm == nil || !who.Proven {
		return
	}
	i := slices.IndexFunc(rm.members, func(m *roomMember) bool {
		return m.Peer == who.Peer && m.Session != who.Session
	})
	if i >= 0 {
		old := rm.members[i].BusMember
		r.leave(name, old)
		r.tell(old, BusMessage{Kind: BusRefused, Room: name, Code: CodeNotInRoom, Reason: elsewhereReason})
	}
}

// keep makes data the message of m; false when that is more than r may hold.
func (r *rooms) keep(m *roomMember, data []byte) bool {
	more := len(data) - len(m.data)
	if more > 0 && more > r.maxBytes-r.bytes {
		return false
	}
	r.bytes += more
	m.data, m.given = data, true
	return true
}

// pair hands me and every other member each other's message: once, as soon as
// both have given one. Both publications happen here and now.
func (r *rooms) pair(name string, rm *room, me *roomMember) {
	if !me.given {
		return
	}
	for _, other := range rm.members {
		if other == me || !other.given || slices.Contains(me.paired, other.Session) {
			continue
		}
		me.paired = append(me.paired, other.Session)
		other.paired = append(other.paired, me.Session)
		r.tell(other.BusMember, BusMessage{Kind: BusPaired, From: me.BusMember, Room: name, Data: me.data})
		r.tell(me.BusMember, BusMessage{Kind: BusPaired, From: other.BusMember, Room: name, Data: other.data})
	}
}

func (r *rooms) leave(name string, who BusMember) {
	rm := r.byName[name]
	i := rm.index(who)
	if i < 0 {
		return
	}
	me := rm.members[i]
	r.bytes -= len(me.data)
	rm.members = slices.Delete(rm.members, i, i+1)
	if len(rm.members) == 0 {
		delete(r.byName, name)
		return
	}
	for _, other := range rm.members {
		if j := slices.Index(other.paired, me.Session); j >= 0 {
			other.paired = slices.Delete(other.paired, j, j+1)
			r.tell(other.BusMember, BusMessage{Kind: BusLeft, From: me.BusMember, Room: name})
		}
	}
}

// tell publishes m to one sign-on of a peer.
func (r *rooms) tell(to BusMember, m BusMessage) {
	m.To = to.Session
	r.bus.Publish(Topic{Peer: to.Peer}, m)
}

// index finds who among the members; a nil room has none.
func (rm *room) index(who BusMember) int {
	if rm == nil {
		return -1
	}
	return slices.IndexFunc(rm.members, func(m *roomMember) bool {
		return m.Peer == who.Peer && m.Session == who.Session
	})
}
