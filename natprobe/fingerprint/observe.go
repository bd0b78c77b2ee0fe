package fingerprint

import (
	"fmt"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// Observation is what only a program behind a NAT can find out about it, as a run
// of natprobe there does. Zero fields are unknown.
type Observation struct {
	Mappings  int                // mappings that were looked at
	Preserved int                // those of them that had the local port outside too
	Lifetime  time.Duration      // how long an idle UDP mapping lives
	Filtering natprobe.Filtering // of UDP
}

// Vector returns the observation as a vector, the other dimensions masked. The
// error is a *ValueError, for counts and durations that cannot be.
func (o Observation) Vector() (Vector, error) {
	var v Vector
	if o.Mappings < 0 || o.Preserved < 0 || o.Preserved > o.Mappings {
		return Vector{}, &ValueError{PortPreserve.String(), float64(o.Preserved), fmt.Sprintf("want 0 to the number of mappings, which is %d", o.Mappings)}
	}
	if o.Mappings > 0 {
		if err := v.Set(PortPreserve, float64(o.Preserved)/float64(o.Mappings)); err != nil {
			return Vector{}, err
		}
	}
	if o.Lifetime != 0 {
		if err := v.Set(MappingLifetime, float64(o.Lifetime)/float64(time.Millisecond)); err != nil {
			return Vector{}, err
		}
	}
	if o.Filtering != natprobe.FilteringUnknown {
		if err := v.Set(FilteringBehavior, float64(o.Filtering)); err != nil {
			return Vector{}, err
		}
	}
	return v, nil
}

// Merge takes over from w each dimension that v does not know.
func (v *Vector) Merge(w Vector) {
	for d := range Dim(NumDims) {
		if !v.known.has(d) && w.known.has(d) {
			v.x[d], v.known = w.x[d], v.known|1<<d
		}
	}
}
