package fingerprint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/bradawl/bradawl/internal/words"
)

// Algorithm is a way to find clusters.
type Algorithm uint8

// The algorithms.
const (
	DBSCAN Algorithm = iota // by density: any number of clusters, of any shape; what fits none is noise
	KMeans                  // k-means++: round clusters, every vector in one
)

var algorithms = words.Of[Algorithm]("dbscan", "k-means")

// String returns "dbscan" or "k-means".
func (a Algorithm) String() string { return algorithms.String(a) }

// ClusterConfig tunes Group. Nil and the zero value work.
type ClusterConfig struct {
	// Algorithm finds the clusters. Default DBSCAN.
	Algorithm Algorithm

	// MinPts is how many vectors, itself among them, a vector must have within Eps
	// to be a core of a cluster, so that smaller clusters are not found. Default 10.
	// With k-means the vectors that are not are kept from the choice of centers.
	MinPts int

	// Eps is that radius, in standard deviations (see Scaler). Default 0: where the
	// sorted distances to the MinPts-th vector turn upwards, but never less than four
	// of five of them.
	Eps float64

	// K is the number of clusters for k-means; there are fewer where fewer vectors
	// differ. Default 0: the number from 2 to MaxK with the best silhouette; 1 where
	// that is below 0.25, and so no clusters can be told apart.
	K int

	// MaxK bounds the choice of K. Default 15.
	MaxK int

	// Restarts is how often k-means starts from other seeds; the solution with the
	// least sum of squares is taken. Default 10.
	Restarts int

	// Rand seeds k-means, and draws the sample for the silhouette of more than 1,000
	// vectors. It is used during the call only. Default: a new one with a fixed seed,
	// so that the same vectors give the same clusters.
	Rand *rand.Rand
}

func (c *ClusterConfig) withDefaults() (ClusterConfig, error) {
	var d ClusterConfig
	if c != nil {
		d = *c
	}
	for _, f := range []struct {
		name   string
		value  *int
		def    int
		atMost int
	}{
		{"MinPts", &d.MinPts, 10, 1000},
		{"K", &d.K, 0, 1000},
		{"MaxK", &d.MaxK, 15, 1000},
		{"Restarts", &d.Restarts, 10, 1000},
	} {
		if *f.value < 0 || *f.value > f.atMost {
			return d, &ConfigError{f.name, fmt.Sprintf("%d is out of range; use 0 (%d) to %d", *f.value, f.def, f.atMost)}
		}
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	switch {
	case d.Algorithm > KMeans:
		return d, &ConfigError{"Algorithm", fmt.Sprintf("%d is none; use DBSCAN or KMeans", d.Algorithm)}
	case math.IsNaN(d.Eps) || math.IsInf(d.Eps, 0) || d.Eps < 0:
		return d, &ConfigError{"Eps", fmt.Sprintf("%g is no radius; use 0 for one from the data, or about 0.3", d.Eps)}
	}
	if d.Rand == nil {
		d.Rand = rand.New(rand.NewPCG(0x6e6174, 0x66696e676572))
	}
	return d, nil
}

// Grouping says which vectors belong together.
type Grouping struct {
	Algorithm Algorithm
	Assign    []int     // for each vector the index of its cluster, or Noise
	Clusters  []Cluster // in the order of their first vectors
	Noise     int       // vectors in no cluster
	Adopted   int       // vectors that are in a cluster though one dimension does not fit; DBSCAN alone calls them noise
	Eps       float64   // the radius used, in standard deviations

	// Silhouette tells how well the clusters are apart: 1 well, 0 not at all. It is
	// taken over the vectors with company (the cores), at most 1,000 of them.
	Silhouette float64
}

// Cluster is a set of vectors that belong together.
type Cluster struct {
	Members  []int            // indices of its vectors, ascending
	Label    Label            // what they do, as far as it is beyond doubt
	Center   Vector           // the median of each dimension; masked where no member knows it
	Spread   [NumDims]float64 // half the width of the middle 68 % of the members; units of the dimension
	Outliers []Outlier        // members that do not fit in some dimension, ascending
	Doubts   []Dim            // dimensions in which the cluster is none: too wide, or too many outliers
}

// Consistent reports whether the members agree in every dimension.
func (c *Cluster) Consistent() bool { return len(c.Doubts) == 0 }

// NoiseShare is the share of vectors in no cluster, 0 to 1.
func (g *Grouping) NoiseShare() float64 {
	return float64(g.Noise) / float64(max(len(g.Assign), 1))
}

// String lists the clusters for people, one a line.
func (g *Grouping) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d vectors in %d clusters by %v (eps %.2f, silhouette %.2f), %d noise (%.1f %%)",
		len(g.Assign), len(g.Clusters), g.Algorithm, g.Eps, g.Silhouette, g.Noise, 100*g.NoiseShare())
	for i, c := range g.Clusters {
		fmt.Fprintf(&b, "\n%d: %d x %v", i, len(c.Members), c.Label)
		if len(c.Outliers) > 0 {
			fmt.Fprintf(&b, ", %d outliers", len(c.Outliers))
		}
		if !c.Consistent() {
			fmt.Fprintf(&b, ", inconsistent in %v", c.Doubts)
		}
	}
	return b.String()
}

