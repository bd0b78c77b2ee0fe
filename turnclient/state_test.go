package turnclient_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// step is a row of the table with one of what may follow.
type step struct{ from, to turnclient.State }

// The table is what happens, no more and no less: lives are led that take every step of
// it between them. (That no step is taken beside it, every lab looks after.)
func TestEveryStepOfTheTableIsTaken(t *testing.T) {
	taken := make(map[step]bool)
	live := func(lead func(t *testing.T, l *lab, id turnclient.AllocationID)) {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
		server := l.serve(serverAddr, authed())
		server.Deny = func(ip netip.Addr) bool { return ip == peerB.Addr() }
		lead(t, l, l.ready())
		for _, e := range l.all(turnclient.EventState) {
			taken[step{e.From, e.State}] = true
		}
	}
	server := func(l *lab) *turnHost { return l.hosts[serverAddr].(*turnHost) }
	closed := func(l *lab, id turnclient.AllocationID) { l.do(func(now time.Time) { l.m.Close(now, id) }) }
	observe := func(l *lab, id turnclient.AllocationID, n int, lost bool) {
		for range n {
			l.do(func(now time.Time) { l.m.Observe(now, id, 40*time.Millisecond, lost) })
		}
	}
	broken := func(l *lab) {
		l.notice(machine.Notice{Kind: machine.SocketFailed, Socket: l.sent[len(l.sent)-1].socket, Err: errors.New("gone")})
	}
	// bring gets the allocation into a state that stands.
	bring := map[turnclient.State]func(l *lab, id turnclient.AllocationID){
		turnclient.Allocated: func(l *lab, id turnclient.AllocationID) { l.run(time.Second) },
		turnclient.PermissionPending: func(l *lab, id turnclient.AllocationID) {
			l.run(time.Second)
			_ = l.send(id, peerA, "x")
		},
		turnclient.Permitted: func(l *lab, id turnclient.AllocationID) {
			_ = l.send(id, peerA, "x")
			l.run(time.Second)
		},
		turnclient.Congested: func(l *lab, id turnclient.AllocationID) {
			observe(l, id, 40, true)
			l.run(time.Second)
		},
	}
	for state, to := range bring {
		for name, leave := range map[string]func(l *lab, id turnclient.AllocationID){
			"closed":    closed,
			"lost":      func(l *lab, id turnclient.AllocationID) { broken(l); l.run(time.Second) },
			"in doubt":  func(l *lab, id turnclient.AllocationID) { l.do(l.m.NetworkChanged); l.run(time.Second) },
			"congested": func(l *lab, id turnclient.AllocationID) { observe(l, id, 40, true); l.run(time.Second) },
		} {
			live(func(t *testing.T, l *lab, id turnclient.AllocationID) {
				to(l, id)
				if got := l.m.State(id); got != state {
					t.Fatalf("%v, %s: state %v", state, name, got)
				}
				leave(l, id)
			})
		}
	}
	for _, lead := range []func(t *testing.T, l *lab, id turnclient.AllocationID){
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // a refused peer: nothing is permitted after all
			_ = l.send(id, peerB, "x")
			l.run(time.Second)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // an idle peer's permission lapses, while another's is asked for
			_ = l.send(id, peerA, "x")
			l.run(537 * time.Second) // renewed once, and not again
			l.up = func(b []byte) []byte {
				if b[1] == 0x08 {
					return nil // the request for the other
				}
				return b
			}
			_ = l.send(id, host4(9), "x")
			l.run(10 * time.Second)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // and while none is
			_ = l.send(id, peerA, "x")
			l.run(10 * time.Minute)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // congestion that clears
			observe(l, id, 40, true)
			observe(l, id, 100, false)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // with a peer
			observe(l, id, 40, true)
			_ = l.send(id, peerA, "x")
			l.run(time.Second)
			observe(l, id, 100, false)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // with one that is asked for
			observe(l, id, 40, true)
			_ = l.send(id, peerA, "x")
			observe(l, id, 100, false)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // back after silence, with a peer
			_ = l.send(id, peerA, "x")
			l.run(time.Second)
			l.do(l.m.NetworkChanged)
			l.run(time.Second)
			l.do(l.m.NetworkChanged)
			closed(l, id)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // lost in doubt
			l.do(l.m.NetworkChanged)
			server(l).s.Restart()
			l.run(10 * time.Second)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) { // lost for now, and closed on the way
			server(l).s.Refuse = map[wire.Method]int{wire.Allocate: wire.CodeServerError}
			broken(l)
			l.run(10 * time.Second)
			closed(l, id)
		},
		func(t *testing.T, l *lab, id turnclient.AllocationID) {
			broken(l)
			closed(l, id)
		},
	} {
		live(lead)
	}
	for s := turnclient.Idle; s <= turnclient.Closed; s++ {
		for _, to := range s.Next() {
			if !taken[step{s, to}] {
				t.Errorf("%v is never followed by %v", s, to)
			}
			delete(taken, step{s, to})
		}
	}
	for s := range taken {
		t.Errorf("%v was followed by %v, which the table lacks", s.from, s.to)
	}
}
