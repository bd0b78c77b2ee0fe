package fingerprint

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// at makes points that know their first dimensions; NaN masks one.
func at(rows ...[]float64) (points []point) {
	for _, row := range rows {
		var p point
		for d, x := range row {
			if !math.IsNaN(x) {
				p.x[d], p.known = x, p.known|1<<d
			}
		}
		points = append(points, p)
	}
	return points
}

func line(xs ...float64) (points []point) {
	for _, x := range xs {
		points = append(points, at([]float64{x, 0, 0, 0, 0})...)
	}
	return points
}

func TestDBSCAN(t *testing.T) {
	for _, tt := range []struct {
		name   string
		points []point
		minPts int
		eps    float64
		want   []int
		cores  []int
	}{
		{"two clusters and one alone", line(0, 1, 2, 10, 11, 12, 20), 3, 1, []int{0, 0, 0, 1, 1, 1, Noise}, []int{1, 4}},
		{"a chain is one cluster", line(0, 3, 1, 2, 4), 2, 1, []int{0, 0, 0, 0, 0}, []int{0, 1, 2, 3, 4}},
		{"a point counts itself", line(0, 1), 2, 1, []int{0, 0}, []int{0, 1}},
		{"and that alone is not two", line(0, 1.5), 2, 1, []int{Noise, Noise}, nil},
		{"everything is a core", line(0, 5, 0), 1, 1, []int{0, 1, 0}, []int{0, 1, 2}},
		{"a border point does not join clusters", line(0, 0, 1, 2, 3, 4, 4), 4, 1, []int{0, 0, 0, 0, 1, 1, 1}, []int{2, 4}},
		{"nearest to one core of the second, near to more of the first", line(0, .05, .1, .25, .3, .35, 1.2, 2, 2.25, 2.3, 2.4, 2.5, 2.6), 6, 1,
			[]int{0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}, []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12}},
		{"all equal", line(1, 1, 1), 3, .1, []int{0, 0, 0}, []int{0, 1, 2}},
		{"too few", line(1, 1), 3, .1, []int{Noise, Noise}, nil},
		{"none", nil, 3, .1, []int{}, nil},
	} {
		r := newDensity(tt.points, tt.minPts).dbscan(tt.minPts, tt.eps)
		if !slices.Equal(r.assign, tt.want) {
			t.Errorf("%s: clusters %v, want %v", tt.name, r.assign, tt.want)
		}
		if !slices.Equal(r.cores, tt.cores) {
			t.Errorf("%s: cores %v, want %v", tt.name, r.cores, tt.cores)
		}
	}
}

