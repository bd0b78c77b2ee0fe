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
	What  string
	Err   error
}

// maxSteps bounds a connection's story. The first half of it stays.
const maxSteps = 200

// note adds to the story.
func (k *connection) note(now time.Time, what string, err error) {
	if len(k.story) == maxSteps {
		k.story = slices.Delete(k.story, maxSteps/2, maxSteps/2+1)
	}
	k.story = append(k.story, Step{now.Sub(k.began), what, err})
}

// Explanation says how a connection came to use the path that it uses.
type Explanation struct {
	Peer       PeerID
	State      string
	Elapsed    time.Duration // from the dial, or the peer's offer, to the first path; 0: there is none
	Path       Path          // in use
	Paths      []Path        // that work, in no order
	Checks     []Check       // every pair of addresses, the best first
	Local      natprobe.Profile
	Remote     natprobe.Profile
	Why        string // why it is as it is, and what would change that
	Story      []Step
	Infeasible bool // no direct path is possible without a change at one of the routers
}

// Check is what became of one pair of addresses.
type Check struct {
	Path     Path
	State    string
	Sent     int // checks of ours
	Answered int
	Heard    int // checks of the peer
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
	e := Explanation{Peer: k.peer, State: connStates[k.state], Local: k.c.profile, Remote: k.profile, Story: slices.Clone(k.story)}
	if !k.readyAt.IsZero() {
		e.Elapsed = k.readyAt.Sub(k.began)
	}
	if k.path != nil {
		e.Path = k.public(k.path)
	}
	for _, p := range k.paths {
		e.Paths = append(e.Paths, k.public(p))
	}
	for _, p := range k.c.ice.Pairs(k.agent) {
		e.Checks = append(e.Checks, Check{pathOf(p), p.State.String(), p.Sent, p.Answered, p.Requests, p.Err})
	}
	e.Why, e.Infeasible = k.why()
	return e
}

// why says why the path is what it is.
func (k *connection) why() (string, bool) {
	switch {
	case k.path != nil && !k.path.relayed():
		return "direct: " + k.public(k.path).String(), false
	case k.c.cfg.policy == RelayOnly:
		return "relayed, as Config.Policy wants it", false
	}
	reason, infeasible := whyNotDirect(k.c.profile, k.profile)
	if k.path == nil {
		switch {
		case k.state == dialing:
			return "the peer has not answered yet", false
		case len(k.c.ice.Pairs(k.agent)) == 0:
			return "there is no pair of addresses to check: the two sides have no family or transport in common, or no candidates yet", false
		}
	}
	return reason, infeasible
}

// whyNotDirect says what keeps two NATs apart, as far as their profiles tell.
func whyNotDirect(ours, theirs natprobe.Profile) (string, bool) {
	hard := func(p natprobe.Profile) bool {
		return p.Mapping == natprobe.MappingAddressDependent || p.Mapping == natprobe.MappingAddressAndPortDependent
	}
	name := func(p natprobe.Profile) string {
		return fmt.Sprintf("%v mapping, %v filtering, ports %v", p.Mapping, p.Filtering, p.Ports.Model)
	}
	unknown := natprobe.Profile{}
	switch {
	case ours.Type == natprobe.TypeUDPBlocked:
		return "UDP does not get out of this network; open it, or allow TCP", false
	case theirs.Type == natprobe.TypeUDPBlocked:
		return "UDP does not get out of the peer's network; open it there, or allow TCP", false
	case ours == unknown || theirs == unknown:
		return "no direct pair has been answered; what the NATs are is not known on both sides yet", false
	case hard(ours) && hard(theirs):
		return fmt.Sprintf("both NATs give another port to each destination (ours: %s; the peer's: %s): infeasible without port mapping; enable UPnP, NAT-PMP or PCP on either router", name(ours), name(theirs)), true
	case hard(ours) && theirs.Filtering == natprobe.FilteringAddressAndPortDependent, hard(theirs) && ours.Filtering == natprobe.FilteringAddressAndPortDependent:
		return fmt.Sprintf("one NAT gives another port to each destination and the other lets in only ports that were sent to (ours: %s; the peer's: %s): a plain punch cannot meet; enable UPnP, NAT-PMP or PCP on either router", name(ours), name(theirs)), true
	}
	return fmt.Sprintf("no direct pair has been answered, though the NATs should allow one (ours: %s; the peer's: %s): a firewall may drop UDP between them", name(ours), name(theirs)), false
}

// failure is the error of a connection that came to nothing in time.
func (k *connection) failure(now time.Time) error {
	e := &PathsError{Peer: k.peer, Elapsed: now.Sub(k.began), Err: ErrNoPath}
	if k.state == dialing {
		e.Err = ErrNoAnswer
		return e
	}
	for _, p := range k.c.ice.Pairs(k.agent) {
		err := p.Err
		if err == nil {
			err = ice.ErrSilent
		}
		e.Tried = append(e.Tried, PathError{pathOf(p), p.Sent, err})
	}
	e.Why, _ = k.why()
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
	for _, c := range e.Checks {
		fmt.Fprintf(&b, "  %-11s %v: %d sent, %d answered, %d heard", c.State, c.Path, c.Sent, c.Answered, c.Heard)
		if c.Err != nil {
			fmt.Fprintf(&b, ": %v", c.Err)
		}
		b.WriteByte('\n')
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
