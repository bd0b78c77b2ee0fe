package natprobe

import "fmt"

// hairpinning tells whether the NAT takes a packet from the inside back in that is for one
// of its own outside addresses (RFC 4787 REQ 9). Two sockets send to each other's outside
// address at the same time, so that each opens the filter for the other; one packet that
// arrives says yes.
func (e *evidence) hairpinning(r *Report) {
	switch {
	case !e.hairpin:
		return
	case r.NAT == No:
		r.say("hairpin", "unknown", 0, "there is no NAT to turn packets around")
		return
	}
	sent, over := 0, false
	for _, p := range e.probes {
		if p.question != askHairpin {
			continue
		}
		if p.answered {
			r.Hairpin = Yes
			why := fmt.Sprintf("what was sent to the own outside address %v arrived from %v", p.dest, p.from)
			if p.from == p.sock.local {
				why += ", which is an inside address (against RFC 4787 REQ 9a)"
			}
			r.say("hairpin", "yes", 0.99, why)
			return
		}
		sent += len(p.sent)
		over = p.done && !p.moot && e.controlled(p)
	}
	if !over {
		r.say("hairpin", "unknown", 0, "the test could not be run to its end")
		return
	}
	r.Hairpin = No
	sure, why := certainty(sent-1, e.sent, e.answered), fmt.Sprintf("none of %d packets to own outside addresses arrived", sent)
	if r.Mapping != MappingEndpointIndependent && r.Filtering != FilteringEndpointIndependent {
		// The sender's outside address is another one then than the filter was opened for.
		sure *= 0.7
		why += "; as the mapping depends on the destination, the filter may have stopped them"
	}
	r.say("hairpin", "no", sure, why)
}
