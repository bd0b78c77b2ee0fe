package fingerprint

import (
	"cmp"
	"slices"
)

// Noise is the cluster number of a vector that belongs to no cluster.
const Noise = -1

// dbscan is the outcome of DBSCAN (Ester, Kriegel, Sander, Xu 1996) on a density.
type dbscan struct {
	*density
	minPts int
	eps    float64
	cores  []int // ascending
	assign []int // for each point its cluster, or Noise
	count  int   // of clusters
}

// dbscan finds the clusters: the points with at least minPts within eps, itself
// among them, are cores; cores within eps of each other are of one cluster; and
// other points join the cores within eps of them. Which points are cores, and which
// of them are together, does not depend on the order of the points.
func (s *density) dbscan(minPts int, eps float64) *dbscan {
	r := &dbscan{density: s, minPts: minPts, eps: eps, assign: make([]int, len(s.points))}
	for i := range r.assign {
		r.assign[i] = Noise
	}
	for i, p := range s.complete {
		if s.near[i] <= eps {
			r.cores = append(r.cores, p)
		}
	}
	r.joinCores()
	for i := range r.points {
		if p := &r.points[i]; r.assign[i] == Noise { // no core
			r.assign[i] = r.vote(func(core *point) float64 {
				if (p.known & core.known).count() < s.enough() {
					return eps + 1
				}
				return distance(p, core)
			})
		}
	}
	return r
}

// joinCores numbers the clusters in the order of their first cores.
func (r *dbscan) joinCores() {
	parent := make([]int, len(r.cores)) // a union-find forest; the root is a cluster's first core
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	cores := make([]point, len(r.cores))
	for i, c := range r.cores {
		parent[i], cores[i] = i, r.points[c]
		for j := range i {
			if distance(&cores[i], &cores[j]) <= r.eps {
				a, b := find(i), find(j)
				parent[max(a, b)] = min(a, b)
			}
		}
	}
	for i, c := range r.cores {
		if root := find(i); root == i {
			r.assign[c] = r.count
			r.count++
		} else {
			r.assign[c] = r.assign[r.cores[root]]
		}
	}
}

// vote gives a point that is no core to the cluster that most of the minPts nearest
// cores within eps belong to. DBSCAN leaves open which of several clusters gets such
// a point; the one nearest core alone is more often an outlier of its own cluster.
func (r *dbscan) vote(distance func(core *point) float64) int {
	type voter struct {
		distance float64
		cluster  int
	}
	var voters []voter
	for _, c := range r.cores {
		if d := distance(&r.points[c]); d <= r.eps {
			voters = append(voters, voter{d, r.assign[c]})
		}
	}
	slices.SortFunc(voters, func(a, b voter) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.cluster, b.cluster))
	})
	votes := make([]int, r.count)
	elected := Noise
	for _, v := range voters[:min(len(voters), r.minPts)] {
		votes[v.cluster]++
		if elected == Noise || votes[v.cluster] > votes[elected] {
			elected = v.cluster
		}
	}
	return elected
}

// adopt gives each noise point to a cluster that it would belong to but for one
// dimension, and returns how many there were. Errors of measurement come one at a
// time: a lifetime that was read wrong leaves four dimensions that are right.
// [checkCluster] then names the dimension.
func (r *dbscan) adopt() (adopted int) {
	for i := range r.points {
		if r.assign[i] != Noise {
			continue
		}
		r.assign[i] = r.vote(func(core *point) float64 { return distanceLessWorst(&r.points[i], core, r.enough()) })
		if r.assign[i] != Noise {
			adopted++
		}
	}
	return adopted
}
