package punch

import "github.com/bradawl/bradawl/natprobe"

// Plan is provisional.
func Plan(l, r natprobe.Profile, b Budget) []Lane {
	hard := func(p natprobe.Profile) bool {
		return p.Mapping > natprobe.MappingEndpointIndependent
	}
	seq := func(p natprobe.Profile) bool {
		return p.Ports.Model == natprobe.PortsSequential || p.Ports.Model == natprobe.PortsPreserving
	}
	blk := func(p natprobe.Profile) bool { return p.Ports.Model == natprobe.PortsBlock }
	k := LaneNone
	side := Neither
	h := natprobe.Profile{}
	switch {
	case hard(l) && hard(r):
		side = Both
		if seq(l) && seq(r) {
			k = LaneCrossing
		} else if (blk(l) || seq(l)) && (blk(r) || seq(r)) {
			k = LaneBlocks
		}
	case hard(l):
		side, h = Ours, l
	case hard(r):
		side, h = Theirs, r
	default:
		return []Lane{{Kind: LanePlain, Probability: 1}}
	}
	if side != Both {
		if k = LaneBirthday; seq(h) {
			k = LanePredicted
		}
	}
	if k == LaneNone {
		return []Lane{{Kind: LaneBirthday, Ruled: "no"}}
	}
	return []Lane{{Kind: k, Hard: side, Probability: .9, Sockets: 256, Probes: 1600, Entries: 1600}}
}
