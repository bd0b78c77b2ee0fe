package interop_test

import (
	"strings"
	"testing"
)

// answer is what a tool says about a place, in the words of natcheck. What it
// does not speak of is empty.
type answer struct {
	kind      string // as RFC 3489 has it
	nat       string // whether there is one
	mapping   string
	filtering string
	ports     string // the port model
}

const (
	independent = "endpoint_independent"
	byAddress   = "address_dependent"
	byPort      = "address_and_port_dependent"
	unknown     = "unknown"
)

// String leaves out what is not said and, as every type implies whether there is
// a NAT, that beside a type.
func (a answer) String() string {
	var words []string
	switch {
	case a.kind != "":
		words = append(words, a.kind)
	case a.nat == "yes":
		words = append(words, "NAT")
	case a.nat == "no":
		words = append(words, "no NAT")
	}
	for _, w := range []struct{ name, value string }{{"mapping", a.mapping}, {"filtering", a.filtering}, {"ports", a.ports}} {
		if w.value != "" && w.value != unknown {
			words = append(words, w.name+" "+w.value)
		}
	}
	if len(words) == 0 {
		return "nothing that is understood here"
	}
	return strings.Join(words, ", ")
}

// judge says "right" if all that was said is so, "wrong" if something is not, and
// "?" if nothing was said.
func (a answer) judge(truth answer) string {
	if a == (answer{}) {
		return "?"
	}
	for _, w := range []struct{ said, truth string }{
		{a.kind, truth.kind}, {a.nat, truth.nat}, {a.mapping, truth.mapping}, {a.filtering, truth.filtering}, {a.ports, truth.ports},
	} {
		if w.said != "" && w.said != w.truth {
			return "wrong"
		}
	}
	return "right"
}

// phrase is a part of a tool's output and what it means.
type phrase struct {
	text    string
	meaning answer
}

// read adds up what the phrases in text mean. Of phrases that speak of the same
// the earlier one of the list counts.
func read(text string, phrases []phrase) (a answer) {
	for _, p := range phrases {
		if !strings.Contains(text, p.text) {
			continue
		}
		for _, w := range []struct {
			to   *string
			said string
		}{
			{&a.kind, p.meaning.kind}, {&a.nat, p.meaning.nat}, {&a.mapping, p.meaning.mapping}, {&a.filtering, p.meaning.filtering},
		} {
			if *w.to == "" {
				*w.to = w.said
			}
		}
	}
	return a
}

// What the tools say. That the server could not be reached is how all of them
// tell that UDP is blocked.
var (
	stunPhrases = []phrase{
		{"Primary: Open", answer{kind: "open"}},
		{"Primary: Firewall", answer{kind: "symmetric_firewall"}},
		{"Primary: Independent Mapping, Independent Filter", answer{kind: "full_cone"}},
		{"Primary: Independent Mapping, Address Dependent Filter", answer{kind: "restricted_cone"}},
		{"Primary: Independent Mapping, Port Dependent Filter", answer{kind: "port_restricted_cone"}},
		{"Primary: Dependent Mapping", answer{kind: "symmetric"}},
		{"Primary: Blocked", answer{kind: "udp_blocked"}},
	}
	natdiscoveryPhrases = []phrase{
		{"No NAT!", answer{nat: "no", mapping: independent}},
		{"NAT with Endpoint Independent Mapping!", answer{nat: "yes", mapping: independent}},
		{"NAT with Address Dependent Mapping!", answer{nat: "yes", mapping: byAddress}},
		{"NAT with Address and Port Dependent Mapping!", answer{nat: "yes", mapping: byPort}},
		{"NAT with Endpoint Independent Filtering!", answer{nat: "yes", filtering: independent}},
		{"NAT with Address Dependent Filtering!", answer{nat: "yes", filtering: byAddress}},
		{"NAT with Address and Port Dependent Filtering!", answer{nat: "yes", filtering: byPort}},
	}
	stunclientPhrases = []phrase{
		{"Binding test: fail", answer{kind: "udp_blocked"}},
		{"Nat behavior: Direct Mapping", answer{nat: "no", mapping: independent}},
		{"Nat behavior: Endpoint Independent Mapping", answer{nat: "yes", mapping: independent}},
		{"Nat behavior: Address Dependent Mapping", answer{nat: "yes", mapping: byAddress}},
		{"Nat behavior: Address and Port Dependent Mapping", answer{nat: "yes", mapping: byPort}},
		{"Nat filtering: Direct Mapping", answer{filtering: independent}},
		{"Nat filtering: Endpoint Independent Filtering", answer{filtering: independent}},
		{"Nat filtering: Address Dependent Filtering", answer{filtering: byAddress}},
		{"Nat filtering: Address and Port Dependent Filtering", answer{filtering: byPort}},
	}
)

