package punch

import "math"

// maxWaves is how many times two sequences are led past each other, at most.
const maxWaves = 3

// wave is a part of a crossing: so many new sockets send to one port of the peer, each
// once and all again until an answer comes.
type wave struct {
	Sockets int    // how many
	To      uint16 // the port of the peer's that its wave of the same number is to meet
	From    uint16 // the port of ours that the peer sends to in its own
}

// crossPlan is how the ports of two NATs that are both sequences are made to meet: each side
// aims at a port that the other's sequence has not reached yet, and opens mappings until its
// own has passed the port that the other aims at. Those two mappings expect each other.
// Others' mappings may take either port, and make the sequences run ahead; so a wave is as
// long as the measured rate makes it, and there are several.
type crossPlan struct {
	Waves       [maxWaves]wave // a model of it: the lane that runs names its ports itself (lane_cross.go)
	Count       int            // of the waves
	Sockets     int            // of this side's, in all waves
	Probability float64        // that one wave meets, 0 to 1; no packet is lost
}

// planCross plans a crossing of our sequence with the peer's. Where both sides plan it with
// the same budget, and with what both know of both sequences, one's wave.To is the other's
// wave.From. Ages are from the ports told to the first socket, on
// the side that they are of.
func planCross(ours, theirs sequence, b Budget) crossPlan {
	b = b.WithDefaults()
	if ours.Delta == 0 || theirs.Delta == 0 {
		return crossPlan{}
	}
	most := b.most()
	for waves := maxWaves; waves >= 1; waves-- {
		us, meetUs := ours.waves(waves, b.Rate, most)
		them, meetThem := theirs.waves(waves, b.Rate, most)
		if us == nil || them == nil {
			continue
		}
		c := crossPlan{Count: waves}
		missed, covered := 1.0, meetUs*meetThem
		for i := range waves {
			c.Waves[i] = wave{Sockets: us[i].mappings, To: theirs.Port(them[i].place), From: ours.Port(us[i].place)}
			c.Sockets += us[i].mappings
			missed *= 1 - ours.own(b.Rate)*theirs.own(b.Rate)
		}
		c.Probability = covered * (1 - missed)
		return c
	}
	return crossPlan{}
}

// own is the share of our own among the mappings that are made while we make them at a
// rate: how likely a given port becomes ours.
func (s sequence) own(rate int) float64 {
	kept := min(max(fraction(s.Kept), 0), 1)
	if kept == 0 {
		kept = 1
	}
	return kept / (1 + s.crowd(1e9)/float64(max(rate, 1)))
}

// stretch is one wave of one side: how many mappings it makes, and at what place in the
// sequence it is to be met.
type stretch struct{ mappings, place int }

// waves divides our mappings into so many waves, each long enough that the sequence passes
// its place within it all but surely; covered is how likely that is. Nil: it takes more
// mappings than most.
func (s sequence) waves(count, rate, most int) (all []stretch, covered float64) {
	const sure = 2.5 // standard deviations
	crowd := s.crowd(1e9)
	perOwn := crowd / float64(max(rate, 1)) // others' to one of ours
	all = make([]stretch, 0, maxWaves)
	done, left := 0, most
	covered = 1
	for i := range count {
		half := 2.0
		if crowd > 0 {
			// How far ahead the sequence is, is uncertain by chance, and because the rate was measured
			// over about a second.
			at := s.Age.Seconds() + (float64(done)+half)/float64(max(rate, 1))
			sd := math.Sqrt(crowd*at*(1+at)) / (1 + perOwn)
			reach := math.Ceil(sure * sd)
			if fit := float64((left/(count-i) - 1) / 2); reach+half > fit {
				if count > 1 {
					return nil, 0
				}
				half = max(fit, 0)
			} else {
				half += reach
			}
			covered = min(covered, math.Erf(half/max(sd, 1e-9)/math.Sqrt2))
		}
		n := 2*int(half) + 1
		if n > left {
			return nil, 0
		}
		middle := float64(done) + half + 1
		ahead := crowd * (s.Age.Seconds() + middle/float64(max(rate, 1)))
		all = append(all, stretch{n, int(math.Round(middle + min(ahead, maxCrowd)))})
		done, left = done+n, left-n
	}
	return all, covered
}
