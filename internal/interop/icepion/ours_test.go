package icepion_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/turnclient"
)

// ours is an agent of package ice with what it tells, sorted.
type ours struct {
	*ice.Agent
	candidates chan string // as text; an empty text tells that there are no more
	selected   chan ice.Pair
	restarted  chan ice.Credentials
	completed  chan struct{}
}

// newOurs makes an endpoint on 127.0.0.1 with one agent. Both are closed when the test ends.
func newOurs(t *testing.T, cfg ice.Config, agent ice.AgentConfig) *ours {
	t.Helper()
	cfg.Loopback = true
	if cfg.Addrs == nil {
		cfg.Addrs = func() ([]ice.HostAddr, error) {
			return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}, nil
		}
	}
	e, err := ice.Listen(t.Context(), cfg)
	check(t, err)
	o := &ours{
		candidates: make(chan string, 100), selected: make(chan ice.Pair, 100),
		restarted: make(chan ice.Credentials, 10), completed: make(chan struct{}, 100),
	}
	o.Agent, err = e.NewAgent(agent)
	check(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			ev, err := o.Next(context.Background())
			if err != nil {
				return
			}
			switch ev.Kind {
			case ice.EventCandidate:
				o.candidates <- ev.Candidate.String()
			case ice.EventGathered:
				o.candidates <- ""
			case ice.EventSelected:
				o.selected <- ev.Pair
			case ice.EventRestarted:
				o.restarted <- ev.Credentials
			case ice.EventState:
				t.Logf("ours: %v -> %v %v", ev.From, ev.State, ev.Err)
				if ev.State == ice.Completed {
					o.completed <- struct{}{}
				}
			case ice.EventPassedOver:
				t.Logf("ours: passed over %v: %v", ev.Candidate, ev.Err)
			}
		}
	}()
	t.Cleanup(func() {
		check(t, e.Close())
		<-done
	})
	return o
}

// behindNAT makes an endpoint's host one with a private address whose NAT shows its ports
// at 127.0.0.1, so that its reflexive candidates are not the same as its host candidates.
func behindNAT(cfg ice.Config) ice.Config {
	cfg.Addrs = func() ([]ice.HostAddr, error) {
		return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{192, 168, 1, 2})}}, nil
	}
	cfg.ListenPacket = func(ctx context.Context, network, _ string) (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, network, "127.0.0.1:0")
	}
	return cfg
}

// relay is a client of the TURN server, for an endpoint.
func relay(t *testing.T, s *servers) ice.Allocator {
	t.Helper()
	c, err := turnclient.Dial(t.Context(), turnclient.Config{
		Servers:     []string{"turn:" + s.addr.String()},
		Credentials: turnclient.Credentials{Username: s.username, Password: s.password},
	})
	check(t, err)
	return closeLater(t, c)
}
