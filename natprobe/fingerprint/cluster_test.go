package fingerprint

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
)

// both runs a test with each algorithm.
func both(t *testing.T, f func(t *testing.T, a Algorithm)) {
	for _, a := range []Algorithm{DBSCAN, KMeans} {
		t.Run(a.String(), func(t *testing.T) { f(t, a) })
	}
}

func group(t testing.TB, vs []Vector, cfg ClusterConfig) *Grouping {
	t.Helper()
	g, err := Group(vs, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func repeat(v Vector, n int) []Vector { return slices.Repeat([]Vector{v}, n) }

func TestGroupDegenerate(t *testing.T) {
	v, w := vec(t, 10, 1, 30e3, 3, .5), vec(t, 20, 0, 300e3, 1, 1)
	one, two := vec(t, 10), vec(t, masked, 1)
	for _, tt := range []struct {
		name           string
		vs             []Vector
		dbscan, kmeans []int
	}{
		{"none", nil, []int{}, []int{}},
		{"one", []Vector{v}, []int{Noise}, []int{0}},
		{"all equal", repeat(v, 12), slices.Repeat([]int{0}, 12), slices.Repeat([]int{0}, 12)},
		{"all equal, too few", repeat(v, 3), []int{Noise, Noise, Noise}, []int{0, 0, 0}},
		{"all masked", repeat(Vector{}, 12), slices.Repeat([]int{Noise}, 12), slices.Repeat([]int{Noise}, 12)},
		{"one masked", append(repeat(v, 12), Vector{}), append(slices.Repeat([]int{0}, 12), Noise), append(slices.Repeat([]int{0}, 12), Noise)},
		{"two values", append(repeat(v, 12), repeat(w, 12)...), append(slices.Repeat([]int{0}, 12), slices.Repeat([]int{1}, 12)...),
			append(slices.Repeat([]int{0}, 12), slices.Repeat([]int{1}, 12)...)},
		// Nothing to compare them by: what knows the dimension in use is alike.
		{"nothing in common", append(repeat(one, 12), repeat(two, 12)...), append(slices.Repeat([]int{0}, 12), slices.Repeat([]int{Noise}, 12)...), slices.Repeat([]int{0}, 24)},
	} {
		both(t, func(t *testing.T, a Algorithm) {
			g := group(t, tt.vs, ClusterConfig{Algorithm: a})
			want := tt.dbscan
			if a == KMeans {
				want = tt.kmeans
			}
			if !slices.Equal(g.Assign, want) {
				t.Errorf("%s: %v, want %v", tt.name, g.Assign, want)
			}
			noise := 0
			for i, c := range g.Assign {
				if c == Noise {
					noise++
				} else if !slices.Contains(g.Clusters[c].Members, i) {
					t.Errorf("%s: %d is no member of its cluster", tt.name, i)
				}
			}
			if g.Noise != noise || len(tt.vs) > 0 && g.NoiseShare() != float64(noise)/float64(len(tt.vs)) || math.IsNaN(g.Silhouette) || math.IsNaN(g.NoiseShare()) {
				t.Errorf("%s: noise %d (%g), silhouette %g; want %d", tt.name, g.Noise, g.NoiseShare(), g.Silhouette, noise)
			}
		})
	}
}

func TestClusterConfig(t *testing.T) {
	for field, c := range map[string]ClusterConfig{
		"MinPts":    {MinPts: -1},
		"K":         {K: -1},
		"MaxK":      {MaxK: 1001},
		"Restarts":  {Restarts: -1},
		"Algorithm": {Algorithm: 2},
		"Eps":       {Eps: -.1},
	} {
		var bad *ConfigError
		if _, err := Group(nil, &c); !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%+v: %v, want a *ConfigError about %s", c, err, field)
		}
	}
	for _, eps := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		var bad *ConfigError
		if _, err := Group(nil, &ClusterConfig{Eps: eps}); !errors.As(err, &bad) {
			t.Errorf("eps %g: %v", eps, err)
		}
	}
	if g, err := Group(nil, nil); err != nil || g.Algorithm != DBSCAN {
		t.Errorf("nil: %v, %v", g, err)
	}
}

