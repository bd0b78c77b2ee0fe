package ice

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/words"
)

// AgentID names one agent of a [Machine].
type AgentID uint32

// EventKind is the sort of an Event.
type EventKind uint8

// The kinds of events.
const (
	EventState      EventKind = iota // From became State; Err says why
	EventCandidate                   // Candidate is to be told to the peer, with Credentials.Ufrag
	EventGathered                    // no more candidates are to be told: end-of-candidates (RFC 8838 section 13)
	EventPassedOver                  // the peer's Candidate is not checked: Err says why
	EventValid                       // Pair can carry data
	EventInvalid                     // Pair cannot any more: Err says why
	EventSelected                    // Pair carries data from now on; without a route: no pair does
	EventRole                        // the agent's role changed, by a conflict (RFC 8445 section 7.3.1.1): Controlling
	EventRestarted                   // the peer restarted, so the agent did: tell it the new Credentials
	EventServer                      // a STUN server was of no use: Err says why; Agent is 0
	EventChecked                     // a first check of the peer under our credentials came: it knows them
	EventReflexive                   // a STUN server (Candidate.Related) sees Base at Candidate.Addr, for the first time, still, or from now on; Agent is 0
	EventBaseGone                    // Base is not used any more, nor are its pairs, whose EventInvalid follow: Err says why; Agent is 0
	EventData                        // Data came from the peer by Pair.Route
	EventClosed                      // the agent is gone; its last event
)

var eventNames = words.Of[EventKind](
	"state", "candidate", "gathered", "passed-over", "valid", "invalid", "selected", "role", "restarted", "server", "checked", "reflexive", "base-gone", "data", "closed",
)

// String returns the kind's name.
func (k EventKind) String() string { return eventNames.String(k) }

// Event is something that happened to an agent. Which fields are set depends on Kind;
// At, Agent and State always are.
type Event struct {
	Kind        EventKind
	At          time.Time
	Agent       AgentID
	From        State // EventState: the one before
	State       State
	Candidate   Candidate
	Base        BaseID      // EventReflexive, EventBaseGone
	Credentials Credentials // EventRestarted; of the generation, without the password, in EventCandidate and EventGathered
	Pair        Pair
	Controlling bool   // EventRole: we are, from now on
	Data        []byte // EventData: the receiver's
	Missed      int    // events that were dropped before this one, because nobody took them (Agent.Next)
	Err         error
}

// String tells of the event in one line, without At: no password, and of data the length alone.
func (e Event) String() string {
	text := e.Kind.String()
	if e.Agent != 0 {
		text = fmt.Sprintf("agent %d, %s", e.Agent, text)
	}
	switch e.Kind {
	case EventState:
		text += fmt.Sprintf(" %v -> %v", e.From, e.State)
	case EventCandidate, EventPassedOver:
		text += " " + e.Candidate.String()
	case EventReflexive:
		text += fmt.Sprintf(" base %d seen at %v", e.Base, e.Candidate.Addr)
	case EventBaseGone:
		text += fmt.Sprintf(" %d", e.Base)
	case EventValid, EventInvalid, EventSelected:
		text += ", " + e.Pair.String()
	case EventRole:
		text += " " + map[bool]string{true: "controlling", false: "controlled"}[e.Controlling]
	case EventRestarted:
		text += fmt.Sprintf(", %v", e.Credentials)
	case EventData:
		text += fmt.Sprintf(", %d bytes", len(e.Data))
	}
	if e.Err != nil {
		text += ": " + strings.TrimPrefix(e.Err.Error(), "ice: ")
	}
	if e.Missed > 0 {
		text += fmt.Sprintf("; %d before it were missed", e.Missed)
	}
	return text
}

// Route is how datagrams get to the peer by way of one pair.
type Route struct {
	Socket machine.SocketID // of the machine, for UDP and relays
	Stream machine.StreamID // for TCP; 0: none
	Local  netip.AddrPort   // to send from, where the socket has several addresses; of the stream; else not valid
	Remote netip.AddrPort   // to send to
}

// Pair is a pair of candidates and what is known of it.
type Pair struct {
	// Local is the candidate that the peer sees: peer-reflexive, where it is none that was
	// gathered. Before the pair is valid, it is the one of the pair's base.
	Local, Remote Candidate
	Route         Route
	State         PairState
	Priority      uint64        // RFC 8445 section 6.1.2.3
	Valid         bool          // data can be sent
	Nominated     bool          // by the controlling side
	Selected      bool          // data is sent
	RTT           time.Duration // median of the last checks that were answered; 0: none yet
	Sent          int           // checks
	Answered      int           // of those
	Requests      int           // checks of the peer
	Err           error         // what was wrong last
}

// String tells the pair's ends in a few words, such as "udp host 192.0.2.1:5 -> relay 198.51.100.1:6".
func (p Pair) String() string {
	if !p.IsValid() {
		return "no pair"
	}
	return fmt.Sprintf("%v %v %v -> %v %v", p.Local.Transport, p.Local.Type, p.Local.Addr, p.Remote.Type, p.Remote.Addr)
}

// IsValid reports whether p is a pair at all.
func (p Pair) IsValid() bool { return p.Route.Remote.IsValid() }
