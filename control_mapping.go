package bradawl

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
)

// Some NATs end a mapping when it has a certain age, in use or not. All paths from that
// socket die with it. Nothing can be done about the first times. When it has happened three
// times at the same age, the next end is known: another socket gets addresses ahead of it,
// data moves there, and the old ones are left.

const (
	// rotateAhead is how long before the end of a mapping another one is made.
	rotateAhead = 20 * time.Second
	// leaveAfter is how long that one has to find its paths until data leaves the old ones.
	leaveAfter = 4 * time.Second
	// removeAfter is when nothing is under way on them any more.
	removeAfter = 10 * time.Second
	// sameAge is how many mappings in a row must have ended at one age.
	sameAge = 3
	// leastAge is an age below which mappings are not worth the trouble.
	leastAge = 90 * time.Second
	// firstRotated is the number of the first socket that the control opens.
	firstRotated machine.SocketID = 1 << 24
)

// mappings is what is known of the addresses that NATs give our bases.
type mappings struct {
	c     *control
	bases map[ice.BaseID]*outside
	ages  map[netip.Addr][]lifespan // of the last mappings, by the host's address
	twins map[machine.SocketID]*twin
	next  machine.SocketID
	told  bool // peers know that a router has mapped a port
}

// outside is a base with its mapping, as the STUN server sees it that answered first; of one
// of TCP no more is kept than that it is there.
type outside struct {
	m       *mappings
	id      ice.BaseID
	spec    ice.Base
	addr    netip.AddrPort
	server  netip.Addr
	routed  netip.AddrPort // what the router has mapped to it on request
	made    lifespanBounds // when the mapping was
	alive   time.Time      // when the server has seen it last: a path may go on with the next one
	unclear bool           // something else may end it: the network changed
	timer   machine.Timer
}

type lifespanBounds struct{ after, before time.Time }

// lifespan is an age: a mapping was alive at low, and not at high.
type lifespan struct{ low, high time.Duration }

// twin is the socket that takes turns with another one.
type twin struct {
	id    machine.SocketID
	local netip.AddrPort // as it is bound; not valid: not open yet
	waits *outside
}

func (m *mappings) init(c *control) {
	m.c = c
	m.bases = make(map[ice.BaseID]*outside)
	m.ages = make(map[netip.Addr][]lifespan)
	m.twins = make(map[machine.SocketID]*twin)
	m.next = firstRotated
}

// addBase adds an address that checks and data can leave from.
func (c *control) addBase(now time.Time, spec ice.Base) (ice.BaseID, error) {
	c.enter(now)
	defer c.pump(now)
	return c.mappings.add(now, spec)
}

// removeBase ends the use of an address.
func (c *control) removeBase(now time.Time, id ice.BaseID) {
	c.enter(now)
	c.mappings.remove(now, id)
	c.pump(now)
}

// addServer has a STUN server asked about all bases.
func (c *control) addServer(now time.Time, server netip.AddrPort) {
	c.enter(now)
	c.ice.AddServer(now, server)
	c.pump(now)
}

// seenAt takes in where a STUN server sees a base of TCP.
func (c *control) seenAt(now time.Time, id ice.BaseID, outside netip.AddrPort, server netip.Addr) {
	c.enter(now)
	c.ice.SetReflexive(now, id, outside, server)
	c.pump(now)
}

// removeHost ends the use of an address that the host does not have any more.
func (c *control) removeHost(now time.Time, ip netip.Addr) {
	c.enter(now)
	m := &c.mappings
	for _, o := range m.sorted() {
		if o.spec.Type == ice.Host && o.spec.Addr.Addr() == ip {
			m.remove(now, o.id)
		}
	}
	for _, of := range slices.Sorted(maps.Keys(m.twins)) {
		if t := m.twins[of]; t.local.Addr() == ip {
			m.part(of, t)
		}
	}
	c.pump(now)
}

// part ends the use of a socket as the twin of another.
func (m *mappings) part(of machine.SocketID, t *twin) {
	delete(m.twins, of)
	if t.id >= firstRotated {
		m.c.transmit(machine.Transmit{Op: machine.CloseSocket, Socket: t.id})
	}
}

// sorted are the bases as they were made.
func (m *mappings) sorted() []*outside {
	return slices.SortedFunc(maps.Values(m.bases), func(a, b *outside) int { return int(a.id) - int(b.id) })
}

