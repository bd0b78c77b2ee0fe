package icepion_test

import (
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

func TestConnectsByServers(t *testing.T) {
	for _, c := range []struct {
		name        string
		ours, their candidates
	}{
		{"our reflexive address", reflexive, hosts},
		{"pion's reflexive address", hosts, reflexive},
		{"both reflexive addresses", reflexive, reflexive},
		{"our relay", relayed, hosts},
		{"pion's relay", hosts, relayed},
		{"both relays", relayed, relayed},
	} {
		t.Run(c.name, func(t *testing.T) {
			inEveryWay(t, func(t *testing.T, v version, dial, trickle bool) {
				s := newServers(t)
				cfg, agent := ice.Config{Networks: []string{"udp4"}}, ice.AgentConfig{Controlling: !dial}
				switch c.ours {
				case reflexive:
					cfg.STUN = []string{s.addr.String()}
					cfg, agent.Policy = behindNAT(cfg), ice.NoHost
				case relayed:
					cfg.Relays, agent.Policy = []ice.Allocator{relay(t, s)}, ice.RelayOnly
				}
				o := iceagent.New(t, cfg, agent)
				m := connect(t, o, v.make(t, shape{types: c.their, servers: s}), dial, trickle)
				m.exchange(t)
				pair := o.Selected()
				// A check may tell of an address before the server, or the signalling, does.
				if got := pair.Local.Type; got != types[c.ours] && !(c.ours == reflexive && got == ice.PeerReflexive) {
					t.Errorf("by %v, want %v", pair.Local, types[c.ours])
				}
				if got := pair.Remote.Type; got != types[c.their] && got != ice.PeerReflexive {
					t.Errorf("to %v, want %v", pair.Remote, types[c.their])
				}
			})
		})
	}
}

var types = [...]ice.CandidateType{hosts: ice.Host, reflexive: ice.ServerReflexive, relayed: ice.Relay}
