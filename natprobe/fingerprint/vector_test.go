package fingerprint

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// vec makes a vector; NaN masks a dimension.
func vec(t testing.TB, x ...float64) (v Vector) {
	t.Helper()
	for d, x := range x {
		if math.IsNaN(x) {
			continue
		}
		if err := v.Set(Dim(d), x); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

var masked = math.NaN()

func TestVectorSetRefuses(t *testing.T) {
	before := vec(t, 10, 1, 30e3, 3, .5)
	for d := range Dim(NumDims) {
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, dims[d].max + 1, dims[d].min - 0.1} {
			v := before
			err := v.Set(d, x)
			var bad *ValueError
			if !errors.As(err, &bad) || bad.Key != d.String() || v != before {
				t.Errorf("%v = %g: %v, vector %v; want a *ValueError and the vector as it was", d, x, err, v)
			}
		}
		v := before
		if err := errors.Join(v.Set(d, dims[d].min), v.Set(d, dims[d].max)); err != nil {
			t.Error(err)
		}
	}
	v := before
	var bad *ValueError
	if err := v.Set(NumDims, 0); !errors.As(err, &bad) || v != before {
		t.Errorf("a dimension that is none: %v", err)
	}
}

func TestVectorMask(t *testing.T) {
	v := vec(t, 10, 1, 30e3, 3, .5)
	v.Mask(MappingLifetime)
	v.Mask(200)
	if x, ok := v.Get(MappingLifetime); ok || x != 0 || v.Known() != 4 {
		t.Errorf("masked dimension: %g, %v; %d known", x, ok, v.Known())
	}
	if v != vec(t, 10, 1, masked, 3, .5) {
		t.Error("a masked dimension still tells what it was")
	}
	if _, ok := v.Get(200); ok {
		t.Error("a dimension that is none is known")
	}
	zero := vec(t, math.Copysign(0, -1))
	if zero.String() != vec(t, 0).String() {
		t.Errorf("negative zero: %v", zero)
	}
}

func TestDims(t *testing.T) {
	for d := range Dim(NumDims) {
		if back, ok := ParseDim(d.String()); !ok || back != d {
			t.Errorf("%d is %q is %d, %v", d, d.String(), back, ok)
		}
	}
	if _, ok := ParseDim("TTL_delta"); ok || Dim(9).String() != "unknown" {
		t.Error("a dimension that is none has a name")
	}
	if FilteringBehavior.String() != "filtering_behavior" || dims[FilteringBehavior].max != float64(natprobe.FilteringAddressAndPortDependent) {
		t.Error("filtering is not natprobe's scale")
	}
}

func TestObservation(t *testing.T) {
	for _, tt := range []struct {
		o    Observation
		want Vector
	}{
		{Observation{}, Vector{}},
		{Observation{Mappings: 4, Preserved: 3}, vec(t, masked, .75)},
		{Observation{Mappings: 4}, vec(t, masked, 0)},
		{Observation{Lifetime: 30 * time.Second}, vec(t, masked, masked, 30e3)},
		{Observation{Filtering: natprobe.FilteringAddressDependent}, vec(t, masked, masked, masked, 2)},
	} {
		if v, err := tt.o.Vector(); err != nil || v != tt.want {
			t.Errorf("%+v is %v, %v; want %v", tt.o, v, err, tt.want)
		}
	}
	for _, o := range []Observation{
		{Mappings: 1, Preserved: 2}, {Mappings: -1}, {Mappings: 1, Preserved: -1}, {Preserved: 1},
		{Lifetime: -1}, {Lifetime: math.MaxInt64}, {Filtering: 4},
	} {
		var bad *ValueError
		if v, err := o.Vector(); !errors.As(err, &bad) || v != (Vector{}) {
			t.Errorf("%+v: %v, %v; want a *ValueError", o, v, err)
		}
	}
}

func TestMerge(t *testing.T) {
	v := vec(t, 10, masked, 30e3)
	v.Merge(vec(t, 20, 1, masked, 3))
	if want := vec(t, 10, 1, 30e3, 3); v != want {
		t.Errorf("merged: %v, want %v", v, want)
	}
}
