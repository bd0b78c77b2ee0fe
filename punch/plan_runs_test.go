package punch

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
)

var runs = flag.Int("runs", 300, "how often each pair of NATs is tried to check predicted chances")

// modelNAT is a NAT as the theory has it, written apart from what predicts it. It gives
// each destination another port and lets in only what that port was used to send to.
type modelNAT struct {
	rng  *rand.Rand
	kind natprobe.PortModel
	// The truth, which a profile tells of more or less well.
	low, high, delta int
	rate             float64
	even             bool

	at    float64 // s
	last  int
	taken map[int]bool
	live  map[int]int // our port to the peer's
}

func newModelNAT(rng *rand.Rand, of natprobe.Ports) *modelNAT {
	n := &modelNAT{
		rng: rng, kind: of.Model, low: int(of.Low), high: int(of.High), delta: of.Delta, rate: of.Rate, even: of.Parity == natprobe.Yes,
		taken: make(map[int]bool), live: make(map[int]int),
	}
	if n.high == 0 {
		n.low, n.high = 1024, 65535
	}
	n.last = n.low + rng.IntN(n.high-n.low+1)
	return n
}

func (n *modelNAT) step() {
	size := n.high - n.low + 1
	n.last = n.low + ((n.last-n.low+n.delta)%size+size)%size
}

// open makes a mapping at a time to a port of the peer's.
func (n *modelNAT) open(at float64, to int) (port int) {
	switch n.kind {
	case natprobe.PortsSequential:
		// Others come one by one, at exponential distances.
		for t := n.at + n.rng.ExpFloat64()/max(n.rate, 1e-12); t < at; t += n.rng.ExpFloat64() / max(n.rate, 1e-12) {
			n.step()
		}
		n.at = at
		n.step()
		port = n.last
	default:
		for port == 0 || n.taken[port] || n.even && port%2 == 1 {
			port = n.low + n.rng.IntN(n.high-n.low+1)
		}
	}
	n.taken[port] = true
	n.live[port] = to
	return port
}

// meets reports whether a packet from port to a port of the peer's gets in.
func (n *modelNAT) meets(peer *modelNAT, port int) bool {
	to, ok := n.live[port]
	back, open := peer.live[to]
	return ok && open && back == port
}

// estimated is the range as it appears from a few ports, each end as far beyond them as they
// are apart on average.
func estimated(p natprobe.Ports, rng *rand.Rand) natprobe.Ports {
	const samples = 10
	ports := make([]int, samples)
	for i := range ports {
		ports[i] = int(p.Low) + rng.IntN(int(p.High)-int(p.Low)+1)
	}
	slices.Sort(ports)
	gap := (ports[samples-1] - ports[0]) / (samples - 1)
	p.Low, p.High = uint16(max(ports[0]-gap, 1024)), uint16(min(ports[samples-1]+gap, 65535))
	return p
}

// measured is the rate as it appears over a second.
func measured(p natprobe.Ports, rng *rand.Rand) natprobe.Ports {
	count := 0.0
	for t := rng.ExpFloat64(); t < p.Rate; t += rng.ExpFloat64() {
		count++
	}
	p.Rate = count
	return p
}

func hardWith(p natprobe.Ports) natprobe.Profile {
	h := profileOf("random")
	h.Ports = p
	return h
}

