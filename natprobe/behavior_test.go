package natprobe

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestWords fixes the words that reports and programs exchange.
func TestWords(t *testing.T) {
	type all struct {
		M []Mapping
		F []Filtering
		T []Type
		P []PortModel
	}
	in := all{
		M: []Mapping{MappingUnknown, MappingEndpointIndependent, MappingAddressDependent, MappingAddressAndPortDependent},
		F: []Filtering{FilteringUnknown, FilteringEndpointIndependent, FilteringAddressDependent, FilteringAddressAndPortDependent},
		T: []Type{TypeUnknown, TypeOpen, TypeSymmetricFirewall, TypeFullCone, TypeRestrictedCone, TypePortRestrictedCone, TypeSymmetric, TypeUDPBlocked},
		P: []PortModel{PortsUnknown, PortsPreserving, PortsSequential, PortsRandom, PortsBlock},
	}
	text, err := json.Marshal(in)
	want := `{"M":["unknown","endpoint_independent","address_dependent","address_and_port_dependent"],` +
		`"F":["unknown","endpoint_independent","address_dependent","address_and_port_dependent"],` +
		`"T":["unknown","open","symmetric_firewall","full_cone","restricted_cone","port_restricted_cone","symmetric","udp_blocked"],` +
		`"P":["unknown","preserving","sequential","random","block"]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v\nwant %s", text, err, want)
	}
	var out all
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out.M, in.M) || !slices.Equal(out.F, in.F) || !slices.Equal(out.T, in.T) || !slices.Equal(out.P, in.P) {
		t.Errorf("%v came back as %v", in, out)
	}
	m := MappingAddressDependent
	if err := m.UnmarshalText([]byte("cone")); err == nil || m != MappingAddressDependent {
		t.Errorf("a foreign word: %v, %v", m, err)
	}
	if got := Type(99).String(); got != "Type(99)" {
		t.Errorf("Type(99) = %s", got)
	}
}
