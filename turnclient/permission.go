package turnclient

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Permissions: one for each IP, for 300 s (RFC 8656 section 9).
const (
	permissionLifetime = 300 * time.Second
	permissionRenew    = 240 * time.Second // after it was asked for
	permissionLast     = 15 * time.Second  // before its end, the last time that use is looked at
	permissionGather   = 30 * time.Second  // others that are due so soon are renewed with it
	refusedHold        = 30 * time.Second  // before a peer that was refused is asked for again
	failedHold         = 3 * time.Second   // the same where the server failed (438 over and over, 500)
)

// Bounds of what waits for permissions, whatever is written.
const (
	maxPeers       = 4096
	maxPeerQueue   = 32        // datagrams for one peer
	maxQueuedBytes = 256 << 10 // of all
	maxWait        = 10 * time.Second
	maxPayload     = 65507 - wire.HeaderSize - 36
)

var errTooManyPeers = fmt.Errorf("%d peers are in use already; those that are idle lapse after 5 minutes", maxPeers)

type permitState uint8

const (
	permitNone permitState = iota
	permitPending
	permitStanding
	permitRefused
)

// permissions are those of one allocation.
type permissions struct {
	permits  map[netip.Addr]*permit
	list     []*permit // as they were made
	peers    map[netip.AddrPort]*peer
	queued   int // bytes that wait
	standing int
	pending  int
}

// permit is the permission for one IP.
type permit struct {
	a        *allocation
	ip       netip.Addr
	state    permitState
	until    time.Time // standing: its end at the server; refused: when to ask again
	err      error     // why it was refused
	used     bool      // since it was last looked at
	kept     bool      // renewed whether it is used or not
	renewing bool
	wanted   bool // to be had again after a loss
	timer    machine.Timer
	backoff  backoff
	peers    []*peer
}

// peer is one address that data goes to.
type peer struct {
	addr      netip.AddrPort
	permit    *permit
	queue     []waiting // for the permission
	sends     int
	used      bool      // since the channel was last looked at
	noChannel time.Time // until then
}

// waiting is a datagram that waits to be sent.
type waiting struct {
	since time.Time
	data  []byte
}

// become changes a permit's state.
func (p *permit) become(to permitState) {
	count := func(s permitState, n int) {
		switch s {
		case permitStanding:
			p.a.standing += n
		case permitPending:
			p.a.pending += n
		}
	}
	count(p.state, -1)
	p.state = to
	count(to, 1)
}

func (a *allocation) countPermits() (standing, pending int) { return a.standing, a.pending }