// runBirthday is a birthday lane as planned: what one side opens and what the other tries
// alternate.
func runBirthday(truth natprobe.Ports, rng *rand.Rand, b Budget, guess bool) (Lane, bool) {
	told := truth
	if guess {
		told = estimated(truth, rng)
	}
	hard := hardWith(told)
	ours := laneOf(Plan(hard, profileOf("cone"), b), LaneBirthday)
	theirs := laneOf(Plan(profileOf("cone"), hard, b), LaneBirthday)
	nat := newModelNAT(rng, truth)
	spray := newSpray(RangeOf(hard), rng.Uint64())
	tried := make(map[int]bool)
	var open []int
	for i := range max(ours.Entries, theirs.Probes) {
		if i < theirs.Probes {
			if port, ok := spray.Next(); ok {
				if _, ok := nat.live[int(port)]; ok {
					return ours, true
				}
				tried[int(port)] = true
			}
		}
		if i < ours.Entries {
			if len(open) == ours.Sockets {
				delete(nat.live, open[0])
				open = open[1:]
			}
			port := nat.open(0, 1)
			if tried[port] {
				return ours, true
			}
			open = append(open, port)
		}
	}
	return ours, false
}

// runPredicted is a predicted lane: a mapping between two that a STUN server sees.
func runPredicted(truth natprobe.Ports, rng *rand.Rand, b Budget) (Lane, bool) {
	hard := hardWith(measured(truth, rng))
	lane := laneOf(Plan(hard, profileOf("cone"), b), LanePredicted)
	tries := laneOf(Plan(profileOf("cone"), hard, b), LanePredicted).Probes
	nat := newModelNAT(rng, truth)
	rounds := lane.Sockets / 3
	s, _ := sequenceOf(hard, 0, 0)
	at := 0.0
	for range rounds {
		gap := func() float64 { at += 1/400. + rng.Float64()*.005; return at }
		before := nat.open(gap(), 0)
		own := nat.open(gap(), 0)
		after := nat.open(gap(), 0)
		if slices.Contains(s.Sandwich(nil, uint16(before), uint16(after), 1, tries/rounds), uint16(own)) {
			return lane, true
		}
		at += .5
	}
	return lane, false
}

// runCrossing is a crossing of two sequences, whose last ports were told 200 ms ago.
func runCrossing(truth [2]natprobe.Ports, rng *rand.Rand, b Budget) (Lane, bool) {
	var nats [2]*modelNAT
	var profiles [2]natprobe.Profile
	var s [2]sequence
	for i := range nats {
		nats[i] = newModelNAT(rng, truth[i])
		profiles[i] = hardWith(measured(truth[i], rng))
		s[i], _ = sequenceOf(profiles[i], uint16(nats[i].last), told)
	}
	lane := laneOf(Plan(profiles[0], profiles[1], b), LaneCrossing)
	var opened [2][]int
	for i := range nats {
		c := planCross(s[i], s[1-i], b)
		at := told.Seconds()
		for _, w := range c.Waves[:c.Count] {
			for range w.Sockets {
				at += 1 / 400.
				opened[i] = append(opened[i], nats[i].open(at, int(w.To)))
			}
		}
	}
	for _, port := range opened[0] {
		if nats[0].meets(nats[1], port) {
			return lane, true
		}
	}
	return lane, false
}

// runBlocks is a blocks lane: each side makes its mappings, each to another port of the
// other side's.
func runBlocks(truth [2]natprobe.Ports, rng *rand.Rand, b Budget, guess bool) (Lane, bool) {
	var nats [2]*modelNAT
	var profiles [2]natprobe.Profile
	for i := range nats {
		nats[i] = newModelNAT(rng, truth[i])
		told := truth[i]
		if guess && told.Model == natprobe.PortsBlock {
			told = estimated(told, rng)
		}
		profiles[i] = hardWith(told)
	}
	lane := laneOf(Plan(profiles[0], profiles[1], b), LaneBlocks)
	var opened []int
	last := [2]int{nats[0].last, nats[1].last}
	for i := range nats {
		n := laneOf(Plan(profiles[i], profiles[1-i], b), LaneBlocks).Entries
		spray := newSpray(RangeOf(profiles[1-i]), rng.Uint64())
		ahead, sequence := sequenceOf(profiles[1-i], uint16(last[1-i]), 0)
		size := int(truth[i].High) - int(truth[i].Low) + 1
		for k := range n {
			if truth[i].Model == natprobe.PortsBlock && k == size {
				break
			}
			to, ok := spray.Next()
			if sequence {
				to, ok = ahead.Port(k+1), true
			}
			if !ok {
				break
			}
			port := nats[i].open(float64(k)/400, int(to))
			if i == 0 {
				opened = append(opened, port)
			}
		}
	}
	for _, port := range opened {
		if nats[0].meets(nats[1], port) {
			return lane, true
		}
	}
	return lane, false
}

