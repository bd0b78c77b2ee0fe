package natprobe

import (
	"fmt"
	"time"
)

// Grade says whether a NAT keeps a requirement of an RFC.
type Grade struct {
	RFC         int     `json:"rfc"`
	Requirement string  `json:"requirement"` // "REQ-1" …
	About       string  `json:"about"`       // what it demands
	Kept        Verdict `json:"kept"`        // unknown: it was not, or cannot be, observed
	Because     string  `json:"because"`     // what was observed
}

// Grades holds the report against RFC 4787 (UDP) and, where TCP was looked at, RFC 5382.
// Requirements that cannot be observed from one host are left out; where there is no NAT
// there are no grades.
func (r *Report) Grades() []Grade {
	if r.NAT != Yes {
		return nil
	}
	var all []Grade
	udp := func(req int, about string, kept Verdict, because string) {
		all = append(all, Grade{4787, fmt.Sprintf("REQ-%d", req), about, kept, because})
	}
	mapping := VerdictUnknown
	if r.Mapping != MappingUnknown {
		mapping = verdict(r.Mapping == MappingEndpointIndependent)
	}
	udp(1, "endpoint-independent mapping", mapping, r.Mapping.String())
	udp(2, "paired address pooling", r.Paired, "paired: "+r.Paired.String())
	overloaded := VerdictUnknown
	if r.Ports.Overloaded == Yes {
		overloaded = No
	}
	udp(3, "no port overloading", overloaded, "overloaded: "+r.Ports.Overloaded.String())
	udp(4, "parity preserved", r.Ports.Parity, "parity: "+r.Ports.Parity.String())
	if l := r.Lifetime; l != nil {
		const least = 2 * time.Minute
		kept := VerdictUnknown
		shortest := l.Answered
		for _, s := range []Lifespan{l.Solitary, l.Stream} {
			if s != (Lifespan{}) && s.Estimate() < shortest.Estimate() {
				shortest = s
			}
		}
		switch {
		case shortest.Low >= least:
			kept = Yes
		case shortest.High > 0 && shortest.High <= least, shortest.High > 0 && shortest.Estimate() < least*9/10:
			kept = No
		}
		udp(5, "mappings live two minutes", kept, shortest.String())
		udp(6, "packets out refresh", l.RefreshOut, "packets out: "+l.RefreshOut.String()+", packets in: "+l.RefreshIn.String())
	}
	filtering := VerdictUnknown
	if r.Filtering != FilteringUnknown {
		filtering = verdict(r.Filtering != FilteringAddressAndPortDependent)
	}
	udp(8, "filtering endpoint-independent or address-dependent", filtering, r.Filtering.String())
	udp(9, "hairpinning", r.Hairpin, "hairpin: "+r.Hairpin.String())
	alg := VerdictUnknown
	if r.ALG != VerdictUnknown {
		alg = verdict(r.ALG == No)
	}
	udp(10, "addresses inside packets left alone", alg, "rewritten: "+r.ALG.String())
	deterministic := VerdictUnknown
	if r.Ports.Overloaded == Yes {
		deterministic = No
	}
	udp(11, "deterministic", deterministic, "whether the mapping changes when somebody collides: "+r.Ports.Overloaded.String())
	if r.Fragments != VerdictUnknown {
		udp(14, "fragments let through", r.Fragments, "fragments: "+r.Fragments.String())
	}
	if t := r.TCP; t != nil {
		kept := VerdictUnknown
		if t.Mapping != MappingUnknown {
			kept = verdict(t.Mapping == MappingEndpointIndependent)
		}
		all = append(all, Grade{5382, "REQ-1", "endpoint-independent mapping of TCP", kept, t.Mapping.String()})
	}
	return all
}
