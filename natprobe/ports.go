package natprobe

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Ports is how a NAT chooses the public port of a new mapping.
type Ports struct {
	Model PortModel `json:"model"`

	// Delta is the step from one port to the next, which may be negative; sequential only.
	Delta int `json:"delta"`

	// Rate is how many mappings a second others make behind the same NAT, as measured over
	// about a second; sequential only.
	Rate float64 `json:"rate"`

	// Low and High are the least and the greatest port that is given out, as estimated from
	// the ports seen; block and random only. The true range may be a little wider.
	Low  uint16 `json:"low"`
	High uint16 `json:"high"`

	// Parity tells whether even ports stay even and odd ones odd (RFC 4787 REQ 4).
	Parity Verdict `json:"parity"`

	// Contiguous tells whether a pair of ports 2n and 2n+1 stays one.
	Contiguous Verdict `json:"contiguous"`

	// Overloaded tells whether a port of this host was seen to be given up because somebody
	// else had it towards one destination only: then one outside port serves several inside
	// (against RFC 4787 REQ 3), and the mapping is endpoint-independent only as long as
	// nobody collides.
	Overloaded Verdict `json:"overloaded"`

	// Samples is how many mappings this is known from.
	Samples int `json:"samples"`

	// Confidence in the model, 0 to 1.
	Confidence float64 `json:"confidence"`
}

// portSample is one mapping as it was made: in what order, of which port, to which.
type portSample struct {
	at     time.Time
	order  int // among all that were made in this run
	local  uint16
	mapped uint16
	clean  bool // answered at once, so that it was made when it was asked for
}

// maxBlock is the greatest range of ports that counts as a host's block.
const maxBlock = 10240

// portsOf finds the model of mappings, which must be in the order in which they were
// asked for.
func portsOf(samples []portSample) Ports {
	p := Ports{Samples: len(samples)}
	if len(samples) == 0 {
		return p
	}
	p.Parity = parityOf(samples)
	p.Contiguous = contiguityOf(samples)
	same := 0
	for _, s := range samples {
		if s.local == s.mapped {
			same++
		}
	}
	switch {
	case same > 1 && same*2 > len(samples):
		p.Model = PortsPreserving
		p.Confidence = min(0.99, float64(same)/float64(len(samples)+1)+0.15)
		if p.Parity == VerdictUnknown {
			p.Parity = Yes
		}
		return p
	case len(samples) < 4:
		return p
	}
	if delta, rate, sure := sequenceOf(samples); delta != 0 {
		p.Model, p.Delta, p.Rate, p.Confidence = PortsSequential, delta, rate, sure
		return p
	}
	p.Model, p.Low, p.High, p.Confidence = rangeOf(samples)
	return p
}

// settled tells that more samples would add nothing: the ports are preserved, or all over
// the place and of either parity.
func (p Ports) settled() bool {
	switch p.Model {
	case PortsPreserving:
		return true
	case PortsRandom:
		return p.Parity == No && p.Samples >= 4
	}
	return false
}

// parityOf needs many to say yes, as half of all ports keep it by chance.
func parityOf(samples []portSample) Verdict {
	for _, s := range samples {
		if s.local%2 != s.mapped%2 {
			return No
		}
	}
	if len(samples) < 9 {
		return VerdictUnknown
	}
	return Yes
}

// contiguityOf looks for the pair of neighbouring local ports.
func contiguityOf(samples []portSample) Verdict {
	for _, even := range samples {
		for _, odd := range samples {
			if even.local%2 == 0 && odd.local == even.local+1 {
				return verdict(odd.mapped == even.mapped+1)
			}
		}
	}
	return VerdictUnknown
}

// sequenceOf finds the step of a sequence; 0: there is none. Only mappings whose place in
// the order is certain count. What others take in between makes a difference a greater
// multiple of the step.
func sequenceOf(samples []portSample) (delta int, rate, sure float64) {
	type pair struct {
		diff, steps int
		wait        time.Duration
	}
	var pairs []pair
	var last *portSample
	for i := range samples {
		s := &samples[i]
		if !s.clean {
			continue
		}
		if last != nil {
			// Ports are a ring of 16 bits here; where the NAT's range is smaller, the jump from one
			// end to the other is an outlier.
			diff := int(int16(s.mapped - last.mapped))
			pairs = append(pairs, pair{diff, s.order - last.order, s.at.Sub(last.at)})
		}
		last = s
	}
	if len(pairs) < 3 {
		return 0, 0, 0
	}
	up := 0
	for _, p := range pairs {
		if p.diff > 0 {
			up++
		}
	}
	sign := 1
	if up*2 < len(pairs) {
		sign = -1
	}
	const furthest = 256
	var good []pair
	step := 0
	for _, p := range pairs {
		if p.diff*sign > 0 && p.diff*sign <= furthest*p.steps {
			good = append(good, p)
			step = gcd(step, p.diff*sign)
		}
	}
	if len(good) < 3 || len(good)*4 < len(pairs)*3 {
		return 0, 0, 0
	}
	// A sequence advances by about as many steps as mappings were made; ports that lie
	// within one block without order jump by a third of its size.
	jumps := make([]int, len(good))
	for i, p := range good {
		jumps[i] = p.diff * sign / step / p.steps
	}
	slices.Sort(jumps)
	if jumps[len(jumps)/2] > 24 {
		return 0, 0, 0
	}
	var others, seconds float64
	for _, p := range good {
		others += float64(p.diff*sign/step - p.steps)
		seconds += p.wait.Seconds()
	}
	if seconds > 0.05 && others > 0 {
		rate = others / seconds
	}
	return sign * step, rate, 1 - math.Pow(0.5, float64(len(good)))
}

