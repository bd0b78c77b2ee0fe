package icepion_test

import (
	"fmt"
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

// inEveryWay runs test with both versions, both roles, and candidates that are told at once
// and one by one. dial says that pion's agent controls.
func inEveryWay(t *testing.T, test func(t *testing.T, v version, dial, trickle bool)) {
	for _, v := range versions {
		for _, dial := range []bool{false, true} {
			for _, trickle := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/dials=%v/trickle=%v", v.name, dial, trickle), func(t *testing.T) {
					t.Parallel()
					test(t, v, dial, trickle)
				})
			}
		}
	}
}

func TestConnects(t *testing.T) {
	for _, c := range []struct {
		name     string
		networks []string
		shape    shape
		want     ice.Transport
	}{
		{"UDP", []string{"udp4"}, shape{}, ice.UDP},
		{"UDP to a socket of many agents", []string{"udp4"}, shape{mux: true}, ice.UDP},
		{"TCP that pion opens", []string{"tcp4"}, shape{tcp: true, noUDP: true}, ice.TCP},
		{"TCP that we open", []string{"tcp4"}, shape{tcp: true, noUDP: true, mux: true}, ice.TCP},
	} {
		t.Run(c.name, func(t *testing.T) {
			inEveryWay(t, func(t *testing.T, v version, dial, trickle bool) {
				o := iceagent.New(t, ice.Config{Networks: c.networks}, ice.AgentConfig{Controlling: !dial})
				m := connect(t, o, v.make(t, c.shape), dial, trickle)
				m.exchange(t)
				if got := o.Selected(); got.Local.Transport != c.want {
					t.Errorf("by %v to %v, want %v", got.Local, got.Remote, c.want)
				}
			})
		})
	}
}

// Where there are both, and we choose, UDP is chosen, whichever works first.
func TestConnectsOverUDPBeforeTCP(t *testing.T) {
	inEveryWay(t, func(t *testing.T, v version, dial, trickle bool) {
		o := iceagent.New(t, ice.Config{Networks: []string{"udp4", "tcp4"}}, ice.AgentConfig{Controlling: !dial, Patience: patience})
		m := connect(t, o, v.make(t, shape{tcp: true}), dial, trickle)
		m.exchange(t)
		if dial || trickle {
			return
		}
		<-o.Completed
		if got := o.Selected(); got.Local.Transport != ice.UDP {
			t.Errorf("by %v to %v", got.Local, got.Remote)
		}
	})
}
