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
	Why        string           // why it is as it is, and what would change that
	Infeasible bool             // no direct path is possible without a change at one of the routers
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

// explain says how things stand.
func (c *control) explain(now time.Time, number uint32) (Explanation, bool) {
	k := c.conns[number]
	if k == nil {
		return Explanation{}, false
	}
	return k.explain(now), true
}

func (k *connection) explain(time.Time) Explanation {
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
	e.Why, e.Infeasible = k.why()
	return e
}

func candidateOf(c ice.Candidate) Candidate {
	return Candidate{Type: c.Type.String(), Protocol: c.Transport.String(), Addr: c.Addr.String(), Priority: c.Priority}
}

// why says why the path is what it is, and whether it cannot be otherwise.
func (k *connection) why() (string, bool) {
	switch {
	case k.state == dialing && !k.rides && k.c.unsigned != nil:
		return fmt.Sprintf("not signed on: %v", k.c.unsigned), false
	case k.state == dialing:
		return "the peer has not answered yet; its program may hang, or its AllowPeer not have decided", false
	case k.state == waiting:
		return "the peer has dialled, and AllowPeer has not decided yet", false
	case k.path != nil && !k.path.relayed:
		return "direct: " + k.public(k.path).String(), false
	case k.c.cfg.policy == RelayOnly:
		return "relayed, as Config.Policy wants it", false
	case len(k.c.ice.Pairs(k.agent)) == 0:
		return "there is no pair of addresses to check: the two sides have no family or transport in common, or no candidates yet", false
	}
	if k.path != nil {
		for _, p := range k.paths {
			switch {
			case p.relayed:
			case p.narrow:
				return "relayed, for the direct path does not carry full datagrams: " + k.public(p).String(), false
			case p.doubt:
				return "relayed, for the direct path does not answer at the moment: " + k.public(p).String(), false
			default:
				return fmt.Sprintf("relayed, for the relay is better: %v, round trip %v, loss %.0f %%, against %v, %v, %.0f %%",
					k.public(k.path), k.path.rtt(), 100*k.path.loss(), k.public(p), p.rtt(), 100*p.loss()), false
			}
		}
	}
	if k.c.mute && k.c.profile == (natprobe.Profile{}) {
		return "no STUN server has answered: they are down, or UDP does not get out of your network; open it, or allow TCP or relays", false
	}
	return k.whyNoLane(whyNotDirect(k.c.profile, k.profile))
}

const elsewhere = "neither side can know where the other will be; enable UPnP or PCP on either router"

const remedy = "infeasible without port mapping; enable UPnP or PCP on either router"

// whyNotDirect says what keeps two NATs apart, as far as their profiles tell, and whether
// that cannot be helped.
func whyNotDirect(ours, theirs natprobe.Profile) (string, bool) {
	unknown := natprobe.Profile{}
	switch {
	case ours.Type == natprobe.TypeUDPBlocked:
		return "UDP does not get out of your network; open it, or allow TCP", false
	case theirs.Type == natprobe.TypeUDPBlocked:
		return "UDP does not get out of the peer's network; open it there, or allow TCP", false
	case ours == unknown && theirs == unknown:
		return "no direct pair of addresses has been answered, and neither NAT is known yet", false
	case ours == unknown:
		return "no direct pair of addresses has been answered; what your NAT does is not known yet", false
	case theirs == unknown:
		return "no direct pair of addresses has been answered; what the peer's NAT does is not known", false
	case symmetric(ours) && symmetric(theirs):
		text := fmt.Sprintf("peer's NAT is symmetric with %s, and so is yours, with %s: ", portsOf(theirs), portsOf(ours))
		if wholeRange(ours) && wholeRange(theirs) {
			return text + remedy, true
		}
		return text + elsewhere, false
	case symmetric(theirs) && filtersByPort(ours):
		return oneSided("peer's NAT is symmetric with "+portsOf(theirs)+"; yours filters by port: ", theirs)
	case symmetric(ours) && filtersByPort(theirs):
		return oneSided("your NAT is symmetric with "+portsOf(ours)+"; the peer's filters by port: ", ours)
	}
	return fmt.Sprintf("no direct pair of addresses has been answered, though the NATs allow it (yours: %v; the peer's: %v): a firewall may drop UDP between them, or one NAT has more to it than was found", natOf(ours), natOf(theirs)), false
}

// oneSided ends the explanation of a pair of which one is symmetric.
func oneSided(text string, hard natprobe.Profile) (string, bool) {
	if wholeRange(hard) {
		return text + remedy, true
	}
	return text + "a plain punch does not meet the port; enable UPnP or PCP on either router", false
}

func symmetric(p natprobe.Profile) bool {
	return (p.Mapping == natprobe.MappingAddressDependent || p.Mapping == natprobe.MappingAddressAndPortDependent) && p.Ports.Model != natprobe.PortsPreserving
}

func filtersByPort(p natprobe.Profile) bool {
	return p.Filtering == natprobe.FilteringAddressAndPortDependent
}

// wholeRange reports whether nothing narrows down the next port of a NAT.
func wholeRange(p natprobe.Profile) bool {
	const most = 16384 // ports that a birthday attack of a polite size can find one of
	spread := int(p.Ports.High) - int(p.Ports.Low) + 1
	return p.Ports.Model == natprobe.PortsRandom && (p.Ports.High == 0 || spread > most)
}

func portsOf(p natprobe.Profile) string {
	switch {
	case wholeRange(p):
		return "random ports over the whole range"
	case p.Ports.Model == natprobe.PortsSequential:
		return fmt.Sprintf("sequential ports, %+d each time", p.Ports.Delta)
	case p.Ports.Model == natprobe.PortsRandom, p.Ports.Model == natprobe.PortsBlock:
		return fmt.Sprintf("random ports from %d to %d", p.Ports.Low, p.Ports.High)
	}
	return "ports that were not found out"
}

func natOf(p natprobe.Profile) string {
	return fmt.Sprintf("%v mapping, %v filtering, %v ports", p.Mapping, p.Filtering, p.Ports.Model)
}

// failure is the error of a connection that came to nothing in time, or whose last path has
// been gone for long.
func (k *connection) failure(now time.Time) *PathsError {
	e := &PathsError{Peer: k.peer, Elapsed: now.Sub(k.began), Err: ErrNoPath}
	e.Why, _ = k.why()
	switch k.state {
	case dialing, waiting:
		e.Err = ErrNoAnswer
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