// Send sends data to peer by way of the server. The first datagrams to a new IP wait
// for its permission; other peers do not wait for that. The machine copies data.
//
// The error is ErrClosed, a *PeerError, or, in state Failed, the *AllocateError.
func (m *Machine) Send(now time.Time, id AllocationID, to netip.AddrPort, data []byte) error {
	m.enter()
	a := m.allocs[id]
	if a == nil || a.state == Closed {
		return ErrClosed
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if a.tcp {
		return &PeerError{to, errNoDatagrams}
	}
	if a.state == Failed {
		return fmt.Errorf("%w: %w", ErrLost, &AllocateError{Attempts: slices.Clone(a.failures)})
	}
	if err := a.reachable(to); err != nil {
		return &PeerError{to, err}
	}
	if len(data) > maxPayload {
		return &PeerError{to, fmt.Errorf("%d bytes do not fit into a datagram; send at most %d", len(data), maxPayload)}
	}
	p, err := a.peer(to)
	if err != nil {
		return &PeerError{to, err}
	}
	pm := p.permit
	pm.used, p.used = true, true
	p.expire(now)
	switch {
	case pm.state == permitRefused && now.Before(pm.until):
		return pm.err
	case pm.state == permitStanding && a.link != nil:
		a.transmit(now, p, data)
		return nil
	case len(p.queue) == maxPeerQueue || a.queued+len(data) > maxQueuedBytes:
		return &PeerError{to, ErrQueueFull}
	}
	p.queue = append(p.queue, waiting{now, slices.Clone(data)})
	a.queued += len(data)
	a.wrote(now)
	a.permit(now, pm)
	return nil
}

// Permit asks for a permission for ip without sending anything, so that its data can
// come in. EventPermission tells what became of it; one that stands is told at once.
// The permission is kept as long as data comes or goes, that of a TCP allocation as long
// as the allocation. The error is ErrClosed, one that matches ErrLost, or a *PeerError for an
// address that cannot be permitted.
func (m *Machine) Permit(now time.Time, id AllocationID, ip netip.Addr) error {
	m.enter()
	a := m.allocs[id]
	if a == nil || a.state == Closed {
		return ErrClosed
	}
	at := netip.AddrPortFrom(ip.Unmap(), 0)
	if a.state == Failed {
		return fmt.Errorf("%w: %w", ErrLost, &AllocateError{Attempts: slices.Clone(a.failures)})
	}
	if err := a.reachable(netip.AddrPortFrom(at.Addr(), 1)); err != nil {
		return &PeerError{at, err}
	}
	p, err := a.permitFor(at.Addr())
	if err != nil {
		return &PeerError{at, err}
	}
	p.used, p.wanted = true, true
	p.kept = a.tcp // connections may come at any time
	switch {
	case p.state == permitStanding:
		a.tell(now, Event{Kind: EventPermission, State: a.state, Peer: at})
	case p.state == permitRefused && now.Before(p.until):
		return p.err
	default:
		a.permit(now, p)
	}
	return nil
}

// reachable says why the server cannot relay to an address; nil: it may.
func (a *allocation) reachable(to netip.AddrPort) error {
	ip := to.Addr()
	switch {
	case !ip.IsValid() || to.Port() == 0 || ip.IsUnspecified():
		return errors.New("this is no address of a peer; give IP and port")
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("servers relay to single hosts only")
	case ip.Zone() != "":
		return errors.New("a link-local address means nothing to a server")
	}
	for _, r := range a.relayed {
		if r.Addr().Is4() == ip.Is4() {
			return nil
		}
	}
	if len(a.relayed) == 0 {
		return nil // not known yet
	}
	return fmt.Errorf("it is of another address family than the relayed address %v; ask for a relayed address of that family", a.relayed[0])
}

func (a *allocation) peer(to netip.AddrPort) (*peer, error) {
	if p := a.peers[to]; p != nil {
		return p, nil
	}
	if len(a.peers) >= maxPeers {
		a.forgetPeers()
	}
	if len(a.peers) >= maxPeers {
		return nil, errTooManyPeers
	}
	pm, err := a.permitFor(to.Addr())
	if err != nil {
		return nil, err
	}
	p := &peer{addr: to, permit: pm}
	a.peers[to] = p
	pm.peers = append(pm.peers, p)
	return p, nil
}

// forgetPeers forgets the addresses of which nothing but counts is kept: ports of an IP
// that stays permitted may be many in time.
func (a *allocation) forgetPeers() {
	idle := func(q *peer) bool { return len(q.queue) == 0 && a.byPeer[q.addr] == nil }
	for _, p := range a.list {
		for _, q := range p.peers {
			if idle(q) {
				delete(a.peers, q.addr)
			}
		}
		p.peers = slices.DeleteFunc(p.peers, idle)
	}
}

func (a *allocation) permitFor(ip netip.Addr) (*permit, error) {
	if p := a.permits[ip]; p != nil {
		return p, nil
	}
	if len(a.permits) >= maxPeers {
		return nil, errTooManyPeers
	}
	p := &permit{a: a, ip: ip}
	p.timer.Fire = p.due
	a.permits[ip] = p
	a.list = append(a.list, p)
	return p, nil
}

// permit asks for a permission, if there is an allocation to ask for it. Each new one
// takes a request of its own, so that one that is refused fails alone.
func (a *allocation) permit(now time.Time, p *permit) {
	if p.state == permitPending || a.link == nil || !a.state.Usable() {
		return
	}
	a.m.timers.Stop(&p.timer)
	p.become(permitPending)
	a.settle(now)
	a.create(now, []*permit{p})
}

// create sends a CreatePermission request for ps (RFC 8656 section 10).
func (a *allocation) create(now time.Time, ps []*permit) {
	r := &request{link: a.link, op: "permission", method: wire.CreatePermission}
	r.add = func(b *wire.Builder) {
		for _, p := range ps {
			b.AddXORAddress(wire.AttrXORPeerAddress, netip.AddrPortFrom(p.ip, 0))
		}
	}
	r.done = func(now time.Time, _ *wire.Message, err error) {
		code := codeOf(err)
		switch {
		case err == nil:
			for _, p := range ps {
				p.stands(now, r.sent)
			}
			a.settle(now)
		case code == wire.CodeAllocationMismatch, code == wire.CodeWrongCredentials:
			a.lose(now, err, true)
		case len(ps) > 1 && refused(err):
			// One of them spoils it for the others: ask for each by itself.
			for _, p := range ps {
				a.create(now, []*permit{p})
			}
		default:
			for _, p := range ps {
				p.failed(now, err)
			}
			a.settle(now)
		}
	}
	for _, p := range ps {
		p.renewing = true
	}
	r.start(now)
}

// stands takes in that the server has the permission; it was asked for at sent.
func (p *permit) stands(now, sent time.Time) {
	a := p.a
	fresh := p.state != permitStanding
	p.renewing, p.wanted, p.err = false, false, nil
	p.until = sent.Add(permissionLifetime)
	p.backoff.reset()
	a.m.timers.Set(&p.timer, sent.Add(permissionRenew))
	if !fresh {
		return
	}
	p.become(permitStanding)
	for _, q := range p.peers {
		q.expire(now)
		for _, w := range q.queue {
			a.queued -= len(w.data)
			a.transmit(now, q, w.data)
		}
		q.queue = nil
	}
	a.tell(now, Event{Kind: EventPermission, State: a.state, Peer: netip.AddrPortFrom(p.ip, 0)})
}

// failed takes in that the permission could not be had, or renewed.
func (p *permit) failed(now time.Time, err error) {
	a := p.a
	p.renewing = false
	code := codeOf(err)
	if !refused(err) || code == wire.CodeStaleNonce || code == wire.CodeServerError {
		if p.state == permitStanding {
			if wait := p.backoff.next(a.m.random); now.Add(wait).Before(p.until) {
				p.used = true
				a.m.timers.Set(&p.timer, now.Add(wait))
				return
			}
		}
		p.become(permitNone)
		if !a.state.Usable() {
			// The server is not there: it is asked again once it is.
			p.wanted = true
			a.tell(now, Event{Kind: EventPermission, State: a.state, Peer: netip.AddrPortFrom(p.ip, 0), Err: &PeerError{netip.AddrPortFrom(p.ip, 0), err}})
			return
		}
	} else {
		hold := refusedHold
		if code == wire.CodeInsufficientCapacity {
			hold = holdFull
		}
		p.until = now.Add(hold)
		a.m.timers.Set(&p.timer, p.until)
		p.become(permitRefused)
	}
	p.err = &PeerError{netip.AddrPortFrom(p.ip, 0), err}
	p.dropQueue(now, p.err)
	a.tell(now, Event{Kind: EventPermission, State: a.state, Peer: netip.AddrPortFrom(p.ip, 0), Err: p.err})
	switch {
	case p.state == permitNone && code != 0:
		p.until = now.Add(failedHold)
		a.m.timers.Set(&p.timer, p.until)
		p.become(permitRefused)
	case p.state == permitNone:
		p.remove()
	}
}

// takeUsed reports whether the permission was used since it was last asked.
func (p *permit) takeUsed() bool {
	used := p.used || p.kept
	p.used = false
	if u := p.a.m.cfg.usage; u != nil {
		used = u.Permission(p.a.id, p.ip) || used
	}
	return used
}

// due renews the permission while it is in use, and lets it go otherwise.
func (p *permit) due(now time.Time) {
	a := p.a
	switch {
	case p.state == permitRefused:
		p.remove()
	case p.state != permitStanding || p.renewing:
	case !now.Before(p.until):
		p.become(permitNone)
		a.tell(now, Event{Kind: EventPermission, State: a.state, Peer: netip.AddrPortFrom(p.ip, 0), Err: &PeerError{netip.AddrPortFrom(p.ip, 0), errIdle}})
		p.remove()
		a.settle(now)
	case p.takeUsed() && a.link != nil:
		batch := []*permit{p}
		for _, q := range a.list {
			if len(batch) >= a.link.congestion.batch() {
				break
			}
			if q != p && q.state == permitStanding && !q.renewing && q.timer.IsSet() &&
				q.timer.At().Before(now.Add(permissionGather)) && q.until.Sub(now) > permissionLast && q.takeUsed() {
				a.m.timers.Stop(&q.timer)
				batch = append(batch, q)
			}
		}
		a.create(now, batch)
	case now.Before(p.until.Add(-permissionLast)):
		a.m.timers.Set(&p.timer, p.until.Add(-permissionLast))
	default:
		a.m.timers.Set(&p.timer, p.until)
	}
}

var errIdle = errors.New("its permission lapsed, for it was not used; the next use asks for it again")

// remove forgets the permit and its peers.
func (p *permit) remove() {
	a := p.a
	a.m.timers.Stop(&p.timer)
	delete(a.permits, p.ip)
	a.list = slices.DeleteFunc(a.list, func(q *permit) bool { return q == p })
	for _, q := range p.peers {
		delete(a.peers, q.addr)
	}
}

// dropQueue drops what waits for the permission and says so.
func (p *permit) dropQueue(now time.Time, err error) {
	for _, q := range p.peers {
		q.drop(now, len(q.queue), err)
	}
}

// drop drops the first n datagrams that wait, and says so.
func (q *peer) drop(now time.Time, n int, err error) {
	if n == 0 {
		return
	}
	a := q.permit.a
	for _, w := range q.queue[:n] {
		a.queued -= len(w.data)
	}
	q.queue = slices.Delete(q.queue, 0, n)
	a.loss.Datagrams += n
	a.tell(now, Event{Kind: EventDropped, State: a.state, Peer: q.addr, Lost: Loss{Datagrams: n}, Err: err})
}

// expire drops what has waited for so long that nobody wants it any more.
func (q *peer) expire(now time.Time) {
	n := 0
	for n < len(q.queue) && now.Sub(q.queue[n].since) > maxWait {
		n++
	}
	q.drop(now, n, errStale)
}

var errStale = fmt.Errorf("it waited for %v to be sent", maxWait)

func (a *allocation) dropQueues(now time.Time, err error) {
	for _, p := range a.list {
		p.dropQueue(now, err)
	}
}

// unpermit takes in that the allocation is gone and every permission with it. Those
// that stood are wanted again.
func (a *allocation) unpermit() {
	for _, p := range a.list {
		a.m.timers.Stop(&p.timer)
		p.wanted = p.wanted || p.state == permitStanding || p.state == permitPending
		p.renewing = false
		p.become(permitNone)
	}
}

// permitAgain asks for what is wanted on a new allocation.
func (a *allocation) permitAgain(now time.Time) {
	for _, p := range slices.Clone(a.list) {
		waiting := slices.ContainsFunc(p.peers, func(q *peer) bool { return len(q.queue) > 0 })
		switch {
		case p.state != permitNone:
		case a.reachable(netip.AddrPortFrom(p.ip, 1)) != nil:
			p.dropQueue(now, &PeerError{netip.AddrPortFrom(p.ip, 0), a.reachable(netip.AddrPortFrom(p.ip, 1))})
			p.remove()
		case p.wanted || waiting:
			a.permit(now, p)
		default:
			p.remove()
		}
	}
}

// endPermissions forgets every permission of an allocation that is closed.
func (a *allocation) endPermissions(now time.Time) {
	for _, p := range slices.Clone(a.list) {
		p.dropQueue(now, ErrClosed)
		p.become(permitNone)
		p.remove()
	}
}