// Group finds the clusters among vs and says what each of them is. cfg may be nil;
// an error is a *ConfigError. Vectors that know nothing are noise, and of none at
// all there are no clusters. Time grows with the square of the number of vectors:
// 10^4 take about a second; memory grows with their number.
func Group(vs []Vector, cfg *ClusterConfig) (*Grouping, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	scaler := FitScaler(vs)
	points := make([]point, len(vs))
	for i, v := range vs {
		points[i] = scaler.point(v)
	}
	s := newDensity(points, c.MinPts)
	g := &Grouping{Algorithm: c.Algorithm, Eps: c.Eps}
	if g.Eps == 0 {
		g.Eps = s.knee()
	}
	found := s.dbscan(c.MinPts, g.Eps)
	judged := found.cores // the vectors that the silhouette is taken over
	if c.Algorithm == DBSCAN {
		g.Adopted = found.adopt()
		g.Assign = found.assign
	} else {
		g.Assign, judged = found.kmeans(points, &c)
	}
	g.number(vs, scaler)
	g.judge(points, sample(judged, c.Rand))
	return g, nil
}

// kmeans assigns each point that knows anything. The centers are made from the cores
// of the clusters that density shows, where those are the most part: a point without
// company weighs by the square of its distance, and a few of them draw a center, of
// which then another cluster has none. The others are assigned afterwards.
func (r *dbscan) kmeans(points []point, c *ClusterConfig) (assign, trained []int) {
	var some []int
	for i, p := range points {
		if p.known != 0 {
			some = append(some, i)
		}
	}
	assign = make([]int, len(points))
	for i := range assign {
		assign[i] = Noise
	}
	if len(some) == 0 {
		return assign, nil
	}
	trained = r.cores
	if 2*len(r.cores) < len(some) {
		trained = some
	}
	k := c.K
	if k == 0 {
		k = chooseK(pick(points, sample(trained, c.Rand)), c.MaxK, c.Restarts, c.Rand)
	}
	m := bestKMeans(pick(points, trained), k, c.Restarts, c.Rand)
	width := m.width(pick(points, trained))
	for _, i := range some {
		assign[i] = m.likeliest(points[i], width)
	}
	for i, at := range trained {
		assign[at] = m.assign[i]
	}
	return assign, trained
}

func pick(points []point, which []int) []point {
	picked := make([]point, len(which))
	for i, at := range which {
		picked[i] = points[at]
	}
	return picked
}

// number gives the clusters the order of their first vectors, and describes them.
func (g *Grouping) number(vs []Vector, s Scaler) {
	var order []int // the clusters' numbers so far
	for i, c := range g.Assign {
		if c == Noise {
			g.Noise++
			continue
		}
		at := slices.Index(order, c)
		if at < 0 {
			at = len(order)
			order = append(order, c)
			g.Clusters = append(g.Clusters, Cluster{})
		}
		g.Assign[i] = at
		g.Clusters[at].Members = append(g.Clusters[at].Members, i)
	}
	for i := range g.Clusters {
		checkCluster(&g.Clusters[i], vs, s)
	}
}

func (g *Grouping) judge(points []point, which []int) {
	assign := make([]int, len(which))
	for i, at := range which {
		assign[i] = g.Assign[at]
	}
	g.Silhouette = silhouette(pairwise(pick(points, which)), assign, len(g.Clusters))
}
