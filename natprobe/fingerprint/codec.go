package fingerprint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// MarshalJSON writes an object with exactly the five keys of the dimensions, in
// their order, null where masked:
//
//	{"ttl_delta":12,"port_preserve":1,"mapping_lifetime_ms":null,"filtering_behavior":3,"icmp_echo_rate":0.8}
func (v Vector) MarshalJSON() ([]byte, error) { return v.appendJSON(nil), nil }

func (v Vector) appendJSON(b []byte) []byte {
	for d := range Dim(NumDims) {
		b = append(b, "{,"[min(d, 1)])
		b = strconv.AppendQuote(b, d.String())
		b = append(b, ':')
		if v.known.has(d) {
			b = strconv.AppendFloat(b, v.x[d], 'g', -1, 64)
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, '}')
}

// UnmarshalJSON reads what MarshalJSON wrote, the keys in any order. A key that is
// absent is masked, one that is no dimension is refused, and so is a value out of
// range, with a *ValueError. After an error v is as it was.
func (v *Vector) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil // as is the custom of encoding/json
	}
	var object map[string]*float64
	if err := json.Unmarshal(b, &object); err != nil {
		return fmt.Errorf("fingerprint: vector: %w", err)
	}
	var read Vector
	for _, key := range slices.Sorted(maps.Keys(object)) { // so that of two faults always the same is told
		d, ok := ParseDim(key)
		if !ok {
			return fmt.Errorf("fingerprint: vector: %q is no dimension; want ttl_delta, port_preserve, mapping_lifetime_ms, filtering_behavior and icmp_echo_rate", key)
		}
		if x := object[key]; x != nil {
			if err := read.Set(d, *x); err != nil {
				return err
			}
		}
	}
	*v = read
	return nil
}
