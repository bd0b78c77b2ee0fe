package fingerprint

import (
	"fmt"
	"math"
	"strconv"
)

// Dim is one dimension of a fingerprint.
type Dim uint8

// The dimensions, each with its unit and range.
const (
	TTLDelta          Dim = iota // hops that the TTL lost on its way here: 0 to 255
	PortPreserve                 // share of mappings that kept the local port: 0 to 1
	MappingLifetime              // life of an idle UDP mapping in milliseconds: 0 to MaxLifetimeMS
	FilteringBehavior            // ordinal, the stricter the greater: 1 to 3, as natprobe.Filtering
	ICMPEchoRate                 // share of ICMP echo requests answered: 0 to 1
	NumDims           = 5        // how many there are
)

// MaxLifetimeMS is the longest mapping lifetime that a Vector holds, in
// milliseconds: ten years, which stands for "as long as the NAT runs".
const MaxLifetimeMS = 10 * 365 * 24 * 3600 * 1000

var dims = [NumDims]struct {
	key      string
	min, max float64
}{
	{"ttl_delta", 0, 255},
	{"port_preserve", 0, 1},
	{"mapping_lifetime_ms", 0, MaxLifetimeMS},
	{"filtering_behavior", 1, 3},
	{"icmp_echo_rate", 0, 1},
}

// String returns the dimension's JSON key, such as "ttl_delta".
func (d Dim) String() string {
	if d < NumDims {
		return dims[d].key
	}
	return "unknown"
}

// ParseDim returns the dimension of a JSON key.
func ParseDim(key string) (Dim, bool) {
	for d := range Dim(NumDims) {
		if dims[d].key == key {
			return d, true
		}
	}
	return 0, false
}

// mask has bit d set where dimension d is known.
type mask uint8

const allDims = mask(1<<NumDims - 1)

func (m mask) has(d Dim) bool { return m&(1<<d) != 0 }

func (m mask) count() (n int) {
	for ; m != 0; m &= m - 1 {
		n++
	}
	return n
}

// Vector is the fingerprint of one NAT: a value in each dimension, or nothing
// where that is not known (the dimension is masked). The zero value knows
// nothing. Vectors are comparable by ==, and hold only finite values in range,
// however they came to be.
type Vector struct {
	x     [NumDims]float64 // 0 where masked
	known mask
}

// Set sets one dimension. A value that is not a number or out of the range of d
// is refused with a *ValueError, and v is as it was.
func (v *Vector) Set(d Dim, x float64) error {
	switch {
	case d >= NumDims:
		return &ValueError{Key: strconv.Itoa(int(d)), Value: x, Reason: "there is no such dimension; use one of the constants"}
	case math.IsNaN(x) || x < dims[d].min || x > dims[d].max:
		return &ValueError{Key: d.String(), Value: x,
			Reason: fmt.Sprintf("want %g to %g, or leave the dimension masked", dims[d].min, dims[d].max)}
	}
	v.x[d] = x + 0 // -0 becomes 0, so that equal vectors are == in text too
	v.known |= 1 << d
	return nil
}

// Mask makes one dimension unknown.
func (v *Vector) Mask(d Dim) {
	if d < NumDims {
		v.x[d] = 0
		v.known &^= 1 << d
	}
}

// Get returns one dimension; false where it is masked.
func (v Vector) Get(d Dim) (float64, bool) {
	if d >= NumDims || !v.known.has(d) {
		return 0, false
	}
	return v.x[d], true
}

// Known is how many dimensions are not masked.
func (v Vector) Known() int { return v.known.count() }

// String shows the vector as its JSON.
func (v Vector) String() string { return string(v.appendJSON(nil)) }
