package interop_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/interop/kernellab"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// side is a host, the router that it is behind, and the session on it.
type side struct {
	nat  *kernellab.NAT
	host *kernellab.Namespace
	*bradawl.Session
}

// newPair puts a host behind a symmetric NAT with random ports, and one behind a NAT that
// keeps ports and filters by them.
func newPair(t *testing.T, lab *kernellab.Lab, number byte, openHard, openEasy bool, cfg bradawl.Config) (hard, easy side) {
	t.Helper()
	private := netip.MustParseAddr("192.168.1.2")
	for _, s := range []struct {
		*side
		name         string
		prefix       [3]byte
		random, open bool
	}{{&hard, "hard", [3]byte{198, 51, 100}, true, openHard}, {&easy, "easy", [3]byte{192, 0, 2}, false, openEasy}} {
		public := netip.AddrFrom4([4]byte{s.prefix[0], s.prefix[1], s.prefix[2], number})
		s.nat = lab.NAT(kernellab.NATConfig{Name: fmt.Sprint(s.name, " NAT ", number), Public: public, FullyRandom: s.random, OpenInput: s.open})
		s.host = s.nat.Host(fmt.Sprint(s.name, " host ", number), private)
		s.Session = open(t, s.host, private, cfg)
		report, _ := s.NAT()
		want := natprobe.Profile{Type: natprobe.TypePortRestrictedCone, Mapping: natprobe.MappingEndpointIndependent}
		ports := natprobe.PortsPreserving
		if s.random {
			want.Type, want.Mapping, ports = natprobe.TypeSymmetric, natprobe.MappingAddressAndPortDependent, natprobe.PortsRandom
		}
		if p := report.Profile(); p.Type != want.Type || p.Mapping != want.Mapping || p.Filtering != natprobe.FilteringAddressAndPortDependent || p.Ports.Model != ports {
			t.Errorf("%s: found %+v, want %v, %v mapping, filtering by port and %v ports", s.host.Name, p, want.Type, want.Mapping, ports)
		}
	}
	return hard, easy
}

// usage is how much of the kernel's memory a side takes.
type usage struct{ sockets, entries int }

