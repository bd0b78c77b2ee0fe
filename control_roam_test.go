package bradawl

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// family is what a network has.
type family string

const (
	only4 family = "IPv4"
	only6 family = "IPv6"
	dual  family = "dual"
)

// network makes an access network with a NAT for IPv4 and a firewall for IPv6.
func (w *world) network(name string, f family, delay time.Duration) *simnet.Network {
	w.t.Helper()
	link := simnet.Link{Delay: delay}
	wall := simnet.NATConfig{Firewall: true, Filtering: simnet.AddressAndPortDependent}
	prefix := netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/64", 0x7000+len(name)))
	if f == only6 {
		nat, err := w.AddNAT(name, w.Internet(), wall, link, prefix)
		w.check(err)
		return nat.Inside()
	}
	nat, err := w.AddNAT(name, w.Internet(), randomCone().NATs[0], link)
	w.check(err)
	if f == dual {
		_, err := w.JoinNAT(name+" firewall", nat.Inside(), w.Internet(), wall, link, prefix)
		w.check(err)
	}
	return nat.Inside()
}

// roamer makes a world whose first session is on a network of its own, and the second
// behind a home router with both families.
func roamer(t *testing.T, seed uint64, from family, delay time.Duration) *world {
	w := newWorld(t, seed, "dual-stack", "dual-stack", func(o *worldOptions) { o.ipv6, o.nobody = true, true })
	host := w.AddHost("mobile", w.network("wifi", from, delay), simnet.Link{})
	w.newPeer(&simnet.Site{Host: host})
	site, err := w.AddSite("home", "dual-stack", w.option.access)
	w.check(err)
	w.newPeer(site)
	w.keep()
	return w
}

// TestRoaming takes a phone from Wi-Fi to a cellular network and its families, with both
// for a while or with nothing in between.
func TestRoaming(t *testing.T) {
	for _, from := range []family{only4, only6, dual} {
		for _, to := range []family{only4, only6, dual} {
			for _, overlap := range []bool{true, false} {
				name := fmt.Sprintf("%s to %s", from, to)
				if overlap {
					name += ", both for a while"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					data, direct := &figure{name: "data", limit: 10 * time.Second}, &figure{name: "direct", limit: 30 * time.Second}
					if overlap { // there is a path already, and the peer is told by it
						data.limit = 200 * time.Millisecond
					}
					var total tally
					for seed := range max(1, faults()/3) {
						w := roamer(t, seed+1, from, access)
						w.connect(PathDirect)
						w.chat(time.Duration(w.Rand("when").Int64N(int64(6*time.Second))), chatEvery)
						p := w.peers[0]
						wifi := p.site.Iface()
						cell := w.network("cellular", to, access)
						if overlap {
							p.site.AddIface(cell, simnet.Link{})
							p.roam()
							w.chat(5*time.Second, chatEvery)
						}
						p.site.RemoveIface(wifi)
						p.roam()
						since := w.Now()
						if !overlap {
							w.chat(time.Second, chatEvery)
							p.site.AddIface(cell, simnet.Link{})
							p.roam()
							since = w.Now()
						}
						w.chat(30*time.Second, chatEvery)
						w.Run(3 * time.Second)
						total = w.ledger.settle()
						again, dir, _ := w.outage(since)
						data.add(again)
						direct.add(dir)
						if again > data.limit || dir > direct.limit {
							w.fail("data after %v, directly after %v; %v", again, dir, total)
						}
					}
					report(t, name, total, data, direct)
				})
			}
		}
	}
}

// TestPlannedMovesLoseNothing: as long as the path before works, a move loses no datagram,
// and doubles none.
func TestPlannedMovesLoseNothing(t *testing.T) {
	const every = 20 * time.Millisecond
	t.Run("from the relay to a direct path", func(t *testing.T) {
		t.Parallel()
		for seed := range faults() {
			w := newWorld(t, seed+1, "", "", cones...)
			w.keep()
			a, b := w.peers[0], w.peers[1]
			block := func(on bool) {
				w.Internet().SetBlackhole(a.site.NAT.Addrs()[0], b.site.NAT.Addrs()[0], on)
				w.Internet().SetBlackhole(b.site.NAT.Addrs()[0], a.site.NAT.Addrs()[0], on)
			}
			block(true)
			w.connect(PathRelay)
			block(false)
			w.chat(45*time.Second, every)
			w.Run(time.Second)
			if got := w.ledger.settle(); got.delivered != got.sent || a.count(EventUpgraded) != 1 || b.count(EventUpgraded) != 1 {
				w.fail("%v", got)
			} else if seed == 0 {
				t.Log(got)
			}
		}
	})
	t.Run("from Wi-Fi to a network that is nearer", func(t *testing.T) {
		t.Parallel()
		for seed := range faults() {
			w := roamer(t, seed+1, only4, access)
			w.connect(PathDirect)
			p := w.peers[0]
			wifi := p.site.Iface()
			before := p.path()
			p.site.AddIface(w.network("cellular", only4, access/5), simnet.Link{})
			p.roam()
			w.chat(30*time.Second, every)
			if p.path().Local == before.Local {
				w.fail("nothing moved")
			}
			p.site.RemoveIface(wifi)
			p.roam()
			w.chat(10*time.Second, every)
			w.Run(time.Second)
			if got := w.ledger.settle(); got.delivered != got.sent {
				w.fail("%v", got)
			} else if seed == 0 {
				t.Log(got)
			}
		}
	})
}