// rangeOf estimates the range that ports are drawn from, by the ones drawn: of n of them,
// the gaps beyond the least and the greatest are as wide as those between on average.
func rangeOf(samples []portSample) (model PortModel, low, high uint16, sure float64) {
	byPort := func(a, b portSample) int { return cmp.Compare(a.mapped, b.mapped) }
	least, most := int(slices.MinFunc(samples, byPort).mapped), int(slices.MaxFunc(samples, byPort).mapped)
	gap := (most - least) / (len(samples) - 1)
	low, high = uint16(max(least-gap, min(least, 1024))), uint16(min(most+gap, 65535))
	// By chance alone, ports of the whole range lie as close as this:
	n, w := float64(len(samples)), float64(most-least)/64512
	chance := n * math.Pow(w, n-1)
	switch {
	case int(high)-int(low) <= maxBlock:
		return PortsBlock, low, high, max(0.5, 0.99-chance)
	case chance > 0.01: // too few were seen for a narrower range to be believed
		low, high = uint16(min(least, 1024)), 65535
	}
	return PortsRandom, low, high, 0.97
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Predict returns the ports that the NAT will most likely give to the next mapping of
// this host, the likeliest first, at most n. local is the port that the mapping is for,
// last the public port given out last as far as is known, and since how long ago that
// was. Nil means that the model allows no prediction worth a try, which is so for random
// ports.
func (p Ports) Predict(local, last uint16, since time.Duration, n int) []uint16 {
	if n <= 0 {
		return nil
	}
	switch p.Model {
	case PortsPreserving:
		return []uint16{local}
	case PortsSequential:
		return p.predictSequence(last, since, n)
	case PortsBlock:
		return p.predictBlock(local, n)
	}
	return nil
}

// predictSequence orders the next ports by how likely it is that so many others got in
// between: that is Poisson distributed.
func (p Ports) predictSequence(last uint16, since time.Duration, n int) []uint16 {
	if p.Delta == 0 {
		return nil
	}
	mean := p.Rate * max(since.Seconds(), 0)
	low := max(0, int(mean)-n)
	order := make([]int, 2*n+1)
	weight := make(map[int]float64, len(order))
	for i := range order {
		k := low + i
		order[i] = k
		gamma, _ := math.Lgamma(float64(k) + 1)
		weight[k] = float64(k)*math.Log(max(mean, 1e-9)) - gamma
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weight[b], weight[a]) })
	var ports []uint16
	for _, k := range order[:n] {
		port := int(last) + p.Delta*(k+1)
		if port >= 1 && port <= math.MaxUint16 {
			ports = append(ports, uint16(port))
		}
	}
	return ports
}

// predictBlock lists the block, of the local port's parity where that is kept, from its
// middle outwards: the ends are the part that is estimated.
func (p Ports) predictBlock(local uint16, n int) []uint16 {
	middle := (int(p.Low) + int(p.High)) / 2
	var ports []uint16
	for i := 0; len(ports) < n && i <= int(p.High)-int(p.Low)+1; i++ {
		port := middle + (i+1)/2
		if i%2 == 0 {
			port = middle - i/2
		}
		if port >= int(p.Low) && port <= int(p.High) && (p.Parity != Yes || uint16(port)%2 == local%2) {
			ports = append(ports, uint16(port))
		}
	}
	return ports
}

// String describes the model in words.
func (p Ports) String() string {
	switch p.Model {
	case PortsSequential:
		return fmt.Sprintf("sequential by %+d, others take %.1f a second", p.Delta, p.Rate)
	case PortsBlock:
		return fmt.Sprintf("block of about %d ports, %d to %d", int(p.High)-int(p.Low)+1, p.Low, p.High)
	case PortsRandom:
		return fmt.Sprintf("random, %d to %d", p.Low, p.High)
	}
	return p.Model.String()
}
