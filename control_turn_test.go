package bradawl

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestWithoutRelay: a connection that finds no path says why no relay of ours does it, and what
// it says is so.
func TestWithoutRelay(t *testing.T) {
	t.Parallel()
	refused := errors.New("turn.example refused: 401")
	const none, silent, wrong = "; no TURN server is known here: name one in Config.TURN, or have the rendezvous hand one out",
		"; no relay here: the TURN server has not answered yet", "; no relay here: turn.example refused: 401"
	for _, r := range []struct {
		name   string
		policy Policy
		relay  bool // there is one
		asked  bool
		vain   error
		want   string // the end of it
	}{
		{"none is known", Auto, false, false, nil, none},
		{"none is known, and only it would do", RelayOnly, false, false, nil, none},
		{"one is asked", Auto, false, true, nil, silent},
		{"one is asked, and only it would do", RelayOnly, false, true, nil, silent},
		{"one refuses", Auto, false, true, refused, wrong},
		{"one refuses, and only it would do", RelayOnly, false, true, refused, wrong},
		{"what was named is none", Auto, false, false, refused, wrong},
		{"none is wanted", DirectOnly, false, true, refused, ""},
		{"there is one beside one that refuses", Auto, true, true, refused, ""},
		{"there is one, and only it would do", RelayOnly, true, true, nil, "use another Policy than RelayOnly"},
	} {
		w := newWorld(t, 1, "symmetric-random", "symmetric-random", func(o *worldOptions) {
			o.noTURN = !r.relay
			o.turn.Deny = func(netip.Addr) bool { return true } // where there is one, nobody is behind it
			o.config = func(c *controlConfig) { c.policy, c.noLanes = r.policy, true }
		})
		a := w.peers[0]
		a.do(func(time.Time) {
			if r.asked {
				a.asksTURN()
			}
			if r.vain != nil {
				a.noRelay(r.vain)
			}
		})
		w.Run(time.Second)
		var number uint32
		a.do(func(now time.Time) {
			var err error
			number, err = a.dial(now, w.peers[1].id.ID())
			w.check(err)
		})
		w.Run(20 * time.Second)
		e, _ := a.explain(w.Now(), number)
		w.Run(20 * time.Second)
		var failed *PathsError
		if len(a.over) != 1 || !errors.As(a.over[0], &failed) || failed.Err != ErrNoPath {
			w.fail("%s: %v", r.name, a.over)
		}
		for _, why := range []string{e.Why, failed.Why} {
			if !strings.HasSuffix(why, r.want) || r.want == "" && strings.Contains(why, "TURN") || strings.Contains(why, "relayed") ||
				strings.Contains(why, "another Policy") != (r.relay && r.policy == RelayOnly) ||
				strings.Contains(why, "none leads to the peer") != (r.policy == RelayOnly) {
				t.Errorf("%s: %q, want %q at its end", r.name, why, r.want)
			}
		}
	}
}
