package fingerprint

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestVectorJSON(t *testing.T) {
	for _, tt := range []struct {
		v    Vector
		text string
	}{
		{Vector{}, `{"ttl_delta":null,"port_preserve":null,"mapping_lifetime_ms":null,"filtering_behavior":null,"icmp_echo_rate":null}`},
		{vec(t, 12, 1, masked, 3, .8), `{"ttl_delta":12,"port_preserve":1,"mapping_lifetime_ms":null,"filtering_behavior":3,"icmp_echo_rate":0.8}`},
		{vec(t, 0, 0, 120000, 1, 0), `{"ttl_delta":0,"port_preserve":0,"mapping_lifetime_ms":120000,"filtering_behavior":1,"icmp_echo_rate":0}`},
	} {
		text, err := json.Marshal(tt.v)
		if err != nil || string(text) != tt.text {
			t.Errorf("%s, %v; want %s", text, err, tt.text)
		}
		var back Vector
		if err := json.Unmarshal(text, &back); err != nil || back != tt.v {
			t.Errorf("%s reads as %v, %v", text, back, err)
		}
	}
}

func TestVectorUnmarshal(t *testing.T) {
	before := vec(t, 1, 1, 1, 1, 1)
	for _, tt := range []struct {
		text string
		want Vector
	}{
		{`{}`, Vector{}},
		{`null`, before},
		{` { "icmp_echo_rate": 1, "ttl_delta": 2 } `, vec(t, 2, masked, masked, masked, 1)},
	} {
		v := before
		if err := json.Unmarshal([]byte(tt.text), &v); err != nil || v != tt.want {
			t.Errorf("%s: %v, %v; want %v", tt.text, v, err, tt.want)
		}
	}
	for text, typed := range map[string]bool{
		`{"ttl_delta":256}`:               true,
		`{"ttl_delta":-1}`:                true,
		`{"port_preserve":1.01}`:          true,
		`{"filtering_behavior":0}`:        true,
		`{"mapping_lifetime_ms":1e300}`:   true,
		`{"icmp_echo_rate":1e999}`:        false, // no number of this machine
		`{"icmp_echo_rate":NaN}`:          false, // no JSON
		`{"ttl_delta":"12"}`:              false,
		`{"TTL_delta":12}`:                false,
		`{"ttl_delta":12,"more":null}`:    false,
		`[1,2,3,4,5]`:                     false,
		`{"ttl_delta":1}{"ttl_delta":1}`:  false,
		`{"ttl_delta":12,"more":1`:        false,
		`{"":1}`:                          false,
		`{"ttl_delta":{"ttl_delta":null}`: false,
	} {
		v := before
		err := json.Unmarshal([]byte(text), &v)
		var bad *ValueError
		if err == nil || errors.As(err, &bad) != typed || v != before {
			t.Errorf("%s: %v, vector %v; want an error, typed %v", text, err, v, typed)
		}
	}
}

// FuzzVectorJSON: what is read is in range, is written with exactly the five keys,
// and reads the same again.
func FuzzVectorJSON(f *testing.F) {
	f.Add([]byte(`{"ttl_delta":12,"port_preserve":1,"mapping_lifetime_ms":null,"filtering_behavior":3,"icmp_echo_rate":0.8}`))
	f.Add([]byte(`{"ttl_delta":-0,"port_preserve":1e-320,"mapping_lifetime_ms":3.1e11}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var v Vector
		if json.Unmarshal(text, &v) != nil {
			if v != (Vector{}) {
				t.Fatalf("%q was refused and left %v", text, v)
			}
			return
		}
		var again Vector
		for d := range Dim(NumDims) {
			if x, ok := v.Get(d); ok {
				if err := again.Set(d, x); err != nil {
					t.Fatalf("%q was read: %v", text, err)
				}
			}
		}
		if v != again {
			t.Fatalf("%q reads as %#v", text, v)
		}
		written, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]any
		var back Vector
		if err := errors.Join(json.Unmarshal(written, &keys), json.Unmarshal(written, &back)); err != nil || len(keys) != NumDims || back != v {
			t.Fatalf("%q is written as %s and reads as %v, %v", text, written, back, err)
		}
		for d := range Dim(NumDims) {
			if _, ok := keys[d.String()]; !ok {
				t.Fatalf("%s lacks %v", written, d)
			}
		}
	})
}
