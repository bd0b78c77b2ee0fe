package bradawl

import "github.com/bradawl/bradawl/ice"

// Policy says which paths a session uses.
type Policy uint8

// The policies.
const (
	Auto       Policy = iota // every path there is
	DirectOnly               // no relays
	RelayOnly                // relays alone: the peer learns no address of ours
	NoHost                   // the host's own addresses are not told; what NATs and relays show is
)

func (p Policy) ice() ice.Policy {
	switch p {
	case RelayOnly:
		return ice.RelayOnly
	case NoHost:
		return ice.NoHost
	}
	return ice.AllCandidates
}
