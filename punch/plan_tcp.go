package punch

import (
	"math"
	"strings"

	"github.com/bradawl/bradawl/natprobe"
)

// What is planned for networks that let no UDP out. A NAT may treat TCP otherwise than UDP; what
// was found out of it is in the profile's TCP.

const (
	// tcpKnown is the chance of TCP between mappings that are known to stay the same: no profile
	// tells what a NAT lets in of it, and some drop a SYN that crosses another.
	tcpKnown = 0.95
	// tcpPlanRounds is how often a port is foretold in a plan, each time a new connection's.
	tcpPlanRounds = 3
)

const (
	tcpUnknown = "it is not known on both sides what the NAT does with TCP"
	tcpOnBoth  = "both NATs give each TCP connection another port"
)

// overTCP is the side as far as TCP is concerned. A NAT that preserves ports is one that keeps
// them: each side knows its own.
func (e end) overTCP() end {
	t := e
	t.blocked, t.keeps = false, natprobe.VerdictUnknown
	t.Mapping, t.Ports = e.TCP.Mapping, e.TCP.Ports
	switch t.Mapping {
	case natprobe.MappingEndpointIndependent:
		t.keeps = natprobe.Yes
	case natprobe.MappingAddressDependent, natprobe.MappingAddressAndPortDependent:
		t.keeps = natprobe.No
		if t.model() == natprobe.PortsPreserving {
			t.keeps = natprobe.Yes
		}
	}
	return t
}

// tcp is TCP between addresses that both sides know. Where nothing is known of TCP, most NATs
// keep one port for it, unless they give UDP another for each destination.
func (p *planner) tcp() planned {
	l := p.lane(LaneTCP)
	if l.ruled() {
		return l
	}
	if !p.a.blocked && !p.b.blocked {
		return l.rule(ObstacleNeedless, notBlocked)
	}
	chance, known := 0.6, 0
	if p.a.blocked && p.b.blocked {
		chance = 0.4
	}
	for _, e := range []end{p.a, p.b} {
		switch keeps := e.overTCP().keeps; {
		case keeps == natprobe.No, keeps == natprobe.VerdictUnknown && !e.blocked && e.keeps == natprobe.No && e.model() != natprobe.PortsPreserving:
			by := ObstacleUnknown // of TCP
			if p.a.overTCP().keeps == natprobe.No || p.b.overTCP().keeps == natprobe.No {
				by = ObstaclePorts
			}
			return l.rule(by, blockedWhere(p.a, p.b)+", and "+e.changes())
		case keeps == natprobe.Yes:
			known++
		}
		if !e.blocked && (e.Type == natprobe.TypeOpen || e.NAT == natprobe.No && e.filter == natprobe.FilteringEndpointIndependent) {
			chance = tcpKnown
		}
	}
	if known == 2 {
		chance = tcpKnown
	}
	return l.costs(p, chance, 2, 8, 1)
}

// tcpPredicted is TCP where one side's NAT gives each connection another port, but one that can
// be foretold.
func (p *planner) tcpPredicted() planned {
	l := p.lane(LaneTCPPredicted)
	a, b := p.a.overTCP(), p.b.overTCP()
	switch {
	case l.ruled():
		return l
	case !p.a.blocked && !p.b.blocked:
		return l.rule(ObstacleNeedless, notBlocked)
	case p.hairs == 0:
		return l.rule(ObstacleHairpin, noHairpin)
	case a.keeps == natprobe.VerdictUnknown || b.keeps == natprobe.VerdictUnknown:
		return l.rule(ObstacleUnknown, tcpUnknown)
	case a.keeps == natprobe.Yes && b.keeps == natprobe.Yes:
		return l.rule(ObstacleNeedless, noneToGuess)
	case a.keeps == natprobe.No && b.keeps == natprobe.No:
		l.Hard = Both
		return l.rule(ObstaclePorts, tcpOnBoth)
	}
	hard := a
	if a.keeps == natprobe.Yes {
		hard = b
	}
	l.Hard = hard.side
	if hard.model() != natprobe.PortsSequential {
		return l.rule(ObstaclePorts, hard.nat()+" "+strings.Replace(hard.ports(), "gives", "gives TCP", 1))
	}
	// On the hard side: two connections to STUN servers, and the one in between, of this round;
	// and that of the round before. On the other: one for each port, of this round.
	rounds := min(tcpPlanRounds, p.budget.tries()/tcpHardPackets)
	if rounds == 0 || p.budget.most() < tcpHardSockets {
		return l.rule(ObstacleBudget, noRoom)
	}
	once, ports := p.foretell(hard, min(p.budget.tries()/rounds, p.budget.most(), maxBracket), 2*tcpGap)
	chance := certain * hard.address() * p.hairs * (1 - math.Pow(1-once, float64(rounds)))
	if chance < p.least() {
		return l.rule(ObstacleBudget, p.crowded(chance))
	}
	return l.fits(p, chance, [3]int{tcpHardSockets, tcpHardPackets * rounds, 3 * rounds}, [3]int{ports, ports * rounds, ports * rounds})
}
