package bradawl

import (
	"github.com/bradawl/bradawl/internal/words"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// Reason is why a connection does not use a direct path, in a word: a closed set, the same in
// an [Explanation], in a [PathsError] and in what is recorded for statistics. It marshals as
// text. The zero value: it does.
type Reason uint8

// The reasons. Each has its sentence and what would change it: see Sentence and Remedy.
const (
	ReasonNone        Reason = iota // the path is direct
	ReasonOver                      // the connection has ended
	ReasonNotSignedOn               // the offer is not out: there is no signalling
	ReasonDialing                   // the peer has not answered yet
	ReasonWaiting                   // Config.AllowPeer has not decided yet
	ReasonRelayOnly                 // Config.Policy wants relays alone
	ReasonNoPairs                   // there is nothing to check
	ReasonUnanswered                // checks that should do have not been answered: a firewall, perhaps, or they go on
	ReasonNoSTUN                    // they have not, and no STUN server has answered
	ReasonNATUnknown                // they have not, and what one of the NATs does is not known

	// A direct path works, and is not used.
	ReasonDirectNarrow  // it does not carry full datagrams
	ReasonDirectInDoubt // it does not answer at the moment
	ReasonRelayBetter   // by loss or round trips

	// What the networks do keeps plain checks from getting through.
	ReasonLocalUDPBlocked  // UDP does not get out of our network
	ReasonRemoteUDPBlocked // of the peer's
	ReasonBothUDPBlocked   // of either
	ReasonLocalSymmetric   // our NAT gives each destination another port, and the peer's lets no stranger in
	ReasonRemoteSymmetric  // the other way about
	ReasonBothSymmetric    // both NATs give each destination another port
	ReasonNoHairpin        // both are behind one NAT that does not turn packets back

	// The same, where no lane gets through either, whatever the budget: between two NATs of which
	// one keeps its ports, there always is one.
	ReasonInfeasibleLocalUDPBlocked
	ReasonInfeasibleRemoteUDPBlocked
	ReasonInfeasibleBothUDPBlocked
	ReasonInfeasibleBothSymmetric

	numReasons
)

// row is what there is to know of a reason. Who adds one fills in a row, and the words for it
// in package stats and on its dashboard; a test says where one is missing.
type row struct {
	word, sentence, remedy string

	open       bool // more time may bring what is missing: it is recorded as a time-out
	infeasible bool
	obstacle   punch.Obstacle // between the networks, that the reason stands for
	on         punch.Side     // where; Neither: wherever it is
}

const mapPort = "enable UPnP or PCP on either router"

var reasons = [numReasons]row{
	ReasonNone: {
		word:     "none",
		sentence: "direct",
	},
	ReasonOver: {
		word:     "over",
		sentence: "the connection is over",
		remedy:   "dial again",
	},
	ReasonNotSignedOn: {
		word:     "not_signed_on",
		sentence: "not signed on",
		remedy:   "see that the signalling can be reached",
	},
	ReasonDialing: {
		word:     "dialing",
		sentence: "the peer has not answered yet; its program may hang, or its AllowPeer not have decided",
	},
	ReasonWaiting: {
		word:     "waiting",
		sentence: "the peer has dialled, and AllowPeer has not decided yet",
	},
	ReasonRelayOnly: {
		word:     "relay_only",
		sentence: "relays alone are used, as Config.Policy wants it",
		remedy:   "use another Policy than RelayOnly",
	},
	ReasonNoPairs: {
		word:     "no_pairs",
		sentence: "there is no direct pair of addresses to check: the two sides have no family or transport in common, one of them wants relays alone, or there are no candidates yet",
		remedy:   "let both sides have IPv4 or both IPv6, and one transport, by Config.Networks and Config.Addrs, and a Policy that shows addresses",
	},
	ReasonUnanswered: {
		word: "unanswered", open: true,
		sentence: "no direct pair of addresses has been answered, though the NATs allow it",
		remedy:   "look for a firewall that drops UDP between them",
	},
	ReasonNoSTUN: {
		word: "no_stun", open: true,
		sentence: "no STUN server has answered: they are down, or UDP does not get out of your network",
		remedy:   "let UDP out of your network, or allow TCP or relays",
	},
	ReasonNATUnknown: {
		word: "nat_unknown", open: true, obstacle: punch.ObstacleUnknown,
		sentence: "no direct pair of addresses has been answered, and what a NAT does is not known",
		remedy:   "give both sides STUN servers at two addresses or more, which tell",
	},

	ReasonDirectNarrow: {
		word:     "direct_narrow",
		sentence: "relayed, for the direct path does not carry full datagrams",
		remedy:   "look for a tunnel on the way with an MTU below 1280",
	},
	ReasonDirectInDoubt: {
		word:     "direct_in_doubt",
		sentence: "relayed, for the direct path does not answer at the moment",
		remedy:   "wait: it is used again when it does",
	},
	ReasonRelayBetter: {
		word:     "relay_better",
		sentence: "relayed, for the relay is better",
		remedy:   "wait: it is measured on, and used when it is as good",
	},

	ReasonLocalUDPBlocked: {
		word: "local_udp_blocked", obstacle: punch.ObstacleBlocked, on: punch.Ours,
		sentence: "UDP does not get out of your network",
		remedy:   "let UDP out of your network, or allow TCP",
	},
	ReasonRemoteUDPBlocked: {
		word: "remote_udp_blocked", obstacle: punch.ObstacleBlocked, on: punch.Theirs,
		sentence: "UDP does not get out of the peer's network",
		remedy:   "let UDP out of the peer's network, or allow TCP",
	},
	ReasonBothUDPBlocked: {
		word: "both_udp_blocked", obstacle: punch.ObstacleBlocked, on: punch.Both,
		sentence: "UDP does not get out of either network",
		remedy:   "let UDP out of both networks, or allow TCP",
	},
	ReasonLocalSymmetric: {
		word: "local_symmetric", obstacle: punch.ObstaclePorts, on: punch.Ours,
		sentence: "your NAT is symmetric, and the peer's lets in only what it has sent to",
		remedy:   mapPort,
	},
	ReasonRemoteSymmetric: {
		word: "remote_symmetric", obstacle: punch.ObstaclePorts, on: punch.Theirs,
		sentence: "peer's NAT is symmetric, and yours lets in only what it has sent to",
		remedy:   mapPort,
	},
	ReasonBothSymmetric: {
		word: "both_symmetric", obstacle: punch.ObstaclePorts, on: punch.Both,
		sentence: "peer's NAT is symmetric, and so is yours",
		remedy:   mapPort,
	},
	ReasonNoHairpin: {
		word: "no_hairpin", obstacle: punch.ObstacleHairpin,
		sentence: "both sides are behind one NAT that does not turn packets back, and do not reach each other by their local addresses",
		remedy:   "let the hosts of the network reach each other, or enable hairpinning (NAT loopback) on the router",
	},

	ReasonInfeasibleLocalUDPBlocked: {
		word: "infeasible_local_udp_blocked", infeasible: true, obstacle: punch.ObstacleBlocked, on: punch.Ours,
		sentence: "UDP does not get out of your network, and no port of TCP can be foretold",
		remedy:   "let UDP out of your network",
	},
	ReasonInfeasibleRemoteUDPBlocked: {
		word: "infeasible_remote_udp_blocked", infeasible: true, obstacle: punch.ObstacleBlocked, on: punch.Theirs,
		sentence: "UDP does not get out of the peer's network, and no port of TCP can be foretold",
		remedy:   "let UDP out of the peer's network",
	},
	ReasonInfeasibleBothUDPBlocked: {
		word: "infeasible_both_udp_blocked", infeasible: true, obstacle: punch.ObstacleBlocked, on: punch.Both,
		sentence: "UDP does not get out of either network, and no port of TCP can be foretold",
		remedy:   "let UDP out of both networks",
	},
	ReasonInfeasibleBothSymmetric: {
		word: "infeasible_both_symmetric", infeasible: true, obstacle: punch.ObstaclePorts, on: punch.Both,
		sentence: "peer's NAT is symmetric, and so is yours: neither side can know where the other will be",
		remedy:   mapPort,
	},
}

var reasonWords = words.By[Reason](reasons[:], func(r row) string { return r.word })

func (r Reason) row() row {
	if r < numReasons {
		return reasons[r]
	}
	return row{}
}

// Reasons returns all reasons but ReasonNone, in the order of the constants.
func Reasons() []Reason {
	var all []Reason
	for r := ReasonNone + 1; r < numReasons; r++ {
		all = append(all, r)
	}
	return all
}

// String returns the reason in a word, such as "both_symmetric"; "none" for ReasonNone. What is
// none of the constants has no word, but reads as such as "Reason(200)".
func (r Reason) String() string { return reasonWords.String(r) }

// Sentence says the same in a sentence, of any connection. Of one in particular,
// Explanation.Why says more.
func (r Reason) Sentence() string { return r.row().sentence }

// Remedy says what would lead to a direct path, or to one being used; "" where nothing is
// amiss.
func (r Reason) Remedy() string { return r.row().remedy }

// Infeasible reports whether no direct path is possible without a change in one of the
// networks.
func (r Reason) Infeasible() bool { return r.row().infeasible }

// MarshalText returns what String does, or an error if r is none of the constants.
func (r Reason) MarshalText() ([]byte, error) { return reasonWords.Marshal(r) }

// UnmarshalText reads what MarshalText wrote. The error names the words that there are.
func (r *Reason) UnmarshalText(text []byte) error { return reasonWords.Unmarshal(text, r) }

// status is how a stage is recorded that ends for the reason.
func (r Reason) status() stats.Status {
	if r.row().open {
		return stats.StatusTimeOut
	}
	return stats.StatusFail
}

// reasonFor is the reason that stands for an obstacle between two networks. Where plain
// checks should do, it is that they have not been answered; of addresses of two families, that
// what NATs do to the one that both sides have is not known.
func reasonFor(o punch.Obstacle, on punch.Side, infeasible bool) Reason {
	switch o {
	case punch.ObstacleNone:
		return ReasonUnanswered
	case punch.ObstacleFamilies:
		return ReasonNATUnknown
	}
	found := ReasonUnanswered
	for _, r := range Reasons() {
		switch row := r.row(); {
		case row.obstacle != o || row.on != punch.Neither && row.on != on:
		case row.infeasible == infeasible:
			return r
		case !row.infeasible:
			found = r
		}
	}
	return found
}
