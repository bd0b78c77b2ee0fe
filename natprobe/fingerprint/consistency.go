package fingerprint

import (
	"math"
	"slices"
)

// Outlier is a vector that differs from its cluster in some dimensions.
type Outlier struct {
	Index int   // of the vector
	Dims  []Dim // in which it differs, ascending
}

// The consistency check, in standard deviations over all vectors.
const (
	sigmas      = 4   // of its cluster, beyond which a member is an outlier
	leastOut    = 0.5 // a member nearer to the middle is never an outlier
	mostSpread  = 0.5 // a wider cluster is no cluster in that dimension
	mostOutside = 0.1 // share of outliers in one dimension above which two clusters are in one
)

// checkCluster fills in what the members of a cluster have in common, and what
// they have not.
func checkCluster(c *Cluster, vs []Vector, s Scaler) {
	outside := make([][]Dim, len(c.Members))
	for d := range Dim(NumDims) {
		var known []float64
		for _, i := range c.Members {
			if x, ok := vs[i].Get(d); ok {
				known = append(known, x)
			}
		}
		if len(known) == 0 {
			continue
		}
		slices.Sort(known)
		center := median(known)
		c.Center.x[d], c.Center.known = center, c.Center.known|1<<d
		// What in a normal distribution is one standard deviation, and does not mind
		// outliers.
		low, high := middle(known, .68)
		c.Spread[d] = (high - low) / 2
		sigma := (s.Scale(d, high) - s.Scale(d, low)) / 2
		count := 0
		for m, i := range c.Members {
			x, ok := vs[i].Get(d)
			if ok && math.Abs(s.Scale(d, x)-s.Scale(d, center)) > max(sigmas*sigma, leastOut) {
				outside[m] = append(outside[m], d)
				count++
			}
		}
		if sigma > mostSpread || float64(count) > mostOutside*float64(len(known)) {
			c.Doubts = append(c.Doubts, d)
		}
	}
	for m, i := range c.Members {
		if outside[m] != nil {
			c.Outliers = append(c.Outliers, Outlier{i, outside[m]})
		}
	}
	sure := c.Center
	for _, d := range c.Doubts {
		sure.Mask(d)
	}
	c.Label = LabelOf(sure)
}
