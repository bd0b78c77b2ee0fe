package bradawl

import (
	"fmt"
	"slices"

	"github.com/bradawl/bradawl/ice"
)

// turnServers is what is known of TURN servers beside the addresses that they give.
type turnServers struct {
	asked bool  // there is one, which is asked for an address
	vain  error // why the last that was of no use was; nil: none was
}

// asksTURN tells that there is a TURN server, which is asked for an address.
func (c *control) asksTURN() { c.turn.asked = true }

// noRelay tells that a TURN server was of no use. It may be asked again.
func (c *control) noRelay(why error) { c.turn.vain = why }

// withoutRelay says why no relay of ours does it where no direct path is found; "": we have one,
// or want none.
func (k *link) withoutRelay() string {
	relays := func(s ice.Scored) bool { return s.Candidate.Type == ice.Relay }
	switch t := k.c.turn; {
	case k.c.cfg.policy == DirectOnly || slices.ContainsFunc(k.c.ice.Candidates(k.agent), relays):
		return ""
	case t.vain != nil:
		return fmt.Sprintf("; no relay here: %v", t.vain)
	case t.asked:
		return "; no relay here: the TURN server has not answered yet"
	}
	return "; no TURN server is known here: name one in Config.TURN, or have the rendezvous hand one out"
}