// The same vectors give the same clusters, and with the zero config too.
func TestGroupIsDeterministic(t *testing.T) {
	vs, _ := tenClassSet(11, .02, .05)
	both(t, func(t *testing.T, a Algorithm) {
		first := group(t, vs, ClusterConfig{Algorithm: a})
		for range 3 {
			if again := group(t, vs, ClusterConfig{Algorithm: a}); !reflect.DeepEqual(first, again) {
				t.Fatal("another grouping the second time")
			}
		}
		if s := first.String(); s != group(t, vs, ClusterConfig{Algorithm: a}).String() || !strings.HasPrefix(s, "600 vectors in 10 clusters by "+a.String()) {
			t.Errorf("as text: %s", s)
		}
	})
}

// Strangers, which are like nothing, stay noise, and the clusters are found among
// them all the same.
func TestStrangersAreNoise(t *testing.T) {
	for seed := range uint64(10) {
		vs, truth := tenClassSet(seed, .01, .01)
		r := rand.New(rand.NewPCG(seed, 30))
		const strangers = 60
		for range strangers {
			vs = append(vs, vec(t, float64(r.IntN(31)), r.Float64(), 10e3*math.Exp(r.Float64()*math.Log(60)), 1+2*r.Float64(), r.Float64()))
		}
		g := group(t, vs, ClusterConfig{})
		noise := 0
		for _, c := range g.Assign[len(truth):] {
			if c == Noise {
				noise++
			}
		}
		a := adjustedRand(truth, g.Assign[:len(truth)])
		if noise < strangers*3/4 || a < .95 {
			t.Errorf("seed %d: %d of %d strangers are noise, ARI of the others %.3f", seed, noise, strangers, a)
		}
	}
}

// Values that are wrong do not cost a class its k-means center.
func TestKMeansBearsWrongValues(t *testing.T) {
	vs, truth := tenClassSet(5, 0, 0)
	for i := range vs {
		if i%20 == 0 { // far outside of all classes, three in each
			vs[i].Set(TTLDelta, 200)
			vs[i].Set(MappingLifetime, MaxLifetimeMS)
		}
	}
	g := group(t, vs, ClusterConfig{Algorithm: KMeans})
	if a := adjustedRand(truth, g.Assign); a < .97 {
		t.Errorf("ARI %.3f\n%v", a, g)
	}
}

func TestGivenK(t *testing.T) {
	vs, _ := tenClassSet(1, 0, 0)
	for _, k := range []int{1, 2, 7, 10, 15} {
		if g := group(t, vs, ClusterConfig{Algorithm: KMeans, K: k}); len(g.Clusters) != k || g.Noise != 0 {
			t.Errorf("K %d: %d clusters, %d noise", k, len(g.Clusters), g.Noise)
		}
	}
	// Few vectors, fewer than DBSCAN would call a cluster.
	few := slices.Concat(repeat(vec(t, 10, 1, 30e3, 3, 0), 3), repeat(vec(t, 11, 0, 300e3, 1, 1), 3))
	if g := group(t, few, ClusterConfig{Algorithm: KMeans}); !slices.Equal(g.Assign, []int{0, 0, 0, 1, 1, 1}) {
		t.Errorf("two times three: %v", g.Assign)
	}
}

// A cluster that is in truth two is told to be inconsistent just where they differ,
// and its label says nothing of that.
func TestConsistencySeesJoinedClasses(t *testing.T) {
	for seed := range uint64(10) {
		vs, _ := tenClassSet(seed, .01, .01)
		for _, tt := range []struct {
			a, b int // classes
			d    Dim
		}{{2, 3, FilteringBehavior}, {0, 1, PortPreserve}, {4, 5, MappingLifetime}} {
			var c Cluster
			for i := range vs {
				if class := i / perClass; class == tt.a || class == tt.b {
					c.Members = append(c.Members, i)
				}
			}
			checkCluster(&c, vs, FitScaler(vs))
			others := slices.DeleteFunc(slices.Clone(c.Doubts), func(d Dim) bool { return d == tt.d || d == TTLDelta && tt.a == 4 })
			if c.Consistent() || !slices.Contains(c.Doubts, tt.d) || len(others) > 0 { // the last two differ by a hop as well
				t.Errorf("seed %d, classes %d and %d in one: doubts %v, want %v", seed, tt.a, tt.b, c.Doubts, tt.d)
			}
			if l := c.Label; tt.d == FilteringBehavior && l.Filtering != natprobe.FilteringUnknown ||
				tt.d == PortPreserve && l.Ports != PortsUnknown || tt.d == MappingLifetime && l.Lifetime != LifetimeUnknown {
				t.Errorf("seed %d, classes %d and %d in one: label %v", seed, tt.a, tt.b, l)
			}
		}
	}
}

