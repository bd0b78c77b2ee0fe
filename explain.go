package bradawl

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/natprobe"
)

// Step is one thing that happened to a connection.
type Step struct {
	After time.Duration // since its beginning
	What  string        // in a few words, for people
	Err   error
}

// maxSteps bounds a link's story. The first half of it stays.
const maxSteps = 100

// note adds to the story of the paths.
func (k *link) note(now time.Time, what string, err error) {
	if len(k.story) == maxSteps {
		k.story = slices.Delete(k.story, maxSteps/2, maxSteps/2+1)
	}
	k.story = append(k.story, Step{now.Sub(k.began), what, err})
}

// Explanation says how a connection came to use the path that it uses. It is a copy.
type Explanation struct {
	Peer       PeerID
	State      string           // "dialing", "waiting", "checking", "connected", "lost", "over"
	Elapsed    time.Duration    // from the dial, or the peer's offer, to the first path; 0: there is none
	Path       Path             // in use
	Paths      []Path           // that work, in no order
	Candidates []Candidate      // ours, then the peer's
	Checks     []Check          // every pair of addresses, the best first
	Lanes      []LaneReport     // attempts at hard NATs, and the ways that are ruled out
	Routers    []string         // what the routers here said to port mapping, in their own words
	Local      natprobe.Profile // our NAT, as far as it is known
	Remote     natprobe.Profile // the peer's, as the peer says
	Reason     Reason           // why no direct path is in use, in a word; ReasonNone: one is
	Why        string           // the same in a sentence, with what is done about it and what would change it
	Infeasible bool             // Reason.Infeasible: no direct path is possible without a change in one of the networks
	// Shared is how many other connections to the peer use the same paths: what is said of
	// them is said of all.
	Shared int
	Story  []Step // of the paths; what was before this connection began has a negative After
}

// Candidate is an address at which one side may be reached.
type Candidate struct {
	Ours     bool   // not the peer's
	Type     string // "host", "srflx", "prflx" or "relay"
	Protocol string // "udp" or "tcp"
	Addr     string // IP:PORT
	Priority uint32 // RFC 8445 section 5.1.2; the highest is tried first
	Score    string // ours: why the priority is what it is
}

// Check is what became of one pair of addresses.
type Check struct {
	Path     Path
	State    string // "frozen", "waiting", "in-progress", "succeeded", "failed"
	Sent     int    // checks of ours
	Answered int    // of those
	Heard    int    // checks of the peer
	Err      error
}

// explain says how things stand. It needs no time, but is asked as all of the control is.
func (c *control) explain(_ time.Time, number uint32) (Explanation, bool) {
	k := c.conns[number]
	if k == nil {
		return Explanation{}, false
	}
	return k.explain(), true
}

func (k *connection) explain() Explanation {
	m := k.c.ice
	e := Explanation{
		Peer: k.peer, State: connStates[k.state], Path: k.public(k.path), Local: k.c.profile, Remote: k.profile, Shared: len(k.conns) - 1,
	}
	for _, s := range k.story {
		s.After -= k.began.Sub(k.link.began)
		e.Story = append(e.Story, s)
	}
	if k.rides {
		i := slices.IndexFunc(e.Story, func(s Step) bool { return s.After > 0 })
		if i < 0 {
			i = len(e.Story)
		}
		e.Story = slices.Insert(e.Story, i, Step{What: "this connection is dialled, on the paths that there are"})
	}
	if !k.readyAt.IsZero() {
		e.Elapsed = k.readyAt.Sub(k.began)
	}
	for _, p := range k.paths {
		e.Paths = append(e.Paths, k.public(p))
	}
	for _, s := range m.Candidates(k.agent) {
		c := candidateOf(s.Candidate)
		c.Ours, c.Score = true, fmt.Sprint(s.Score)
		e.Candidates = append(e.Candidates, c)
	}
	for _, r := range m.RemoteCandidates(k.agent) {
		e.Candidates = append(e.Candidates, candidateOf(r))
	}
	for _, p := range m.Pairs(k.agent) {
		c := Check{pathOf(p), p.State.String(), p.Sent, p.Answered, p.Requests, p.Err}
		if slices.Contains(k.relays, p.Remote.Addr) {
			c.Path.Kind = PathRelay
		}
		e.Checks = append(e.Checks, c)
	}
	e.Lanes = k.laneReports()
	why := k.why()
	e.Reason, e.Why, e.Infeasible = why.reason, k.told(why), why.reason.Infeasible()
	return e
}

func candidateOf(c ice.Candidate) Candidate {
	return Candidate{Type: c.Type.String(), Protocol: c.Transport.String(), Addr: c.Addr.String(), Priority: c.Priority}
}

// failure is the error of a connection that came to nothing in time, or whose last path has
// been gone for long.
func (k *connection) failure(now time.Time) *PathsError {
	e := &PathsError{Peer: k.peer, Elapsed: now.Sub(k.began), Err: ErrNoPath}
	why := k.why()
	e.Reason, e.Why = why.reason, k.told(why)
	switch k.state {
	case dialing, waiting:
		if e.Err = ErrNoAnswer; e.Reason == ReasonNotSignedOn {
			e.Err = ErrNotSignedOn
		}
		return e
	case lost:
		e.Err = ErrLost
	}
	for _, p := range k.c.ice.Pairs(k.agent) {
		err := p.Err
		if err == nil {
			err = ice.ErrSilent
		}
		e.Tried = append(e.Tried, PathError{pathOf(p), p.Sent, err})
	}
	return e
}

// String tells the whole story, for people.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "peer %s: %s\n", e.Peer.Short(), e.State)
	if e.Path.IsValid() {
		fmt.Fprintf(&b, "path: %v, round trip %v, loss %.0f %%\n", e.Path, e.Path.RTT.Round(time.Millisecond/10), 100*e.Path.Loss)
	}
	if e.Elapsed > 0 {
		fmt.Fprintf(&b, "usable after %v\n", e.Elapsed.Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "why: %s\n", e.Why)
	if e.Reason != ReasonNone {
		fmt.Fprintf(&b, "reason: %v\n", e.Reason)
	}
	if e.Shared > 0 {
		fmt.Fprintf(&b, "shared: %d more to the same peer by the same paths\n", e.Shared)
	}
	for i, nat := range []natprobe.Profile{e.Local, e.Remote} {
		if nat != (natprobe.Profile{}) {
			fmt.Fprintf(&b, "%s NAT: %v, %s\n", [...]string{"your", "the peer's"}[i], nat.Type, natOf(nat))
		}
	}
	for _, c := range e.Candidates {
		whose := "the peer's"
		if c.Ours {
			whose = "our"
		}
		fmt.Fprintf(&b, "  %s %s candidate %s %s, priority %d\n", whose, c.Type, c.Protocol, c.Addr, c.Priority)
	}
	for _, c := range e.Checks {
		fmt.Fprintf(&b, "  %-11s %v: %d sent, %d answered, %d heard", c.State, c.Path, c.Sent, c.Answered, c.Heard)
		if c.Err != nil {
			fmt.Fprintf(&b, ": %v", c.Err)
		}
		b.WriteByte('\n')
	}
	for _, w := range e.Routers {
		fmt.Fprintf(&b, "  router %s\n", w)
	}
	for _, l := range e.Lanes {
		fmt.Fprintf(&b, "  lane %v\n", l)
	}
	for _, s := range e.Story {
		fmt.Fprintf(&b, "  %8v %s", s.After.Round(time.Millisecond), s.What)
		if s.Err != nil {
			fmt.Fprintf(&b, ": %v", s.Err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
