package punch

import (
	"fmt"
	"math"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

const (
	// certain is the chance of what theory says works.
	certain = 0.99
	// enough is from what chance on a cheaper lane makes a costly one needless.
	enough = 0.9
	// worth is the least chance that a lane between two NATs which both change ports is run
	// for: the whole budget of both sides goes into it.
	worth = 0.05
	// aim is the chance that a birthday lane is made large enough for. It ends when it has met,
	// so what it takes mostly stays; only the unlucky go on for longer.
	aim = 0.9999

	// predictRounds is how often a port is foretold in a plan, each time a new socket's.
	predictRounds = 3
	// jitter is by how much packets that leave together may get apart on the way to the NAT.
	jitter = 5 * time.Millisecond
	// told is how old a port is by the time that the peer has been told of it.
	told = 200 * time.Millisecond
	// blockSize is how many sockets share the mappings of a NAT that maps by address and port.
	blockSize = 64
)

// planner plans between two ends.
type planner struct {
	a, b   end // ours and the peer's
	budget Budget
	one    float64 // the chance that one packet is enough
	apart  string  // why nothing is possible between these addresses; "": it is
	hairs  float64 // the chance that packets get from one side to the other's NAT
}

func newPlanner(local, remote natprobe.Profile, b Budget) *planner {
	p := &planner{a: newEnd(local, Ours), b: newEnd(remote, Theirs), budget: b, hairs: 1}
	ours, theirs := local.Mapped.Addr().Unmap(), remote.Mapped.Addr().Unmap()
	switch {
	case !ours.IsValid() || !theirs.IsValid():
	case ours.Is4() != theirs.Is4():
		p.apart = "one side's address is IPv4 and the other's is IPv6"
	case ours == theirs && p.behindOne():
		switch {
		case local.Hairpin == natprobe.Yes || remote.Hairpin == natprobe.Yes:
		case local.Hairpin == natprobe.No || remote.Hairpin == natprobe.No:
			p.hairs = 0
		default:
			p.hairs = 0.5
		}
	}
	p.one = max(p.letsIn(p.a, p.b), p.letsIn(p.b, p.a)) * p.hairs
	return p
}

// behindOne reports whether both sides have the same outside address.
func (p *planner) behindOne() bool {
	a := p.a.Mapped.Addr().Unmap()
	return a.IsValid() && a == p.b.Mapped.Addr().Unmap()
}

// lane starts a lane, ruled out where no UDP passes.
func (p *planner) lane(kind LaneKind) planned {
	l := planned{Lane: Lane{Kind: kind}}
	switch {
	case p.apart != "":
		return l.rule(ObstacleFamilies, p.apart)
	case !kind.OverTCP() && (p.a.blocked || p.b.blocked):
		return l.rule(ObstacleBlocked, blockedWhere(p.a, p.b))
	}
	return l
}

// rule rules a lane out.
func (l planned) rule(by Obstacle, why string) planned {
	return planned{Lane: Lane{Kind: l.Kind, Hard: l.Hard, Obstacle: by, Ruled: why}}
}

// costs fills in what a lane that costs little takes on either side.
func (l planned) costs(p *planner, chance float64, sockets, probes, entries int) planned {
	l.Probability = chance
	l.Sockets, l.Probes, l.Entries = sockets, probes, entries
	l.Time = lasting(probes, p.budget.Rate)
	l.total = 2 * (sockets + probes + entries)
	return l
}

func (p *planner) plain() planned {
	l := p.lane(LanePlain)
	if l.ruled() {
		return l
	}
	if p.behindOne() && p.hairs < 1 {
		return l.costs(p, 0.5, 0, 1, 1) // by local addresses
	}
	chance := certain
	for _, e := range []end{p.a, p.b} {
		switch e.keeps {
		case natprobe.No:
			if p.a.keeps == p.b.keeps {
				return l.rule(ObstaclePorts, onBothSides)
			}
			return l.rule(ObstaclePorts, e.changes())
		case natprobe.VerdictUnknown:
			chance *= 0.7
		}
		if e.Ports.Overloaded == natprobe.Yes {
			chance *= 0.9
		}
	}
	return l.costs(p, chance, 0, 1, 1)
}

// letsIn is the chance that x gets y's first packet, and that what x answers gets to y.
func (p *planner) letsIn(x, y end) float64 {
	if x.keeps == natprobe.No {
		// y sends to the mapping that x has for its STUN server; x answers from another.
		if x.filter != natprobe.FilteringEndpointIndependent || y.filter == natprobe.FilteringUnknown || y.filter == natprobe.FilteringAddressAndPortDependent {
			return 0
		}
		return 0.95 * x.address()
	}
	sure := 1.0
	if x.keeps == natprobe.VerdictUnknown {
		sure = 0.7
	}
	switch x.filter {
	case natprobe.FilteringEndpointIndependent:
		return sure * certain
	case natprobe.FilteringAddressDependent:
		if !y.Mapped.IsValid() {
			return 0
		}
		return sure * certain * y.address()
	case natprobe.FilteringUnknown:
		return sure * 0.25
	}
	return 0
}

func (p *planner) onePacket() planned {
	l := p.lane(LaneOnePacket)
	if l.ruled() {
		return l
	}
	if p.one > 0 {
		return l.costs(p, p.one, 0, 1, 1)
	}
	x, y := p.a, p.b
	if x.keeps == natprobe.No && y.keeps != natprobe.No {
		x, y = y, x
	}
	switch {
	case p.hairs == 0:
		return l.rule(ObstacleHairpin, noHairpin)
	case x.keeps == natprobe.No:
		return l.rule(ObstaclePorts, onBothSides+", and neither lets the other's first packet in")
	case x.filter == natprobe.FilteringAddressDependent:
		return l.rule(ObstacleFilter, x.nat()+" filters by address, and that of "+y.own()+" is not known")
	case y.keeps != natprobe.No:
		return l.rule(ObstacleFilter, x.nat()+" "+x.filters()+" and "+y.own()+" "+y.filters())
	}
	return l.rule(ObstacleFilter, x.nat()+" "+x.filters())
}

func (p *planner) mapped(mapped Side) planned {
	l := p.lane(LaneMapped)
	if l.ruled() {
		return l
	}
	chance := 0.0
	for _, e := range []end{p.a, p.b} {
		if mapped != e.side && mapped != Both {
			continue
		}
		switch e.Nested {
		case natprobe.Yes:
			chance = max(chance, 0.3) // another NAT lies beyond the router
		case natprobe.No:
			chance = max(chance, certain)
		default:
			chance = max(chance, 0.9)
		}
	}
	if chance == 0 {
		return l.rule(ObstacleUnmapped, noMapping)
	}
	return l.costs(p, chance, 0, 1, 1)
}

// guess finds the side whose ports are to be guessed, for lanes that guess one side's or
// both sides'; why not, where that is not to be done.
func (p *planner) guess(l planned, both bool) (_ planned, hard, easy end, chance float64) {
	a, b := p.a, p.b
	switch {
	case l.ruled():
	case p.hairs == 0:
		l = l.rule(ObstacleHairpin, noHairpin)
	case a.keeps == natprobe.Yes && b.keeps == natprobe.Yes:
		l = l.rule(ObstacleNeedless, noneToGuess)
	case p.one >= enough:
		x := a
		if p.letsIn(b, a) > p.letsIn(a, b) {
			x = b
		}
		l = l.rule(ObstacleNeedless, "one packet is enough, as "+x.nat()+" "+x.filters())
	case a.keeps == natprobe.No && b.keeps == natprobe.No:
		if l.Hard = Both; !both {
			l = l.rule(ObstaclePorts, onBothSides)
		}
	case a.keeps != natprobe.Yes && b.keeps != natprobe.Yes && a.keeps == b.keeps:
		l = l.rule(ObstacleUnknown, notKnown)
	default:
		hard, easy = a, b
		if a.keeps == natprobe.Yes || b.keeps == natprobe.No {
			hard, easy = b, a
		}
		if l.Hard = hard.side; both {
			l = l.rule(ObstacleNeedless, "only "+hard.nat()+" is known to give each destination another port")
		}
	}
	return l, hard, easy, a.sure() * b.sure() * hard.address() * p.hairs
}

// fits gives a lane that guesses what one side of it costs: ours, if the hard one is us.
func (l planned) fits(p *planner, chance float64, hard, easy [3]int) planned {
	l.Probability = chance
	ours := easy
	if l.Hard == Ours {
		ours = hard
	}
	l.Sockets, l.Probes, l.Entries = ours[0], ours[1], ours[2]
	l.Time = lasting(max(hard[2], easy[2]), p.budget.Rate) // repetitions are for what gets lost
	l.total = hard[0] + hard[1] + hard[2] + easy[0] + easy[1] + easy[2]
	return l
}

func (p *planner) predicted() planned {
	l, hard, _, sure := p.guess(p.lane(LanePredicted), false)
	if l.ruled() {
		return l
	}
	if m := hard.model(); m == natprobe.PortsRandom || m == natprobe.PortsBlock {
		return l.rule(ObstaclePorts, hard.nat()+" "+hard.ports())
	}
	// On the hard side: two that ask a STUN server, and the mapping in between.
	rounds := min(predictRounds, p.budget.most()/3, p.budget.tries()/4)
	if rounds == 0 {
		return l.rule(ObstacleBudget, noRoom)
	}
	once, ports := p.foretell(hard, p.budget.tries()/rounds, p.together())
	chance := sure * (1 - math.Pow(1-once, float64(rounds)))
	if hard.model() == natprobe.PortsUnknown {
		chance = sure * 0.1
	}
	if chance < p.least() {
		return l.rule(ObstacleBudget, p.crowded(chance))
	}
	return l.fits(p, chance, [3]int{3 * rounds, 4 * rounds, 4 * rounds}, [3]int{0, ports * rounds, ports * rounds})
}

// least is the chance below which no lane is run.
func (p *planner) least() float64 { return max(p.budget.Least, 0.001) }

// together is how long it takes that two packets of a bracket pass the NAT which leave as soon
// after each other as the budget lets them.
func (p *planner) together() time.Duration {
	return 2*time.Second/time.Duration(p.budget.Rate) + jitter
}

// foretell is the chance that a mapping between two answers of STUN servers is found by
// trying ports, at most most of them; the mappings of those are made within apart.
func (p *planner) foretell(e end, most int, apart time.Duration) (chance float64, ports int) {
	s, ok := sequenceOf(e.Profile, 0, 0)
	if !ok || s.Rate == 0 {
		return max(s.Kept, 0.1), min(2, max(most, 1))
	}
	mean := s.crowd(apart)
	// So many others come in between, all but never more; about half of them before ours.
	others, sum := 0, 0.0
	for ; sum < 0.999 && others < maxCrowd; others++ {
		sum += poissonAt(others, mean)
	}
	ports = max(1, min(others, int(math.Ceil(6.6*splitBy(others))), most))
	for k := range others {
		found := 1.0
		if k >= ports {
			found = math.Erf(float64(ports) / (2 * math.Sqrt2 * splitBy(k)))
		}
		chance += poissonAt(k, mean) * found
	}
	return min(chance/sum, 1), ports
}

// splitBy is the standard deviation of how many of k others come before ours: by chance, and
// because it does not leave exactly in the middle.
func splitBy(k int) float64 { return math.Sqrt(float64(k)/4 + float64(k*k)/100) }

func (p *planner) crossing() planned {
	l, _, _, _ := p.guess(p.lane(LaneCrossing), true)
	if l.ruled() {
		return l
	}
	var s [2]sequence
	for i, e := range []end{p.a, p.b} {
		if !e.foretold() {
			other := p.b
			if i == 1 {
				other = p.a
			}
			if !other.foretold() {
				return l.rule(ObstaclePorts, p.neither())
			}
			return l.rule(ObstaclePorts, e.nat()+" "+e.ports())
		}
		s[i], _ = sequenceOf(e.Profile, e.Mapped.Port(), told)
	}
	c := planCross(s[0], s[1], p.budget)
	peers := planCross(s[1], s[0], p.budget)
	if c.Count == 0 {
		return l.rule(ObstacleBudget, noRoom)
	}
	chance := c.Probability * p.a.address() * p.b.address() * p.hairs
	if chance < worth {
		return l.rule(ObstacleBudget, p.crowded(chance))
	}
	probes := func(c crossPlan) int { return min(2*c.Sockets, max(p.budget.Probes, 0)) }
	l.Probability = chance
	l.Sockets, l.Probes, l.Entries = c.Sockets, probes(c), c.Sockets
	l.Time = lasting(max(c.Sockets, peers.Sockets), p.budget.Rate)
	l.total = 2*(c.Sockets+peers.Sockets) + probes(c) + probes(peers)
	return l
}

// neither says what ports the two NATs give, where both are much alike.
func (p *planner) neither() string {
	if p.a.ports() == p.b.ports() {
		if p.a.model() == natprobe.PortsRandom && RangeOf(p.a.Profile).Size() >= AllPorts/2 {
			return "both NATs give random ports of their whole range"
		}
		return "each of the two NATs " + p.a.ports()
	}
	return p.a.nat() + " " + p.a.ports() + " and " + p.b.own() + " " + p.b.ports()
}

func (p *planner) birthday() planned {
	l, hard, easy, sure := p.guess(p.lane(LaneBirthday), false)
	if l.ruled() {
		if l.Hard == Both && p.apart == "" {
			return l.rule(ObstaclePorts, onBothSides)
		}
		return l
	}
	if hard.foretold() {
		if once, _ := p.foretell(hard, p.budget.tries(), p.together()); once >= 0.5 {
			return l.rule(ObstacleNeedless, "the next port of "+hard.nat()+" can be foretold")
		}
	}
	most, tries := p.budget.most(), p.budget.tries()
	if most == 0 || tries == 0 {
		return l.rule(ObstacleBudget, noRoom)
	}
	size := RangeOf(hard.Profile).Size()
	n := sized(size, aim, most, tries)
	if hard.model() == natprobe.PortsBlock {
		n = min(n, spared(size))
	}
	open := min(n, most)
	chance := sure * min(certain, birthdayCourse{mappings: n, open: open, probes: n, ports: size}.total())
	if chance < p.least() {
		return l.rule(ObstacleBudget, fmt.Sprintf("%s %s and %s %s, so that the budget gives it a chance of %.1f %%",
			hard.nat(), hard.ports(), easy.own(), easy.filters(), 100*chance))
	}
	return l.fits(p, chance, [3]int{open, min(2*n, p.budget.Probes), n}, [3]int{0, n, n})
}

// spared is how many ports of a block may be taken: the rest are for the host's other flows.
func spared(size int) int { return max(1, size*7/8) }

func (p *planner) blocks() planned {
	l, _, _, _ := p.guess(p.lane(LaneBlocks), true)
	if l.ruled() {
		return l
	}
	if p.a.foretold() && p.b.foretold() {
		return l.rule(ObstacleNeedless, sameSequence)
	}
	ours, theirs := p.mappings(p.a, p.b), p.mappings(p.b, p.a)
	if ours == 0 || theirs == 0 {
		return l.rule(ObstacleBudget, noRoom)
	}
	ourPorts, theirPorts := RangeOf(p.a.Profile).Size(), RangeOf(p.b.Profile).Size()
	var chance float64
	switch {
	case p.a.foretold():
		chance = p.against(p.a, min(ours, theirs), theirPorts)
	case p.b.foretold():
		chance = p.against(p.b, min(ours, theirs), ourPorts)
	default:
		chance = blocksChance(ours, theirs, ourPorts, theirPorts)
	}
	chance *= p.a.address() * p.b.address() * p.hairs
	if chance < worth {
		return l.rule(ObstaclePorts, p.neither())
	}
	sockets := func(e end, n int) int {
		if e.Mapping == natprobe.MappingAddressAndPortDependent {
			return min(n, blockSize, p.budget.most())
		}
		return n
	}
	probes := func(n int) int { return min(2*n, p.budget.Probes) }
	l.Probability = chance
	l.Sockets, l.Probes, l.Entries = sockets(p.a, ours), probes(ours), ours
	l.Time = lasting(max(ours, theirs), p.budget.Rate)
	l.total = sockets(p.a, ours) + sockets(p.b, theirs) + probes(ours) + probes(theirs) + ours + theirs
	return l
}

// mappings is how many a side may make: with one socket many, if its NAT maps by port too;
// each to another port of the peer's.
func (p *planner) mappings(e, peer end) int {
	n := p.budget.tries()
	if e.Mapping != natprobe.MappingAddressAndPortDependent || p.budget.most() == 0 {
		n = p.budget.most()
	}
	if e.model() == natprobe.PortsBlock {
		n = min(n, spared(RangeOf(e.Profile).Size()))
	}
	return min(n, RangeOf(peer.Profile).Size())
}

// against is the chance of a sequence's n mappings against as many random ones.
func (p *planner) against(e end, n, ports int) float64 {
	s, _ := sequenceOf(e.Profile, 0, 0)
	return BirthdayChance(1, int(float64(n)*s.own(p.budget.Rate)), ports)
}
