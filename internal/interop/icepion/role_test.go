package icepion_test

import (
	"fmt"
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

// Two agents that both believe to control, or both do not, agree all the same
// (RFC 8445 section 7.3.1.1), whichever has the greater tie-breaker.
func TestRoleConflicts(t *testing.T) {
	for _, v := range versions {
		for _, controlling := range []bool{false, true} {
			for i := range 4 { // the tie-breakers are random
				t.Run(fmt.Sprintf("%s/both control=%v/%d", v.name, controlling, i), func(t *testing.T) {
					t.Parallel()
					o := iceagent.New(t, ice.Config{Networks: []string{"udp4"}}, ice.AgentConfig{Controlling: controlling})
					m := connect(t, o, v.make(t, shape{}), controlling, false)
					m.exchange(t)
				})
			}
		}
	}
}
