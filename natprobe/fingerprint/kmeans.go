package fingerprint

import (
	"math"
	"math/rand/v2"
)

const maxRounds = 100 // of Lloyd's algorithm; it settles in far fewer

// kmeans is one solution of Lloyd's algorithm.
type kmeans struct {
	centers []point
	assign  []int   // for each point its center
	cost    float64 // the sum of the squared distances to them
}

// bestKMeans returns the cheapest of several solutions from different seeds.
// Fewer than k centers come out where there are fewer different points.
func bestKMeans(points []point, k, restarts int, r *rand.Rand) kmeans {
	best := kmeans{cost: math.Inf(1)}
	for range restarts {
		if m := newKMeans(points, k, r); m.cost < best.cost {
			best = m
		}
	}
	return best
}

func newKMeans(points []point, k int, r *rand.Rand) kmeans {
	m := kmeans{centers: seedCenters(points, k, r), assign: make([]int, len(points))}
	for range maxRounds {
		moved := false
		m.cost = 0
		for i := range points {
			at, d2 := nearestCenter(&points[i], m.centers)
			moved = moved || m.assign[i] != at
			m.assign[i] = at
			m.cost += d2
		}
		m.recenter(points)
		if !moved {
			break
		}
	}
	return m
}

// seedCenters is k-means++ (Arthur, Vassilvitskii 2007): each further center is a
// point drawn with the square of its distance to those before as its weight.
func seedCenters(points []point, k int, r *rand.Rand) (centers []point) {
	far := make([]float64, len(points))
	for i := range far {
		far[i] = math.Inf(1)
	}
	for next := r.IntN(len(points)); ; {
		centers = append(centers, points[next].filled())
		sum := 0.0
		for i := range points {
			far[i] = min(far[i], distance2(&points[i], &centers[len(centers)-1]))
			sum += far[i]
		}
		if len(centers) == k || sum == 0 {
			return centers
		}
		draw := r.Float64() * sum
		for i, d2 := range far {
			if d2 > 0 {
				next = i // the last one too, should rounding leave something of draw
				if draw -= d2; draw < 0 {
					break
				}
			}
		}
	}
}

// filled returns p with the mean of all points, which is 0, where it is masked. So
// every point can be compared with every center.
func (p point) filled() point {
	for d := range Dim(NumDims) {
		if !p.known.has(d) {
			p.x[d] = 0
		}
	}
	p.known = allDims
	return p
}

func nearestCenter(p *point, centers []point) (at int, d2 float64) {
	d2 = math.Inf(1)
	for c := range centers {
		if d := distance2(p, &centers[c]); d < d2 {
			at, d2 = c, d
		}
	}
	return at, d2
}

// recenter moves each center to the mean of what its points know. One that lost all
// of its points stays where it is.
func (m *kmeans) recenter(points []point) {
	sums := make([]point, len(m.centers))
	counts := make([][NumDims]int, len(m.centers))
	members := make([]int, len(m.centers))
	for i, p := range points {
		c := m.assign[i]
		members[c]++
		for d := range Dim(NumDims) {
			if p.known.has(d) {
				sums[c].x[d] += p.x[d]
				counts[c][d]++
			}
		}
	}
	for c := range m.centers {
		if members[c] == 0 {
			continue
		}
		for d := range Dim(NumDims) {
			m.centers[c].x[d] = sums[c].x[d] / float64(max(counts[c][d], 1))
		}
	}
}

const (
	leastWidth = 0.05 // standard deviations; a narrower cluster is a coincidence
	mostOff    = 4    // widths, above which a value is wrong, and no more wrong the farther off
)

// width is the root mean square distance of the points from their centers in each
// dimension.
func (m *kmeans) width(points []point) (w [NumDims]float64) {
	var count [NumDims]float64
	for i, p := range points {
		for d := range Dim(NumDims) {
			if p.known.has(d) {
				w[d] += square(p.x[d] - m.centers[m.assign[i]].x[d])
				count[d]++
			}
		}
	}
	for d := range w {
		w[d] = max(math.Sqrt(w[d]/max(count[d], 1)), leastWidth)
	}
	return w
}

// likeliest is the center for a point that may have a wrong value: that of the least
// distance in widths of the clusters, where a dimension counts mostOff at most.
func (m *kmeans) likeliest(p point, width [NumDims]float64) (at int) {
	least := math.Inf(1)
	for c, center := range m.centers {
		sum := 0.0
		for d := range Dim(NumDims) {
			if p.known.has(d) {
				sum += min(square((p.x[d]-center.x[d])/width[d]), mostOff*mostOff)
			}
		}
		if sum < least {
			at, least = c, sum
		}
	}
	return at
}

// noStructure is the silhouette below which there are no clusters to speak of
// (Kaufman, Rousseeuw 1990).
const noStructure = 0.25

// chooseK returns the number of clusters, up to maxK, with the best silhouette; 1
// where even that is bad.
func chooseK(points []point, maxK, restarts int, r *rand.Rand) int {
	best, at := noStructure, 1
	between := pairwise(points)
	for k := 2; k <= maxK; k++ {
		m := bestKMeans(points, k, restarts, r)
		if len(m.centers) < k {
			break // no more different points
		}
		if s := silhouette(between, m.assign, k); s > best {
			best, at = s, k
		}
	}
	return at
}
