package fingerprint

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func blobs(r *rand.Rand, n int, sd float64, centers ...[]float64) (points []point, truth []int) {
	for c, center := range centers {
		for range n {
			row := slices.Clone(center)
			for d := range row {
				row[d] += r.NormFloat64() * sd
			}
			points, truth = append(points, at(row)...), append(truth, c)
		}
	}
	return points, truth
}

func TestKMeans(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		points, truth := blobs(r, 30, .1, []float64{0, 0, 0, 0, 0}, []float64{2, 0, 0, 0, 0}, []float64{0, 2, 0, 2, 0}, []float64{-3, 0, 1, 0, 0})
		m := bestKMeans(points, 4, 10, r)
		if a := adjustedRand(truth, m.assign); a != 1 {
			t.Errorf("seed %d: ARI %g of four clusters far apart", seed, a)
		}
		// The cost is what it says, and each point is with the center nearest to it.
		cost := 0.0
		for i := range points {
			at, d2 := nearestCenter(&points[i], m.centers)
			cost += d2
			if at != m.assign[i] {
				t.Errorf("seed %d: point %d is not with its nearest center", seed, i)
			}
		}
		if math.Abs(cost-m.cost) > 1e-6 {
			t.Errorf("seed %d: cost %g, is %g", seed, m.cost, cost)
		}
		if k := chooseK(points, 10, 10, r); k != 4 {
			t.Errorf("seed %d: chose %d clusters of 4", seed, k)
		}
	}
}

// More restarts are never worse, and the same seed gives the same solution.
func TestKMeansRestarts(t *testing.T) {
	vs, _ := tenClassSet(3, 0, 0)
	s := FitScaler(vs)
	var points []point
	for _, v := range vs {
		points = append(points, s.point(v))
	}
	for seed := range uint64(5) {
		one := bestKMeans(points, 10, 1, rand.New(rand.NewPCG(seed, 1)))
		many := bestKMeans(points, 10, 10, rand.New(rand.NewPCG(seed, 1)))
		if many.cost > one.cost {
			t.Errorf("seed %d: ten starts cost %g, one %g", seed, many.cost, one.cost)
		}
		if again := bestKMeans(points, 10, 10, rand.New(rand.NewPCG(seed, 1))); !reflect.DeepEqual(many, again) {
			t.Errorf("seed %d: another solution the second time", seed)
		}
	}
}

// k-means++ does not put two seeds on one place while others are empty.
func TestSeedsAreSpread(t *testing.T) {
	points := line(0, 0, 0, 0, 0, 0, 0, 0, 5, 9)
	for seed := range uint64(50) {
		centers := seedCenters(points, 3, rand.New(rand.NewPCG(seed, 1)))
		xs := []float64{centers[0].x[0], centers[1].x[0], centers[2].x[0]}
		if slices.Sort(xs); !slices.Equal(xs, []float64{0, 5, 9}) {
			t.Fatalf("seed %d: seeds at %v", seed, xs)
		}
		if n := len(seedCenters(points, 7, rand.New(rand.NewPCG(seed, 1)))); n != 3 {
			t.Fatalf("seed %d: %d seeds of three different points", seed, n)
		}
	}
}

func TestKMeansMasked(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	points, truth := blobs(r, 30, .1, []float64{0, 0, 0, 0, 0}, []float64{2, 2, 2, 2, 2})
	for i := range points {
		points[i] = points[i].only(allDims &^ (1 << (i % NumDims)))
	}
	points[3] = points[3].only(1 << 4) // one value is enough to tell these apart
	m := bestKMeans(points, 2, 10, r)
	if a := adjustedRand(truth, m.assign); a != 1 {
		t.Errorf("ARI %g with a value of each vector masked", a)
	}
}

func TestChooseKOfOne(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		points, _ := blobs(r, 100, 1, []float64{0, 0, 0, 0, 0})
		if k := chooseK(points, 10, 5, r); k != 1 {
			t.Errorf("seed %d: %d clusters in one", seed, k)
		}
		if k := chooseK(line(1, 1, 1, 1), 10, 5, r); k != 1 {
			t.Errorf("seed %d: %d clusters of equal points", seed, k)
		}
	}
}

func TestLikeliest(t *testing.T) {
	m := kmeans{centers: at([]float64{0, 0, 0, 0, 0}, []float64{3, 3, 0, 0, 0})}
	width := [NumDims]float64{.1, .1, .1, .1, .1}
	for _, tt := range []struct {
		row  []float64
		want int
	}{
		{[]float64{.2, .2, 0, 0, 0}, 0},
		{[]float64{3, 2.8, 99, 0, 0}, 1},
		{[]float64{0, 99, .1, 0, 0}, 0}, // nearer to the second by any sum of squares
		{[]float64{masked, 2.9}, 1},
	} {
		if got := m.likeliest(at(tt.row)[0], width); got != tt.want {
			t.Errorf("%v goes to %d, want %d", tt.row, got, tt.want)
		}
	}
}

func TestSilhouette(t *testing.T) {
	for _, tt := range []struct {
		points []point
		assign []int
		k      int
		want   float64
	}{
		// 0 and 1 are 1 apart and 4.5 (3.5) from the others on average, and so back.
		{line(0, 1, 4, 5), []int{0, 0, 1, 1}, 2, (2*(1-1/4.5) + 2*(1-1/3.5)) / 4},
		{line(0, 4, 1, 5), []int{0, 0, 1, 1}, 2, ((3-4)/4. + (2-4.)/4 + (2-4.)/4 + (3-4)/4.) / 4},
		{line(0, 1, 9), []int{0, 0, 1}, 2, (1 - 1/9. + 1 - 1/8.) / 3}, // one alone counts 0
		{line(0, 1, 2), []int{0, 0, 0}, 1, 0},
		{line(1, 1, 1, 1), []int{0, 0, 1, 1}, 2, 0},
		{nil, nil, 0, 0},
		{at([]float64{0}, []float64{0}, []float64{masked, 1}, []float64{masked, 1}), []int{0, 0, 1, 1}, 2, 0}, // nothing to compare
	} {
		if got := silhouette(pairwise(tt.points), tt.assign, tt.k); !near(got, tt.want) {
			t.Errorf("%v: %g, want %g", tt.assign, got, tt.want)
		}
	}
}

func TestSample(t *testing.T) {
	all := make([]int, 5000)
	for i := range all {
		all[i] = 2 * i
	}
	s := sample(all, rand.New(rand.NewPCG(1, 1)))
	if len(s) != silhouetteSample || !slices.IsSorted(s) || len(slices.Compact(slices.Clone(s))) != len(s) || s[0]%2 != 0 {
		t.Errorf("%d of them, sorted %v", len(s), slices.IsSorted(s))
	}
	if s := sample(all[:1000], nil); !slices.Equal(s, all[:1000]) {
		t.Error("no more than fit, and not all of them")
	}
}
