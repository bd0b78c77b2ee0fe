package bradawl

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/seal"
)

// update is what peers tell each other after the handshake: by the signalling, and by the
// paths that work, for either may fail. It may come twice, late and out of order. What has a
// Version is told again until the peer has acknowledged it.
type update struct {
	Version    uint64   `json:"v,omitzero"` // of the last thing in it
	Ack        uint64   `json:"a,omitzero"` // everything up to this has come
	Candidates []string `json:"c,omitzero"`
	Withdrawn  []string `json:"w,omitzero"` // addresses at which the sender will not be for long
	Generation int      `json:"g,omitzero"` // of the credentials, which a restart changes
	Ufrag      string   `json:"u,omitzero"`
	Pwd        string   `json:"p,omitzero"`
	Profile    []byte   `json:"n,omitzero"`
	Mapped     *bool    `json:"o,omitzero"` // whether a router has mapped a UDP port to the sender
	Again      int      `json:"r,omitzero"` // how often the sender had cause to check everything again: the receiver should, too
	Closed     []uint32 `json:"d,omitzero"` // indexes of connections on the link that the sender has closed, while others go on
	Bye        bool     `json:"b,omitzero"`
	Lanes      int      `json:"l,omitzero"` // the sender's last attempt at the NATs' ports, which the receiver joins
	Lane       []byte   `json:"m,omitzero"` // what there is to know about it; it takes the place of what was said before
}

// partKind is the sort of a part of an update.
type partKind uint8

const (
	partCandidate partKind = iota
	partWithdrawn
	partCredentials
	partProfile
	partAgain
	partMapped
	partLanes
	partClosed
)

// part is one thing that the peer is to know, and has not acknowledged.
type part struct {
	kind    partKind
	version uint64
	update
}

const (
	tellAgain     = time.Second // until an update is told again, doubling
	tellAgainMost = 30 * time.Second
	// maxParts bounds what waits for the peer's acknowledgement: there are no more
	// candidates than that.
	maxParts = 60
	// pathLimit is how many bytes of parts go into a datagram, and signalLimit into a message
	// of the signalling.
	pathLimit   = 700
	signalLimit = 16 << 10
)

// outbox is what a peer is to be told.
type outbox struct {
	parts   []part
	version uint64
	tries   int
	tellAt  time.Time // when it is told again
	queued  bool      // in control.talking
}

// say has the peer told something. Of what there can be only one, the last counts.
func (k *link) say(kind partKind, u update) {
	o := &k.outbox
	o.parts = slices.DeleteFunc(o.parts, func(p part) bool {
		switch kind {
		case partCredentials: // candidates of the credentials before are of no use any more
			return p.kind == partCredentials || p.kind == partCandidate
		case partCandidate, partWithdrawn, partClosed:
			return false
		}
		return p.kind == kind
	})
	if len(o.parts) >= maxParts {
		o.parts = o.parts[1:]
	}
	o.version++
	o.parts = append(o.parts, part{kind, o.version, u})
	k.unsaid(0)
}

// unsaid has what is left to say said once the control is done with what it does.
func (k *link) unsaid(tries int) {
	o := &k.outbox
	o.tries = tries
	if len(o.parts) > 0 && !o.queued && k.voice() != nil {
		o.queued = true
		k.c.talking = append(k.c.talking, k)
	}
}

// size is about how many bytes a part takes.
func (p *part) size() (n int) {
	n = 20 + len(p.Ufrag) + len(p.Pwd) + 2*(len(p.Profile)+len(p.Lane)) + 9*len(p.Closed)
	for _, t := range p.Candidates {
		n += len(t) + 3
	}
	for _, t := range p.Withdrawn {
		n += len(t) + 3
	}
	return n
}

// message is what is left to say, as far as it fits.
func (o *outbox) message(limit int) (u update) {
	for _, p := range o.parts {
		if limit -= p.size(); limit < 0 && u.Version != 0 {
			break
		}
		u.Version = p.version
		u.Candidates = append(u.Candidates, p.Candidates...)
		u.Withdrawn = append(u.Withdrawn, p.Withdrawn...)
		u.Closed = append(u.Closed, p.Closed...)
		u.Again = max(u.Again, p.Again)
		if p.Lanes > 0 {
			u.Lanes, u.Lane = p.Lanes, p.Lane
		}
		if p.Ufrag != "" {
			u.Generation, u.Ufrag, u.Pwd = p.Generation, p.Ufrag, p.Pwd
		}
		if p.Profile != nil {
			u.Profile = p.Profile
		}
		if p.Mapped != nil {
			u.Mapped = p.Mapped
		}
	}
	return u
}

// told takes in that the peer knows everything up to a version.
func (o *outbox) told(version uint64) {
	o.parts = slices.DeleteFunc(o.parts, func(p part) bool { return p.version <= version })
	if len(o.parts) == 0 {
		o.tellAt, o.tries, o.parts = time.Time{}, 0, nil
	}
}

// candidates are those that the peer does not know yet.
func (o *outbox) candidates() (all []string) {
	for _, p := range o.parts {
		all = append(all, p.Candidates...)
	}
	return all
}