func (m *mappings) add(now time.Time, spec ice.Base) (ice.BaseID, error) {
	id, err := m.c.ice.AddBase(now, spec)
	if err == nil {
		m.bases[id] = &outside{m: m, id: id, spec: spec, made: lifespanBounds{now, now}}
	}
	return id, err
}

// remove ends the use of a base, and lets peers know, by what is left, before they find out.
// gone follows.
func (m *mappings) remove(now time.Time, id ice.BaseID) {
	if o := m.bases[id]; o != nil {
		o.withdraw() // as long as it is known where they see it
	}
	m.c.ice.RemoveBase(now, id)
}

// gone takes in that the agents do not use a base any more.
func (m *mappings) gone(now time.Time, id ice.BaseID) {
	o := m.bases[id]
	if o == nil {
		return // a lane's
	}
	m.c.timers.Stop(&o.timer)
	delete(m.bases, id)
	m.c.tellMapped(now)
}

// disturbed notes that what ends from now on may end for another reason.
func (m *mappings) disturbed() {
	for _, o := range m.bases {
		o.unclear = true
	}
}

// seen takes in where a STUN server sees a base.
func (m *mappings) seen(now time.Time, e ice.Event) {
	o := m.bases[e.Base]
	if o == nil {
		return
	}
	at, server := e.Candidate.Addr, e.Candidate.Related.Addr()
	if blocked := m.c.profile.Type == natprobe.TypeUDPBlocked; at.Addr().Is4() && (blocked || server == o.server && at.Addr() != o.addr.Addr()) {
		m.c.doubtNAT(now) // it lets UDP through after all, or is another one
	}
	switch {
	case !o.addr.IsValid():
		o.addr, o.server, o.made.before = at, server, now
		for _, k := range m.c.links {
			k.tryLanes(now)
		}
	case server != o.server:
		return // it may have a mapping of its own
	case at != o.addr:
		m.ended(now, o)
		o.addr, o.made, o.unclear = at, lifespanBounds{o.alive, now}, false
	}
	o.alive = now
	m.plan(now, o)
}

// ended notes how old a mapping became.
func (m *mappings) ended(now time.Time, o *outside) {
	ip := o.spec.Addr.Addr()
	if o.unclear {
		delete(m.ages, ip)
		return
	}
	l := lifespan{max(0, o.alive.Sub(o.made.before)), now.Sub(o.made.after)}
	if _, known := m.life(ip); known && l.high < m.ages[ip][0].low {
		delete(m.ages, ip) // it ended before its time
	}
	all := append(slices.Clone(m.ages[ip]), l)
	m.ages[ip] = all[max(0, len(all)-sameAge):]
}

// life is the age at which mappings end, on the safe side, if that is known.
func (m *mappings) life(ip netip.Addr) (time.Duration, bool) {
	all := m.ages[ip]
	if len(all) < sameAge {
		return 0, false
	}
	both := all[0]
	for _, l := range all[1:] {
		both.low, both.high = max(both.low, l.low), min(both.high, l.high)
	}
	// Ends by chance do not meet in so narrow a range.
	if both.low > both.high || both.high-both.low > both.high/8+30*time.Second || both.low < leastAge {
		return 0, false
	}
	return both.low, true
}

// plan sets when another mapping is made in place of o's.
func (m *mappings) plan(now time.Time, o *outside) {
	life, known := m.life(o.spec.Addr.Addr())
	if !known || o.timer.IsSet() {
		return
	}
	o.timer.Fire = o.rotate
	if at := o.made.after.Add(life - rotateAhead); at.After(now) {
		m.c.timers.Set(&o.timer, at)
	}
}

// rotate opens the socket that takes the place of o's, or takes the one that did before:
// its own mapping has ended long ago.
func (o *outside) rotate(now time.Time) {
	m := o.m
	t := m.twins[o.spec.Socket]
	if t == nil {
		t = &twin{id: m.next}
		m.next++
		m.twins[o.spec.Socket], m.twins[t.id] = t, &twin{id: o.spec.Socket, local: o.spec.Addr}
	}
	if t.waits = o; t.local.IsValid() {
		m.opened(now, t)
		return
	}
	local := o.spec.Addr
	if o.spec.Shared {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		if o.spec.Addr.Addr().Is6() {
			local = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		}
	}
	m.c.transmit(machine.Transmit{Op: machine.OpenSocket, Socket: t.id, Local: netip.AddrPortFrom(local.Addr(), 0)})
}