// Which points are cores, and which of them are together, does not depend on the
// order of the points, nor does the radius.
func TestDBSCANKnowsNoOrder(t *testing.T) {
	for seed := range uint64(10) {
		vs, _ := tenClassSet(seed, .02, .05)
		var want [][2]int // core by its place in vs, and the least core of its cluster
		eps := 0.0
		order := make([]int, len(vs))
		for i := range order {
			order[i] = i
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for try := range 4 {
			shuffled := make([]Vector, len(vs))
			for i, from := range order {
				shuffled[i] = vs[from]
			}
			scaler := FitScaler(shuffled)
			points := make([]point, len(vs))
			for i := range shuffled {
				points[i] = scaler.point(shuffled[i])
			}
			s := newDensity(points, 10)
			found := s.dbscan(10, s.knee())
			first := map[int]int{}
			for _, c := range found.cores {
				a := found.assign[c]
				if f, ok := first[a]; !ok || order[c] < f {
					first[a] = order[c]
				}
			}
			var got [][2]int
			for _, c := range found.cores {
				got = append(got, [2]int{order[c], first[found.assign[c]]})
			}
			slices.SortFunc(got, func(a, b [2]int) int { return a[0] - b[0] })
			if try == 0 {
				want, eps = got, s.knee()
			} else if !slices.Equal(got, want) || s.knee() != eps {
				t.Fatalf("seed %d, order %d: eps %g and %d cores, were %g and %d", seed, try, s.knee(), len(got), eps, len(want))
			}
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		if len(want) < 350 {
			t.Errorf("seed %d: only %d cores", seed, len(want))
		}
	}
}

// Two clusters that differ in one dimension stay two, however many points there are
// that do not know it.
func TestMaskedPointsDoNotBridge(t *testing.T) {
	var rows [][]float64
	for i := range 20 {
		x := float64(i) / 10
		rows = append(rows, []float64{x, 0, 0, 1, 0}, []float64{x, 0, 0, 3, 0}, []float64{x, 0, 0, masked, 0})
	}
	s := newDensity(at(rows...), 5)
	r := s.dbscan(5, .5)
	if r.count != 2 || s.used != allDims {
		t.Fatalf("%d clusters in dimensions %b, want 2 in all", r.count, s.used)
	}
	for i, a := range r.assign {
		if a == Noise || i%3 < 2 && a != i%3 {
			t.Errorf("point %d (%v) is in cluster %d", i, rows[i], a)
		}
	}
}

func TestUsedDims(t *testing.T) {
	rows := [][]float64{{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, masked, 1}, {1, masked, masked, masked}, {}}
	for _, tt := range []struct {
		rows [][]float64
		want mask
	}{
		{rows[:3], 0b1111},
		{rows[1:4], 0b1011}, // of three, one knows the third dimension
		{rows[3:], 0b0001},
		{rows[4:], 0},
		{[][]float64{{1}, {masked, 1}}, 0b11 &^ 0b10}, // as rare as the other; the later goes
	} {
		if got := usedDims(at(tt.rows...)); got != tt.want {
			t.Errorf("%v: %04b, want %04b", tt.rows, got, tt.want)
		}
	}
	// A point that shares too little with the others is in no cluster.
	full := []float64{0, 0, 0, 0, 0}
	r := newDensity(at(full, full, full, full, []float64{0, 0, masked, masked, masked}, []float64{0, 0, 0, masked, masked}), 3).dbscan(3, 1)
	if !slices.Equal(r.assign, []int{0, 0, 0, 0, Noise, 0}) {
		t.Errorf("points that know 2 and 3 of 5 dimensions: %v", r.assign)
	}
}

func TestKthNearest(t *testing.T) {
	points := line(0, 1, 3, 7)
	for k, want := range [][]float64{{0, 0, 0, 0}, {1, 1, 2, 4}, {3, 2, 3, 6}, {7, 6, 4, 7}} {
		if got := kthNearest(points, k); !slices.Equal(got, want) {
			t.Errorf("k %d: %v, want %v", k, got, want)
		}
	}
	if got := kthNearest(points, 4); !math.IsInf(got[0], 1) {
		t.Errorf("k 4 of 4 points: %v", got)
	}
}

// The radius is where the curve turns, if the curve has one turn.
func TestKnee(t *testing.T) {
	curve := func(near ...float64) float64 { return (&density{near: near}).knee() }
	ramp := func(n int, from, to float64) (x []float64) {
		for i := range n {
			x = append(x, from+(to-from)*float64(i)/float64(n))
		}
		return x
	}
	if eps := curve(append(ramp(95, .2, .3), ramp(5, 3, 4)...)...); eps < .29 || eps > .3 {
		t.Errorf("95 together and 5 far off: %.3f, want the end of the 95", eps)
	}
	// Half of the points coincide: the sharpest bend is after them, and with it the
	// other half would be noise.
	if eps := curve(append(ramp(50, 0, 0), ramp(50, .3, .5)...)...); eps < .4 {
		t.Errorf("half at one place: %.3f leaves most of the others without a cluster", eps)
	}
	// A few points at a great distance must not make every other bend look flat.
	far := curve(slices.Concat(ramp(85, .2, .3), ramp(10, 1, 2), []float64{50, 60, 70})...)
	if far > .31 {
		t.Errorf("with three far away: %.3f joins what is 1 apart", far)
	}
	if eps := curve(0, 0, 0, 0); eps != leastEps {
		t.Errorf("all equal: %g", eps)
	}
	if eps := curve(math.Inf(1), math.Inf(1)); eps != leastEps {
		t.Errorf("too few points: %g", eps)
	}
	if eps := curve(); eps != leastEps {
		t.Errorf("no points: %g", eps)
	}
}

// A noise point goes to the cluster that it fits but for one dimension, and nowhere
// if it takes two.
func TestAdopt(t *testing.T) {
	var rows [][]float64
	for range 10 {
		rows = append(rows, []float64{0, 0, 0, 0, 0}, []float64{0, 0, 5, 0, 0})
	}
	rows = append(rows,
		[]float64{0, 0, 0, 9, 0},      // 20: the first but for dimension 3
		[]float64{9, 0, 5, 0, 0},      // 21: the second but for dimension 0
		[]float64{9, 9, 0, 0, 0},      // 22: two
		[]float64{9, 0, 5, masked, 0}, // 23: one, and one missing
	)
	r := newDensity(at(rows...), 5).dbscan(5, .5)
	for i := 20; i < 24; i++ {
		if r.assign[i] != Noise {
			t.Errorf("%v is in cluster %d before adoption", rows[i], r.assign[i])
		}
	}
	if n := r.adopt(); n != 3 || !slices.Equal(r.assign[20:], []int{0, 1, Noise, 1}) {
		t.Errorf("%d adopted: %v", n, r.assign[20:])
	}
}