// What is predicted comes true, within five points of a hundred.
func TestPredictedChancesComeTrue(t *testing.T) {
	random := natprobe.Ports{Model: natprobe.PortsRandom, Low: 1024, High: 65535}
	upper := natprobe.Ports{Model: natprobe.PortsRandom, Low: 50001, High: 65535}
	even := random
	even.Parity = natprobe.Yes
	block := func(n int) natprobe.Ports {
		return natprobe.Ports{Model: natprobe.PortsBlock, Low: 20480, High: uint16(20480 + n - 1)}
	}
	seq := func(delta int, rate float64) natprobe.Ports {
		return natprobe.Ports{Model: natprobe.PortsSequential, Delta: delta, Rate: rate}
	}
	two := func(a, b natprobe.Ports) [2]natprobe.Ports { return [2]natprobe.Ports{a, b} }
	birthday := func(p natprobe.Ports, b Budget, guess bool) func(*rand.Rand) (Lane, bool) {
		return func(r *rand.Rand) (Lane, bool) { return runBirthday(p, r, b, guess) }
	}
	predicted := func(p natprobe.Ports, b Budget) func(*rand.Rand) (Lane, bool) {
		return func(r *rand.Rand) (Lane, bool) { return runPredicted(p, r, b) }
	}
	crossing := func(a, z natprobe.Ports, b Budget) func(*rand.Rand) (Lane, bool) {
		return func(r *rand.Rand) (Lane, bool) { return runCrossing(two(a, z), r, b) }
	}
	blocks := func(a, z natprobe.Ports, b Budget, guess bool) func(*rand.Rand) (Lane, bool) {
		return func(r *rand.Rand) (Lane, bool) { return runBlocks(two(a, z), r, b, guess) }
	}
	var out strings.Builder
	for i, c := range []struct {
		what string
		run  func(*rand.Rand) (Lane, bool)
	}{
		{"birthday, whole range", birthday(random, Budget{}, false)},
		{"birthday, whole range, 90 sockets and 400 probes", birthday(random, Budget{Sockets: 90, Probes: 400}, false)},
		{"birthday, whole range, 64 sockets and 200 probes", birthday(random, Budget{Sockets: 64, Probes: 200}, false)},
		{"birthday, whole range, polite", birthday(random, Polite, false)},
		{"birthday, parity, 200 sockets and 200 probes", birthday(even, Budget{Sockets: 200, Probes: 200}, false)},
		{"birthday, 50001 and up, estimated, 100 and 100", birthday(upper, Budget{Sockets: 100, Probes: 100}, true)},
		{"birthday, block of 512, estimated", birthday(block(512), Budget{}, true)},
		{"birthday, block of 512, estimated, 18 and 18", birthday(block(512), Budget{Probes: 18}, true)},
		{"birthday, block of 2048, estimated", birthday(block(2048), Budget{}, true)},
		{"predicted, alone", predicted(seq(1, 0), Budget{})},
		{"predicted, by 3, others 5/s", predicted(seq(3, 5), Budget{})},
		{"predicted, by -2, others 50/s", predicted(seq(-2, 50), Budget{})},
		{"predicted, others 500/s", predicted(seq(1, 500), Budget{})},
		{"predicted, others 500/s, 12 probes", predicted(seq(1, 500), Budget{Probes: 12})},
		{"predicted, others 2000/s, 7 probes", predicted(seq(1, 2000), Budget{Probes: 7})},
		{"predicted, others 2000/s, 20 probes", predicted(seq(1, 2000), Budget{Probes: 20})},
		{"crossing, alone", crossing(seq(1, 0), seq(3, 0), Budget{})},
		{"crossing, others 5/s and 20/s", crossing(seq(1, 5), seq(-2, 20), Budget{})},
		{"crossing, others 100/s each", crossing(seq(1, 100), seq(1, 100), Budget{})},
		{"crossing, others 170/s each (30 %)", crossing(seq(1, 170), seq(3, 170), Budget{})},
		{"crossing, others 400/s each", crossing(seq(1, 400), seq(1, 400), Budget{})},
		{"crossing, others 20/s each, 30 sockets", crossing(seq(1, 20), seq(1, 20), Budget{Sockets: 30})},
		{"blocks of 512", blocks(block(512), block(512), Budget{}, false)},
		{"blocks of 512, 430 each", blocks(block(512), block(512), Budget{Entries: 430}, false)},
		{"blocks of 512, 200 each", blocks(block(512), block(512), Budget{Entries: 200}, false)},
		{"blocks of 512, estimated", blocks(block(512), block(512), Budget{}, true)},
		{"blocks of 512 and 2048", blocks(block(512), block(2048), Budget{}, false)},
		{"blocks of 2048 and 2048", blocks(block(2048), block(2048), Budget{}, false)},
		{"sequential and block of 512", blocks(seq(1, 0), block(512), Budget{}, false)},
		{"block of 512 and sequential by 3", blocks(block(512), seq(3, 0), Budget{}, false)},
	} {
		rng := rand.New(rand.NewPCG(uint64(i), 99))
		won, foretold := 0, 0.0
		for range *runs {
			lane, ok := c.run(rng)
			if ok {
				won++
			}
			if lane.Ruled != "" {
				t.Fatalf("%s: ruled out, as %s", c.what, lane.Ruled)
			}
			foretold += lane.Probability
		}
		n := float64(*runs)
		got, want := float64(won)/n, foretold/n
		chance := math.Sqrt(max(want*(1-want), 0.01) / n) // one standard deviation of the runs' own
		fmt.Fprintf(&out, "%-50s predicted %5.1f %%, measured %5.1f %%\n", c.what, 100*want, 100*got)
		if math.Abs(got-want) > 0.05+2*chance*boolFloat(*runs < 2000) {
			t.Errorf("%s: predicted %.3f, measured %.3f", c.what, want, got)
		}
	}
	t.Logf("%d runs each\n%s", *runs, out.String())
}