// notice takes in that a socket is open, or is not.
func (m *mappings) notice(now time.Time, n machine.Notice) {
	switch {
	case n.Kind == machine.SocketFailed && n.Socket < firstLane:
		m.broke(now, n.Socket)
		return
	case n.Kind != machine.SocketOpened || n.Socket < firstRotated:
		return
	}
	for of, t := range m.twins {
		if t.id != n.Socket {
			continue
		}
		if t.local = n.Local; m.bases[t.waits.id] != t.waits { // its address is gone meanwhile
			m.part(of, t)
			return
		}
		m.opened(now, t)
		return
	}
}

// broke takes in that there is no such socket any more, or that it could not be opened: it
// takes turns with none. If it had the place of one that is idle, that one has it back. The
// agents, which hear of it next, end the use of its bases.
func (m *mappings) broke(now time.Time, id machine.SocketID) {
	for _, o := range m.sorted() {
		if o.spec.Socket == id && o.spec.Transport == ice.UDP {
			o.withdraw()
		}
	}
	for _, of := range slices.Sorted(maps.Keys(m.twins)) {
		t := m.twins[of]
		inUse := slices.ContainsFunc(m.sorted(), func(o *outside) bool { return o.spec.Socket == t.id && o.spec.Transport == ice.UDP })
		switch {
		case of == id && !inUse:
			if m.part(of, t); t.id < firstRotated {
				m.giveBack(now, id, t)
			}
		case of == id, t.id == id:
			delete(m.twins, of)
		}
	}
	if id < firstRotated {
		m.c.notes.Push(note{kind: noteBroken, socket: id})
	} else {
		m.c.transmit(machine.Transmit{Op: machine.CloseSocket, Socket: id})
	}
}

// giveBack has the shell's own socket used again: the shell has opened it, and opens no other
// there as long as it receives.
func (m *mappings) giveBack(now time.Time, from machine.SocketID, t *twin) {
	for _, o := range m.sorted() {
		if o.spec.Socket == from && o.spec.Transport == ice.UDP {
			spec := o.spec
			spec.Socket, spec.Addr = t.id, netip.AddrPortFrom(spec.Addr.Addr(), t.local.Port())
			_, _ = m.add(now, spec)
		}
	}
}

// opened gives the other socket the place of the first.
func (m *mappings) opened(now time.Time, t *twin) {
	o := t.waits
	t.waits = nil
	spec := o.spec
	spec.Socket, spec.Addr = t.id, netip.AddrPortFrom(spec.Addr.Addr(), t.local.Port())
	if _, err := m.add(now, spec); err != nil {
		return
	}
	o.timer.Fire = o.leave
	m.c.timers.Set(&o.timer, now.Add(leaveAfter))
}

// carries reports whether a path leaves by o.
func (o *outside) carries(p *path) bool {
	if o.spec.Transport == ice.TCP {
		return p.route.Stream != 0 && p.route.Local.Addr() == o.spec.Addr.Addr() && (o.spec.TCPType == ice.Active || p.route.Local == o.spec.Addr)
	}
	return p.route.Stream == 0 && p.route.Socket == o.spec.Socket && (!o.spec.Shared || p.route.Local == o.spec.Addr)
}

// withdraw tells all peers that we shall not be where they see o.
func (o *outside) withdraw() {
	for _, k := range o.m.c.links {
		var told []string
		for _, p := range k.paths {
			if text := k.public(p).Local.String(); o.carries(p) && !slices.Contains(told, text) {
				told = append(told, text)
			}
		}
		if len(told) > 0 {
			k.say(partWithdrawn, update{Withdrawn: told})
		}
	}
}

// leave moves the data of all connections away from o.
func (o *outside) leave(now time.Time) {
	o.withdraw()
	for _, k := range o.m.c.links {
		k.note(now, "the NAT is about to end the mapping of a socket: another takes its place", nil)
		k.evade(now, o.carries)
	}
	o.timer.Fire = func(now time.Time) { o.m.remove(now, o.id) }
	o.m.c.timers.Set(&o.timer, now.Add(removeAfter))
}

// stable is the base whose outside address peers know.
func (m *mappings) stable() (ice.Base, bool) {
	for _, o := range m.sorted() {
		if o.spec.Type == ice.Host && o.spec.Transport == ice.UDP && o.spec.Addr.Addr().Is4() && o.addr.IsValid() {
			return o.spec, true
		}
	}
	return ice.Base{}, false
}
