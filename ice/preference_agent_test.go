package ice_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
)

// On a host with many interfaces each candidate has a local preference of its own among
// those of its type and transport (RFC 8445 section 5.1.2.1), in the order of the scores,
// also when interfaces have come and gone.
func TestPreferencesOfManyInterfaces(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 7))
		l := emptyLab(t)
		made := 0
		add := func() ice.BaseID {
			made++
			n := byte(made)
			b := ice.Base{
				Socket: machine.SocketID(made), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, n, 1}), 40000),
				Interface: ice.InterfaceInfo{
					Name: fmt.Sprintf("if%d", made), Kind: ice.InterfaceKind(random.IntN(6)), Speed: float64(random.IntN(4)) * 1e8,
					Loss: ice.Reading{Value: random.Float64() / 10, Known: random.IntN(2) == 0},
				},
			}
			if random.IntN(3) == 0 {
				b.Addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfd, 1, 15: n}), 40000)
			}
			id := l.base(b)
			outside := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, n}), 50000)
			if b.Addr.Addr().Is6() {
				outside = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: n}), 50000)
			}
			l.do(func(now time.Time) { l.m.AddMapped(now, id, outside) })
			b.Transport, b.TCPType = ice.TCP, ice.Passive
			l.base(b)
			return id
		}
		verify := func() {
			t.Helper()
			seen := make(map[uint32]ice.Scored)
			all := l.m.Candidates(l.agent(ice.AgentConfig{}))
			for _, s := range all {
				if other, twice := seen[s.Candidate.Priority]; twice {
					t.Errorf("seed %d: one priority for two:\n%v\n%v", seed, s, other)
				}
				seen[s.Candidate.Priority] = s
			}
			// Scores that differ by a level, a thousandth, are told apart.
			for _, a := range all {
				for _, b := range all {
					alike := a.Candidate.Type == b.Candidate.Type && a.Candidate.Transport == b.Candidate.Transport
					if alike && a.Score.Score > b.Score.Score+0.002 && a.Candidate.Priority <= b.Candidate.Priority {
						t.Errorf("seed %d: the better one stands behind:\n%v\n%v", seed, a, b)
					}
				}
			}
			if want := 150; len(all) != want {
				t.Errorf("seed %d: %d candidates, want %d", seed, len(all), want)
			}
		}
		var bases []ice.BaseID
		for range 50 {
			bases = append(bases, add())
		}
		verify()
		for range 20 {
			i := random.IntN(len(bases))
			l.do(func(now time.Time) {
				l.m.RemoveBase(now, bases[i])   // UDP, with what it is mapped to
				l.m.RemoveBase(now, bases[i]+1) // TCP
			})
			bases[i] = add()
		}
		verify()
	}
}