func TestConsistencyNamesOutliers(t *testing.T) {
	// A world of two kinds, so that there is a scale.
	vs := slices.Concat(repeat(vec(t, 10, 1, 30e3, 3, 0), 20), repeat(vec(t, 20, 0, 300e3, 1, 1), 20))
	vs[4].Set(MappingLifetime, 300e3)
	vs[7].Mask(TTLDelta)
	vs[9].Set(FilteringBehavior, 2)
	vs[9].Set(TTLDelta, 15)
	for i := range 20 { // spread, but no outliers
		vs[i].Set(PortPreserve, 1-float64(i%5)/50)
	}
	g := group(t, vs, ClusterConfig{})
	c := g.Clusters[0]
	want := []Outlier{{4, []Dim{MappingLifetime}}}
	if !reflect.DeepEqual(c.Outliers, want) || !c.Consistent() || g.Assign[9] != Noise || g.Adopted != 1 {
		t.Errorf("outliers %v, want %v; consistent %v; 9 is in cluster %d; %d adopted", c.Outliers, want, c.Consistent(), g.Assign[9], g.Adopted)
	}
	if x, _ := c.Center.Get(PortPreserve); !near(x, .96) || !near(c.Spread[PortPreserve], .04) || c.Spread[TTLDelta] != 0 {
		t.Errorf("center %v, spread %v", c.Center, c.Spread)
	}
	if want := "\n0: 19 x filtering=address_and_port_dependent ports=kept lifetime=short echo=silent, 1 outliers"; !strings.Contains(g.String(), want) {
		t.Errorf("as text: %s", g)
	}
	joined := group(t, vs, ClusterConfig{Algorithm: KMeans, K: 1})
	if s := fmt.Sprint(joined); !strings.Contains(s, "inconsistent in [ttl_delta port_preserve") {
		t.Errorf("as text: %s", s)
	}
}

func TestLabelOf(t *testing.T) {
	for _, tt := range []struct {
		v    Vector
		want Label
	}{
		{Vector{}, Label{}},
		{vec(t, 99), Label{}},
		{vec(t, 5, 1, 30e3, 3, 1), Label{natprobe.FilteringAddressAndPortDependent, PortsKept, LifetimeShort, EchoAnswers}},
		{vec(t, 5, 0, 120e3, 2, 0), Label{natprobe.FilteringAddressDependent, PortsChanged, LifetimeAllowed, EchoSilent}},
		{vec(t, 5, .5, 300e3, 1, .5), Label{natprobe.FilteringEndpointIndependent, PortsMixed, LifetimeRecommended, EchoLimited}},
		{vec(t, 5, .8, 108e3, 1.4, .9), Label{natprobe.FilteringEndpointIndependent, PortsKept, LifetimeAllowed, EchoAnswers}},
		{vec(t, 5, .2, 107e3, 2.6, .1), Label{natprobe.FilteringAddressAndPortDependent, PortsChanged, LifetimeShort, EchoSilent}},
		{vec(t, 5, .21, 269e3, masked, .11), Label{0, PortsMixed, LifetimeAllowed, EchoLimited}},
		{vec(t, 5, masked, 270e3), Label{Lifetime: LifetimeRecommended}},
	} {
		if got := LabelOf(tt.v); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.v, got, tt.want)
		}
	}
	if s := (Label{}).String(); s != "filtering=unknown ports=unknown lifetime=unknown echo=unknown" {
		t.Errorf("nothing known: %s", s)
	}
	if PortClass(9).String() != "PortClass(9)" || LifetimeClass(9).String() != "LifetimeClass(9)" || EchoClass(9).String() != "EchoClass(9)" || Algorithm(9).String() != "Algorithm(9)" {
		t.Error("values that are none have names")
	}
}
