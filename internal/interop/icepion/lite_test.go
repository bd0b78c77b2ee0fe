package icepion_test

import (
	"fmt"
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

// An ICE-lite agent answers checks and sends none (RFC 8445 section 2.5). pion's is one,
// whether we are told so or not.
func TestConnectsWithLite(t *testing.T) {
	for _, v := range versions {
		for _, told := range []bool{false, true} {
			for _, trickle := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/told=%v/trickle=%v", v.name, told, trickle), func(t *testing.T) {
					t.Parallel()
					o := iceagent.New(t, ice.Config{Networks: []string{"udp4"}}, ice.AgentConfig{Controlling: !told, PeerIsLite: told})
					m := connect(t, o, v.make(t, shape{lite: true}), false, trickle)
					m.exchange(t)
					<-o.Completed
				})
			}
		}
	}
}
