package fingerprint

import (
	"math"
	"slices"
)

// density is how near each other the points of a set lie.
//
// It is a matter of complete points only. A point that does not know the one
// dimension in which two clusters differ is near to both; counted as a core, it
// would join them. Masked points are therefore never cores: they are given to a
// cluster when the clusters are known.
type density struct {
	points   []point   // masked but for used
	used     mask      // the dimensions that are looked at
	complete []int     // the points that know all of those, ascending
	near     []float64 // for each of complete: the distance to its (minPts-1)-th nearest other
}

func newDensity(points []point, minPts int) *density {
	s := &density{used: usedDims(points)}
	for i, p := range points {
		p = p.only(s.used)
		s.points = append(s.points, p)
		if p.known == s.used && s.used != 0 {
			s.complete = append(s.complete, i)
		}
	}
	complete := make([]point, len(s.complete))
	for i, p := range s.complete {
		complete[i] = s.points[p]
	}
	s.near = kthNearest(complete, minPts-1)
	return s
}

// usedDims are the dimensions known of any point, less the rarest, one after the
// other, until at least half of the points that know anything know all the rest.
func usedDims(points []point) mask {
	var used mask
	var known [NumDims]int
	some := 0
	for _, p := range points {
		used |= p.known
		if p.known != 0 {
			some++
		}
		for d := range Dim(NumDims) {
			if p.known.has(d) {
				known[d]++
			}
		}
	}
	for used != 0 {
		complete := 0
		for _, p := range points {
			if p.known&used == used {
				complete++
			}
		}
		if 2*complete >= some {
			break
		}
		rarest := Dim(NumDims)
		for d := range Dim(NumDims) {
			if used.has(d) && (rarest == NumDims || known[d] <= known[rarest]) {
				rarest = d
			}
		}
		used &^= 1 << rarest
	}
	return used
}

// enough is how many dimensions a point must share with another for their
// distance to mean anything: half of those used.
func (s *density) enough() int { return (s.used.count() + 1) / 2 }

// kthNearest returns for each point the distance to the k-th nearest other: 0
// where k is 0, +Inf where there are too few.
func kthNearest(points []point, k int) []float64 {
	kth := make([]float64, len(points))
	if k == 0 {
		return kth
	}
	if k >= len(points) {
		for i := range kth {
			kth[i] = math.Inf(1)
		}
		return kth
	}
	nearest := make([]float64, len(points)*k) // k squares for each, ascending
	for i := range nearest {
		nearest[i] = math.Inf(1)
	}
	insert := func(i int, d2 float64) {
		row := nearest[i*k : (i+1)*k]
		at := k - 1
		if d2 >= row[at] {
			return
		}
		for ; at > 0 && row[at-1] > d2; at-- {
			row[at] = row[at-1]
		}
		row[at] = d2
	}
	for i := range points {
		for j := range i {
			d2 := distance2(&points[i], &points[j])
			insert(i, d2)
			insert(j, d2)
		}
	}
	for i := range kth {
		kth[i] = math.Sqrt(nearest[(i+1)*k-1])
	}
	return kth
}

const (
	leastEps   = 0.1 // standard deviations; nobody measures a NAT more exactly
	coreShare  = 0.8 // of the complete points are cores, whatever the knee says
	curveLimit = 4   // medians, above which one distance is as far as another
)

// knee chooses the radius in which DBSCAN counts neighbours: where the curve of
// the sorted near distances lies farthest below its chord, and so turns from the
// points in clusters to those without company.
//
// A curve has more than one bend, and two things draw the choice to a wrong one.
// Few points far away stretch the curve so that every bend but theirs looks flat,
// and clusters are joined: the curve is cut off above. Clusters denser than the
// others make a bend of their own, and the others become noise: the result is
// bounded below.
func (s *density) knee() float64 {
	sorted := slices.Sorted(slices.Values(s.near))
	n := len(sorted)
	if n == 0 || math.IsInf(sorted[0], 1) {
		return leastEps
	}
	limit := curveLimit * max(sorted[n/2], leastEps)
	for i := range sorted {
		sorted[i] = min(sorted[i], limit)
	}
	eps, farthest := sorted[n-1], 0.0
	for i, d := range sorted {
		chord := sorted[0] + (sorted[n-1]-sorted[0])*float64(i)/float64(max(n-1, 1))
		if below := chord - d; below > farthest {
			eps, farthest = d, below
		}
	}
	return max(eps, sorted[int(coreShare*float64(n-1))], leastEps)
}