func (s side) usage(t *testing.T) (u usage) {
	t.Helper()
	err := s.host.Do(func() error {
		list, err := os.ReadFile("/proc/thread-self/net/udp")
		u.sockets = bytes.Count(list, []byte("\n")) - 1 // the first is the head
		return err
	})
	if err == nil {
		err = s.nat.Do(func() error {
			count, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
			if err != nil {
				return err
			}
			u.entries, err = strconv.Atoi(strings.TrimSpace(string(count)))
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// watch follows the greatest usage until stop is called.
func (s side) watch(t *testing.T) (stop func() usage) {
	end, most := make(chan struct{}), make(chan usage, 1)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var u usage
		for {
			now := s.usage(t)
			u.sockets, u.entries = max(u.sockets, now.sockets), max(u.entries, now.entries)
			select {
			case <-tick.C:
			case <-end:
				most <- u
				return
			}
		}
	}()
	stop = sync.OnceValue(func() usage {
		close(end)
		return <-most
	})
	t.Cleanup(func() { stop() })
	return stop
}

// A symmetric NAT with random ports against one that filters by port, as the kernel has
// them: each new flow through the first has a port that nobody can know, and yet the two meet.
func TestBirthdayThroughKernelNATs(t *testing.T) {
	lab := kernellab.New(t)
	serve(t, lab.Public("servers", stun1, stun2))
	for i, c := range []struct {
		name                          string
		easyDials, openHard, openEasy bool
	}{
		{name: "the hard side dials"},
		{name: "the easy side dials", easyDials: true},
		{name: "the hard NAT is open to itself", openHard: true},
		{name: "the easy NAT is open to itself", openEasy: true},
	} {
		number := byte(1 + i)
		t.Run(c.name, func(t *testing.T) {
			// One attempt in a hundred is in vain; the next need not wait for a minute.
			hard, easy := newPair(t, lab, number, c.openHard, c.openEasy, bradawl.Config{Budget: punch.Budget{Cooldown: -1}})
			before := [2]usage{hard.usage(t), easy.usage(t)}
			watches := [2]func() usage{hard.watch(t), easy.watch(t)}
			began := time.Now()
			var conns [2]*bradawl.Conn // as before
			if !c.easyDials {
				conns[0], conns[1] = connect(t, hard.Session, easy.Session)
			} else {
				conns[1], conns[0] = connect(t, easy.Session, hard.Session)
			}
			usable := time.Since(began)
			mustCarry(t, conns[0], conns[1])
			for _, c := range conns {
				awaitDirect(t, c)
			}
			direct := time.Since(began)
			mustCarry(t, conns[0], conns[1])
			opened := false
			for i, s := range []side{hard, easy} {
				c := conns[i]
				var e bradawl.Explanation
				await(t, s.host.Name+": an attempt does not end", func() bool {
					e = c.Explain()
					return !under(e.Lanes)
				})
				most := watches[i]()
				sent := make(map[int]int)
				for _, l := range e.Lanes {
					if l.Attempt == 0 {
						continue
					}
					sent[l.Attempt] += l.Sent
					opened = opened || l.Kind == punch.LaneBirthday && l.State == bradawl.LaneOpened
					t.Logf("%s: %v", s.host.Name, l)
				}
				for attempt, n := range sent {
					if n > 1600 {
						t.Errorf("%s: %d packets in attempt %d", s.host.Name, n, attempt)
					}
				}
				// A socket is closed beside the loop, so that a few more can be open for a moment.
				lanes := most.sockets - before[i].sockets
				if lanes > 256+16 || i == 1 && lanes > 16 {
					t.Errorf("%s: %d sockets were open at once", s.host.Name, lanes)
				}
				if e.Path.Kind != bradawl.PathDirect || !strings.HasPrefix(e.Why, "direct: ") {
					t.Errorf("%s: %v", s.host.Name, e)
				}
				t.Logf("%s: %v; at most %d sockets of lanes, %d more entries in the NAT", s.host.Name, e.Path, lanes, most.entries-before[i].entries)
			}
			if !opened {
				t.Errorf("not by the birthday lane:\n%v\n%v", conns[0].Explain(), conns[1].Explain())
			}
			t.Logf("usable after %v, direct after %v", usable.Round(time.Millisecond), direct.Round(time.Millisecond))
		})
	}
}

// under reports whether an attempt is under way.
func under(lanes []bradawl.LaneReport) bool {
	for _, l := range lanes {
		if l.State == bradawl.LaneRunning || l.State == bradawl.LaneOpened && l.Sent == 0 {
			return true
		}
	}
	return false
}

// Without attempts there is the relay, and the reason is told.
func TestNoLanesThroughKernelNATs(t *testing.T) {
	t.Parallel() // it waits for the checks to end
	lab := kernellab.New(t)
	serve(t, lab.Public("servers", stun1, stun2))
	hard, easy := newPair(t, lab, 1, false, false, bradawl.Config{Budget: punch.Budget{Probes: -1}})
	dialled, accepted := connect(t, easy.Session, hard.Session)
	for c, want := range map[*bradawl.Conn]string{
		dialled:  "peer's NAT is symmetric with random ports over the whole range; yours filters by port",
		accepted: "your NAT is symmetric with random ports over the whole range; the peer's filters by port",
	} {
		var e bradawl.Explanation
		await(t, "direct paths are not given up", func() bool {
			e = c.Explain()
			for _, check := range e.Checks {
				if check.Path.Kind == bradawl.PathDirect && check.State != "failed" {
					return false
				}
			}
			return true
		})
		if want += "; attempts at the ports are switched off by Config.Budget; enable UPnP or PCP on either router"; e.Path.Kind != bradawl.PathRelay || e.Why != want || e.Infeasible {
			t.Errorf("want a relay, because %s:\n%v", want, e)
		}
		for _, l := range e.Lanes {
			if l.Attempt != 0 {
				t.Errorf("it was tried all the same: %v", l)
			}
		}
	}
	mustCarry(t, dialled, accepted)
}

// Two hosts behind one NAT, which sends nothing back inside that is for its outside
// address: they meet inside.
func TestBehindOneKernelNAT(t *testing.T) {
	lab := kernellab.New(t)
	serve(t, lab.Public("servers", stun1, stun2))
	for i, random := range []bool{false, true} {
		nat := lab.NAT(kernellab.NATConfig{Name: fmt.Sprint("NAT ", i), Public: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), FullyRandom: random})
		var sessions [2]*bradawl.Session
		for j := range sessions {
			at := netip.AddrFrom4([4]byte{192, 168, 1, byte(2 + j)})
			sessions[j] = open(t, nat.Host(fmt.Sprint("host ", i, j), at), at, bradawl.Config{})
		}
		dialled, accepted := connect(t, sessions[0], sessions[1])
		for _, c := range []*bradawl.Conn{dialled, accepted} {
			if p := awaitDirect(t, c); !p.Local.Addr().IsPrivate() || !p.Remote.Addr().IsPrivate() {
				t.Errorf("%v, want one that stays inside", p)
			}
		}
		mustCarry(t, dialled, accepted)
	}
}
