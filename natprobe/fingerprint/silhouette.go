package fingerprint

import (
	"math"
	"math/rand/v2"
	"slices"
)

// silhouetteSample is of how many points the silhouette is taken at most, as it
// compares each with every other.
const silhouetteSample = 1000

// sample returns at most silhouetteSample of the numbers, ascending.
func sample(from []int, r *rand.Rand) []int {
	if len(from) <= silhouetteSample {
		return from
	}
	chosen := make([]int, silhouetteSample)
	for i, at := range r.Perm(len(from))[:silhouetteSample] {
		chosen[i] = from[at]
	}
	slices.Sort(chosen)
	return chosen
}

// pairwise is the matrix of the points' distances, row after row.
func pairwise(points []point) []float64 {
	n := len(points)
	between := make([]float64, n*n)
	for i := range points {
		for j := range i {
			d := distance(&points[i], &points[j])
			between[i*n+j], between[j*n+i] = d, d
		}
	}
	return between
}

// silhouette is the mean over all points of (b-a)/max(a,b), where a is the mean
// distance to the others of one's own cluster and b the least mean distance to
// another cluster (Rousseeuw 1987): 1 for clusters well apart, 0 for overlapping
// ones. A point alone in its cluster counts 0, and so does everything where there
// are fewer than two clusters. Points that share no dimension are passed over.
func silhouette(between []float64, assign []int, k int) float64 {
	total := 0.0
	sum, count := make([]float64, k), make([]float64, k)
	n := len(assign)
	for i, own := range assign {
		clear(sum)
		clear(count)
		for j, d := range between[i*n : (i+1)*n] {
			if c := assign[j]; i != j && d < math.MaxFloat64 {
				sum[c] += d
				count[c]++
			}
		}
		a, b := 0.0, math.Inf(1)
		for c := range k {
			switch {
			case count[c] == 0:
			case c == own:
				a = sum[c] / count[c]
			default:
				b = min(b, sum[c]/count[c])
			}
		}
		if most := max(a, b); count[own] > 0 && most > 0 && !math.IsInf(b, 1) {
			total += (b - a) / most
		}
	}
	return total / float64(max(n, 1))
}
