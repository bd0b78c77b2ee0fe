package fingerprint

import (
	"fmt"
	"testing"
)

// thousands returns n vectors of the ten classes.
func thousands(n int) (vs []Vector) {
	for seed := uint64(0); len(vs) < n; seed++ {
		set, _ := tenClassSet(seed, .02, .01)
		vs = append(vs, set...)
	}
	return vs[:n]
}

func BenchmarkGroup(b *testing.B) {
	for _, algorithm := range []Algorithm{DBSCAN, KMeans} {
		for _, n := range []int{1000, 10000} {
			vs := thousands(n)
			b.Run(fmt.Sprintf("%v/%d", algorithm, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Group(vs, &ClusterConfig{Algorithm: algorithm}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