// readStun reads the answer of the program stun (vovida.org).
func readStun(out string) answer { return read(out, stunPhrases) }

// readNatdiscovery reads the answer of coturn's turnutils_natdiscovery -m -f.
func readNatdiscovery(out string) answer {
	a := read(out, natdiscoveryPhrases)
	if a == (answer{}) && strings.Contains(out, "STUN receive timeout") {
		a.kind = "udp_blocked"
	}
	return a
}

// readStunclient reads the answer of stunclient --mode full (stunprotocol.org).
func readStunclient(out string) answer { return read(out, stunclientPhrases) }

func TestReadTools(t *testing.T) {
	masquerade := answer{"port_restricted_cone", "yes", independent, byPort, "preserving"}
	blocked := answer{"udp_blocked", unknown, unknown, unknown, unknown}
	for _, c := range []struct {
		name  string
		read  func(string) answer
		out   string
		want  answer
		truth answer
		judge string
	}{
		{
			"stun", readStun,
			"STUN client version 0.97\nPrimary: Independent Mapping, Port Dependent Filter, preserves ports, no hairpin\t\nReturn value is 0x000017\n",
			answer{kind: "port_restricted_cone"}, masquerade, "right",
		},
		{
			"stun, wrong", readStun,
			"Primary: Dependent Mapping, random port, no hairpin\t\nReturn value is 0x000018\n",
			answer{kind: "symmetric"}, masquerade, "wrong",
		},
		{
			"stun, blocked", readStun,
			"Primary: Blocked or could not reach STUN server\t\nReturn value is 0x00001c\n",
			answer{kind: "udp_blocked"}, blocked, "right",
		},
		{
			"stun, address not resolved", readStun,
			"bind: Cannot assign requested address\n",
			answer{}, masquerade, "?",
		},
		{
			"natdiscovery", readNatdiscovery,
			"-= Mapping Behavior Discovery =-\nNAT with Endpoint Independent Mapping!\n-= Filtering Behavior Discovery =-\nSTUN receive timeout..\nSTUN receive timeout..\nNAT with Address and Port Dependent Filtering!\n",
			answer{nat: "yes", mapping: independent, filtering: byPort}, masquerade, "right",
		},
		{
			"natdiscovery, a NAT where there is none", readNatdiscovery,
			"NAT with Endpoint Independent Mapping!\nNAT with Endpoint Independent Filtering!\n",
			answer{nat: "yes", mapping: independent, filtering: independent},
			answer{"open", "no", independent, independent, "preserving"}, "wrong",
		},
		{
			"natdiscovery, blocked", readNatdiscovery,
			"-= Mapping Behavior Discovery =-\nSTUN receive timeout..\n-= Filtering Behavior Discovery =-\nSTUN receive timeout..\n",
			answer{kind: "udp_blocked"}, blocked, "right",
		},
		{
			"stunclient", readStunclient,
			"Binding test: success\nLocal address: 192.168.1.2:5000\nMapped address: 198.51.100.1:5000\nBehavior test: success\n" +
				"Nat behavior: Endpoint Independent Mapping\nFiltering test: success\nNat filtering: Address and Port Dependent Filtering\n",
			answer{nat: "yes", mapping: independent, filtering: byPort}, masquerade, "right",
		},
		{
			"stunclient, blocked", readStunclient,
			"Binding test: fail\nBehavior test: fail\nFiltering test: fail\n",
			answer{kind: "udp_blocked"}, blocked, "right",
		},
	} {
		got := c.read(c.out)
		if judge := got.judge(c.truth); got != c.want || judge != c.judge {
			t.Errorf("%s: read as %+v, %s, want %+v, %s", c.name, got, judge, c.want, c.judge)
		}
	}
}
