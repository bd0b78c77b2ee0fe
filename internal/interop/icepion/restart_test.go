package icepion_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

func TestRestarts(t *testing.T) {
	for _, weRestart := range []bool{false, true} {
		t.Run(fmt.Sprintf("by us=%v", weRestart), func(t *testing.T) {
			inEveryWay(t, func(t *testing.T, v version, dial, trickle bool) {
				o := iceagent.New(t, ice.Config{Networks: []string{"udp4"}}, ice.AgentConfig{Controlling: !dial})
				m := connect(t, o, v.make(t, shape{}), dial, trickle)
				m.exchange(t)
				for range 2 { // the second is from where a first has led
					restart(t, m, weRestart)
					m.exchange(t)
				}
			})
		})
	}
}

// restart has both sides begin anew and returns when both have chosen a new path.
func restart(t *testing.T, m *meeting, weRestart bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := m.o.Selected()
	iceagent.Drain(m.o.Choices)
	iceagent.Drain(m.th.selected)
	iceagent.Drain(m.th.candidates)
	var local ice.Credentials
	if weRestart {
		var err error
		local, err = m.o.Restart()
		check(t, err)
		m.exchange(t) // data keeps its path
	}
	check(t, m.th.restart())
	ufrag, pwd, err := m.th.credentials()
	check(t, err)
	check(t, m.o.SetRemote(ice.Credentials{Ufrag: ufrag, Pwd: pwd}))
	if !weRestart {
		select {
		case local = <-m.o.Restarted:
		case <-ctx.Done():
			t.Fatal("our agent does not follow pion's restart")
		}
	}
	check(t, m.th.setCredentials(local.Ufrag, local.Pwd))
	check(t, m.th.gather())
	check(t, introduce(ctx, m.o, m.th))
	select {
	case pair := <-m.o.Choices:
		if pair.Remote.Addr == before.Remote.Addr {
			t.Errorf("the path goes to %v as before", pair.Remote)
		}
	case <-ctx.Done():
		t.Fatalf("our agent has chosen no new path: %v, %+v", m.o.State(), m.o.Pairs())
	}
	select {
	case <-m.th.selected:
	case <-ctx.Done():
		t.Fatalf("pion has chosen no new path; ours: %v, %+v", m.o.State(), m.o.Pairs())
	}
}