func boolFloat(b bool) float64 { return float64(boolean(b)) }

// How many steps a lane takes is what its course says.
func TestCourseComesTrue(t *testing.T) {
	c := birthdayCourse{mappings: 596, open: 256, probes: 596, ports: AllPorts}
	rng := rand.New(rand.NewPCG(7, 7))
	n := min(*runs, 500)
	var took []int
	for range n {
		nat := newModelNAT(rng, natprobe.Ports{Model: natprobe.PortsRandom})
		spray := newSpray(PortRange{}, rng.Uint64())
		tried := make(map[int]bool)
		var open []int
		for i := range 596 {
			port, _ := spray.Next()
			tried[int(port)] = true
			_, hit := nat.live[int(port)]
			if len(open) == 256 {
				delete(nat.live, open[0])
				open = open[1:]
			}
			own := nat.open(0, 1)
			open = append(open, own)
			if hit || tried[own] {
				took = append(took, i+1)
				break
			}
		}
	}
	slices.Sort(took)
	for _, q := range []float64{0.25, 0.5, 0.75, 0.9} {
		if at := took[int(q*float64(n))]; !near(c.met(at), q, 0.05+1.5*math.Sqrt(q*(1-q)/float64(n))) {
			t.Errorf("%.0f %% of the runs took up to %d steps, which is foretold of %.1f %%", 100*q, at, 100*c.met(at))
		}
	}
}
