package ice_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// A wait that ends says what was missing, step by step as a program is written.
func TestConnectSaysWhatIsMissing(t *testing.T) {
	simulate(t, "open", "open", ice.Config{}, func(t *testing.T, w *shells) {
		a, err := w.ends[0].NewAgent(ice.AgentConfig{Timeout: time.Minute})
		check(t, err)
		want := func(words string) {
			t.Helper()
			why := errors.New("enough")
			late, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := a.Connect(late)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), words) {
				t.Errorf("%v, want %q and the deadline", err, words)
			}
			caused, end := context.WithCancelCause(t.Context())
			end(why)
			if _, err := a.Connect(caused); !errors.Is(err, why) {
				t.Errorf("%v, want the cause", err)
			}
		}
		want("no path: the peer's credentials are not known; give them to SetRemote: context deadline exceeded")
		check(t, a.SetRemote(ice.Credentials{Ufrag: "nobody", Pwd: "aPasswordThatIsLongEnough"}))
		want("the peer has told no candidate that ours can reach; give what it tells to AddRemote")
		there := ice.Candidate{Component: 1, Priority: 1, Foundation: "1", Addr: netip.MustParseAddrPort("127.0.0.1:5000")}
		check(t, a.AddRemote(there))
		there.Addr = netip.MustParseAddrPort("224.0.0.1:5000")
		check(t, a.AddRemote(there))
		want("can reach, and 2 that were passed over, such as candidate 127.0.0.1:5000 is a loopback address")

		check(t, a.EndOfCandidates())
		var failed *ice.FailedError
		var why *ice.RemoteError
		_, err = a.Connect(t.Context())
		if !errors.As(err, &failed) || failed.PassedOver != 2 || !errors.As(failed.WhyPassed, &why) || why.Addr.Port() != 5000 ||
			!strings.Contains(err.Error(), "and 2 that were passed over, such as candidate 127.0.0.1:5000 is a loopback address") {
			t.Errorf("%v", err)
		}
	})
}

// An endpoint without an address of use is told as that, and so is one that was closed.
func TestConnectWithoutCandidates(t *testing.T) {
	simulate(t, "open", "open", ice.Config{}, func(t *testing.T, w *shells) {
		for _, c := range []struct {
			policy ice.Policy
			then   func(*ice.Agent)
			want   string
		}{
			{policy: ice.RelayOnly, want: "there is no candidate of ours"},
			{then: func(a *ice.Agent) {
				check(t, a.AddRemote(ice.Candidate{Component: 1, Priority: 1, Foundation: "1", Addr: netip.MustParseAddrPort("198.51.100.9:5000")}))
			}, want: "pairs are there, "},
		} {
			e, err := ice.Listen(t.Context(), ice.Config{
				ListenPacket: w.sites[0].ListenPacket, Networks: []string{"udp4"},
				Addrs: func() ([]ice.HostAddr, error) { return []ice.HostAddr{{Addr: w.sites[0].Addrs()[0]}}, nil },
			})
			check(t, err)
			defer e.Close()
			a, err := e.NewAgent(ice.AgentConfig{Policy: c.policy, Timeout: -1})
			check(t, err)
			check(t, a.SetRemote(ice.Credentials{Ufrag: "nobody", Pwd: "aPasswordThatIsLongEnough"}))
			if c.then != nil {
				c.then(a)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			if _, err := a.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		}
	})
}