// tell sends what is left to say.
func (k *link) tell(now time.Time) {
	o := &k.outbox
	o.queued = false
	v := k.voice()
	if v == nil || len(o.parts) == 0 {
		return
	}
	o.tellAt = now.Add(min(tellAgain<<min(o.tries, 10), tellAgainMost))
	o.tries++
	v.sendSignal(o.message(signalLimit))
	short := encode(o.message(pathLimit))
	for _, p := range k.inUse() {
		v.sealTo(now, p.route, seal.Control, short)
	}
	k.settle(now)
}

// sendSignal sends an update by the signalling.
func (k *connection) sendSignal(u update) {
	message := k.keys.SealSignal(encode(u))
	k.signal(wrap(msgSealed, k.theirs, message))
}

// updated takes in what the peer tells; from is the zero Route where that came by the
// signalling.
func (k *connection) updated(now time.Time, message []byte, from ice.Route) {
	var u update
	if json.Unmarshal(message, &u) != nil || k.state < checking {
		return
	}
	k.confirmed(now)
	k.outbox.told(u.Ack)
	if u.Bye {
		k.parted(now, u.Closed, from)
		k.dismissed(now, from)
		return
	}
	if u.Version > 0 {
		ack := update{Ack: u.Version}
		if from.Remote.IsValid() {
			k.sealTo(now, from, seal.Control, encode(ack))
		} else {
			k.sendSignal(ack)
		}
	}
	if u.Version > k.theirVersion {
		k.theirVersion = u.Version
		k.learn(now, &u, from)
	}
	k.c.pump(now)
	k.link.settle(now)
}

// dismissed takes in that the peer has closed the connection.
func (k *connection) dismissed(now time.Time, from ice.Route) {
	if k.state == connected && !from.Remote.IsValid() {
		// The signalling may be quicker than what the peer sent before by the path, which
		// ends the connection as well.
		k.byeAt = now.Add(byeWait)
		k.settle(now)
		return
	}
	k.end(now, &PeerError{Peer: k.peer, Err: ErrPeerClosed})
}

// learn follows what is new.
func (k *link) learn(now time.Time, u *update, from ice.Route) {
	if u.Ufrag != "" && u.Generation > k.theirGen {
		k.theirGen = u.Generation
		k.renew.want(now, func(now time.Time) {
			// What is wrong with them is the peer's loss.
			k.stopLanes(now) // their secret is of the credentials
			_ = k.c.ice.SetRemote(now, k.agent, ice.Credentials{Ufrag: u.Ufrag, Pwd: u.Pwd})
		})
	}
	if len(u.Candidates) > 0 {
		k.meet(now, u.Candidates)
		k.budget.want(now, func(now time.Time) { k.c.ice.Renew(now, k.agent) })
	}
	k.remember(now, u.Profile)
	k.heardMapped(now, u.Mapped)
	for _, text := range u.Withdrawn[:min(len(u.Withdrawn), maxCandidates)] {
		if addr, err := netip.ParseAddrPort(text); err == nil {
			k.evade(now, func(p *path) bool { return p.route.Remote == addr })
			k.c.ice.Withdraw(now, k.agent, addr)
		}
	}
	k.lanesTold(now, u)
	if u.Again > k.theirAgain {
		k.theirAgain = u.Again
		k.recheck.want(now, func(now time.Time) {
			k.note(now, "the peer has all paths checked again", nil)
			k.checkAnew(now)
		})
	}
	k.refresh()
	k.parted(now, u.Closed, from)
}

// checkAnew checks everything again.
func (k *link) checkAnew(now time.Time) {
	k.c.ice.Refresh(now)
	k.c.ice.Recheck(now, k.agent)
	k.unsaid(0)
}

// again has the peer check everything again, as we do.
func (k *link) again() {
	k.agains++
	k.say(partAgain, update{Again: k.agains})
}

// wish is something that the peer wants to be begun anew. It is not done as often as the
// peer likes, for each time checks leave for the addresses that it names.
type wish struct {
	do   func(now time.Time) // put off
	at   time.Time           // until then
	full time.Time           // when all that may be done at once may be done again
}

const (
	wishGap   = 5 * time.Second // between two times, but for the first wishBurst
	wishBurst = 4
)

// want does what the peer wants, now or later. Of what is put off, the last counts.
func (w *wish) want(now time.Time, do func(now time.Time)) {
	w.do, w.at = do, now
	if at := w.full.Add(-(wishBurst - 1) * wishGap); at.After(now) {
		w.at = at
	}
	w.follow(now)
}

// follow does it, if it is time.
func (w *wish) follow(now time.Time) {
	if w.do == nil || w.at.After(now) {
		return
	}
	do := w.do
	w.do, w.at = nil, time.Time{}
	if w.full.Before(now) {
		w.full = now
	}
	w.full = w.full.Add(wishGap)
	do(now)
}

// meet takes in candidates of the peer. What makes no sense is passed over.
func (k *link) meet(now time.Time, texts []string) {
	for _, text := range texts[:min(len(texts), maxCandidates)] {
		cand, err := ice.ParseCandidate(text)
		if err != nil {
			continue
		}
		if cand.Type == ice.Relay {
			k.relays = append(k.relays[max(0, len(k.relays)-maxRelays+1):], cand.Addr)
			if k.c.cfg.policy == DirectOnly {
				continue
			}
		}
		_ = k.c.ice.AddRemote(now, k.agent, cand)
	}
	k.tryLanes(now)
}
