package ice

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

// generation is what lives and ends with one pair of credentials: a restart begins
// another (RFC 8445 section 9).
type generation struct {
	a             *agent
	local, remote Credentials // remote is empty until the peer has told
	localDone     bool        // our end of candidates was told
	remoteDone    bool        // and the peer's

	early       []request // of the peer, that came before its credentials
	remotes     []*remote
	learned     int     // remotes from checks of the peer
	everLearned int     // with those that were forgotten
	pairs       []*pair // the best first
	wanted      []*pair // triggered checks
	fresh       int     // new pairs that were checked in a row
	relayed     bool    // a pair of relays has had its early turn
	targets     []target

	nominated  *pair // by USE-CANDIDATE, ours or the peer's
	nominating *pair // controlling: USE-CANDIDATE is under way
	firstValid time.Time
	nominateAt time.Time // controlling: when to look again whether to nominate

	began  time.Time // when the peer's credentials became known
	sent   int       // checks
	last   time.Time // of them
	answer time.Time // when as many answers may be given at once as at all
	heard  bool      // authentic messages of the peer came in
	asked  bool      // and checks
	forged int       // messages whose integrity does not match
	passed int       // candidates of the peer that are not checked
	why    error     // of the first of them
	failed *FailedError
	until  time.Time // of before a restart: when it is forgotten; zero: its pair is in use
	seen   replays
}

// remote is a candidate of the peer.
type remote struct {
	cand    Candidate
	addr    netip.AddrPort
	learned bool // peer-reflexive: nobody has told it

	pairs, works, fails int // as weigh counts them
}

// request is a check of the peer.
type request struct {
	from     path
	ufrag    string // the peer's; while its credentials are not known
	priority uint32
	nominate bool
}

// gone reports whether the connection that a check came by has ended.
func (r request) gone() bool { return r.from.stream != nil && r.from.stream.gone() }

// end closes the connection that a check came by, unless a pair has it.
func (r request) end() {
	if s := r.from.stream; s != nil && s.pair == nil {
		s.close()
	}
}

const (
	// maxLearned bounds the candidates learned from a peer's checks.
	maxLearned = 16
	// maxEarly bounds what is kept of checks that come before the credentials.
	maxEarly = 16
)

// newGeneration makes credentials, or takes those given.
func (a *agent) newGeneration(now time.Time, c Credentials) (*generation, error) {
	m := a.m
	if c == (Credentials{}) {
		var err error
		if c, err = newCredentials(m.secrets); err != nil {
			return nil, err
		}
		for m.byUfrag[c.Ufrag] != nil {
			if c, err = newCredentials(m.secrets); err != nil {
				return nil, err
			}
		}
	} else if m.byUfrag[c.Ufrag] != nil {
		return nil, &ConfigError{"Credentials", fmt.Sprintf("ufrag %q is another agent's on this endpoint; leave Credentials empty to have them made", c.Ufrag)}
	}
	g := &generation{a: a, local: c}
	m.byUfrag[c.Ufrag] = g
	return g, nil
}

// restart begins another generation. The one whose pair carries data stays until the new
// one has a pair.
func (a *agent) restart(now time.Time) error {
	g, err := a.newGeneration(now, Credentials{})
	if err != nil {
		return err
	}
	if u := a.cur.remote.Ufrag; u != "" {
		const remembered = 8
		a.past = append(a.past[max(0, len(a.past)-remembered+1):], u)
	}
	if a.selected != nil && a.selected.g == a.cur {
		if a.old != nil {
			a.old.drop(now)
		}
		a.old = a.cur
		a.old.stop()
	} else {
		a.cur.drop(now)
	}
	a.cur = g
	a.ordinary = time.Time{}
	return nil
}

// stop ends all checks but those of consent.
func (g *generation) stop() {
	g.hush()
	for _, p := range g.pairs {
		if p.state < Succeeded {
			p.abandon()
			p.hangUp()
			p.state, p.err = PairFailed, errRestarted
		}
	}
}

// hush ends the checks that were to be sent out of turn.
func (g *generation) hush() {
	for _, p := range g.wanted {
		p.due = false
	}
	g.wanted, g.nominating, g.nominateAt = nil, nil, time.Time{}
}

// drop forgets the generation.
func (g *generation) drop(now time.Time) {
	m := g.a.m
	delete(m.byUfrag, g.local.Ufrag)
	for _, p := range g.pairs {
		was := p.valid
		p.abandon()
		if was {
			g.a.tell(now, Event{Kind: EventInvalid, Pair: p.public(), Err: errRestarted})
		}
		p.hangUp()
	}
	for _, r := range g.early {
		r.end()
	}
	g.pairs, g.wanted, g.remotes, g.early = nil, nil, nil, nil
}

// setRemote takes in the peer's credentials, and what has come before them.
func (g *generation) setRemote(now time.Time, c Credentials) {
	g.remote, g.began = c, now
	g.a.release(now)
	early := g.early
	g.early = nil
	for _, r := range early {
		if r.ufrag == c.Ufrag && !r.gone() { // else it is of another that our offer went to
			g.trigger(now, r)
		}
		r.end()
	}
}

// replays remembers the last checks of the peer: the same transaction from another
// address is a recording.
type replays struct {
	ring []replay
	next int
}

const maxReplays = 16

type replay struct {
	id   wire.TransactionID
	from netip.AddrPort
}

// foreign reports whether id has come from another address before, and notes it.
func (r *replays) foreign(id wire.TransactionID, from netip.AddrPort) bool {
	for _, s := range r.ring {
		if s.id == id {
			return s.from != from
		}
	}
	if len(r.ring) < maxReplays {
		r.ring = append(r.ring, replay{id, from})
		return false
	}
	r.ring[r.next] = replay{id, from}
	r.next = (r.next + 1) % maxReplays
	return false
}

// find returns the peer's candidate at an address, or nil.
func (g *generation) find(t Transport, at netip.AddrPort) *remote {
	return g.findTyped(t, NotTCP, at)
}

// findTyped is find, and of several of TCP at one address the one of a type first: a peer
// without a NAT listens at the address that it also opens connections from.
func (g *generation) findTyped(t Transport, typed TCPType, at netip.AddrPort) *remote {
	if t == TCP {
		for _, r := range g.remotes {
			if r.cand.Transport == TCP && r.cand.TCPType == typed && r.addr == at {
				return r
			}
		}
	}
	i := slices.IndexFunc(g.remotes, func(r *remote) bool { return r.cand.Transport == t && r.addr == at })
	if i < 0 {
		return nil
	}
	return g.remotes[i]
}
