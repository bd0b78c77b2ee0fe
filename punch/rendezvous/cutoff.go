package rendezvous

import "time"

const cutOffReason = "this server is cut off from the others; sign on again, to another one if there is one"

// busSays takes in what the bus has to say of itself. A node that is cut off
// could only keep its clients waiting for peers that cannot come, in rooms that
// may have another home by now. So it forgets the rooms and sends everybody away.
func (s *ServerMachine) busSays(m BusMessage) {
	switch m.Kind {
	case BusDown:
		s.cutOff = true
		s.rooms.clear()
		s.dropAll(CodeCutOff, cutOffReason)
		s.events.Push(ServerEvent{Kind: ServerCutOff, Code: CodeCutOff, Reason: m.Reason})
	case BusUp:
		s.cutOff = false
		s.events.Push(ServerEvent{Kind: ServerRejoined})
	}
}

// clear forgets every room without a word: this node is no longer their home.
func (r *rooms) clear() {
	clear(r.byName)
	r.bytes = 0
}

// deliverAll takes in what the bus has for this node, what it causes included.
func (s *ServerMachine) deliverAll(now time.Time) {
	for t, m, ok := s.bus.Poll(); ok; t, m, ok = s.bus.Poll() {
		switch {
		case t == Topic{}:
			s.busSays(m)
		case t.Room != "":
			s.rooms.handle(t.Room, m)
		case m.Undelivered:
			s.returned(t.Peer, m)
		default:
			s.deliver(now, t.Peer, m)
		}
	}
}
