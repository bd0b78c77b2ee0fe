package bradawl

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// figure is one number of a table, in seconds, with its limit at p99.
type figure struct {
	name  string
	limit time.Duration
	got   []time.Duration
}

func (f *figure) add(d time.Duration) { f.got = append(f.got, d) }

// report prints figures, p50 and p99, and holds the latter to their limits.
func report(t *testing.T, row string, extra any, figures ...*figure) {
	t.Helper()
	text := row + ":"
	for _, f := range figures {
		p50, p99 := quantile(f.got, .5), quantile(f.got, .99)
		text += fmt.Sprintf(" %s %.2f / %.2f s (at most %g);", f.name, p50.Seconds(), p99.Seconds(), f.limit.Seconds())
		if p99 > f.limit {
			t.Errorf("%s: %s after %v at p99, want %v at most", row, f.name, p99, f.limit)
		}
	}
	t.Logf("%s %v", text, extra)
}

// faults are worlds for each row of the fault matrix.
func faults() uint64 { return uint64(max(4, *seeds/4)) }

const (
	chatEvery = 100 * time.Millisecond
	never     = 1000 * time.Hour
)

// fault is a row of the fault matrix: two sessions that have talked for a while, what
// happens to them, and how soon they must be well again.
type fault struct {
	name   string
	nats   [2]string
	with   []func(*worldOptions)
	kind   PathKind // before
	strike func(w *world)
	run    time.Duration // for that long after the fault

	data   time.Duration // p99 until all datagrams arrive again
	direct time.Duration // until they come directly; never: they need not
	gap    time.Duration // the longest time without a datagram, in both directions
}

// hasRelay and hasNone are common options.
var (
	cones = []func(*worldOptions){behind(randomCone(), randomCone())}
	hard  = [2]string{"symmetric-random", "symmetric-random"}
)

func TestFaults(t *testing.T) {
	for _, f := range []fault{
		{
			name: "NAT reboot, new ports", with: cones, kind: PathDirect, run: 40 * time.Second,
			strike: func(w *world) { w.peers[0].site.NAT.Reboot(time.Second) },
			data:   10 * time.Second, direct: 30 * time.Second, gap: 7 * time.Second,
		}, {
			name: "NAT reboot, on a relay", nats: hard, kind: PathRelay, run: 30 * time.Second,
			strike: func(w *world) { w.peers[0].site.NAT.Reboot(time.Second) },
			data:   10 * time.Second, direct: never, gap: 10 * time.Second,
		}, {
			name: "both NATs reboot, no relay", with: append([]func(*worldOptions){noTURN}, cones...), kind: PathDirect, run: 40 * time.Second,
			strike: func(w *world) { w.peers[0].site.NAT.Reboot(time.Second); w.peers[1].site.NAT.Reboot(2 * time.Second) },
			data:   10 * time.Second, direct: 30 * time.Second, gap: 10 * time.Second,
		}, {
			name: "external IP change", with: cones, kind: PathDirect, run: 40 * time.Second,
			strike: func(w *world) { w.peers[0].site.NAT.Iface().SetAddrs(netip.MustParseAddr("192.0.2.77")) },
			data:   10 * time.Second, direct: 30 * time.Second, gap: 7 * time.Second,
		}, {
			name: "one-way black hole", with: cones, kind: PathDirect, run: 20 * time.Second,
			strike: func(w *world) {
				w.Internet().SetBlackhole(w.peers[0].site.NAT.Addrs()[0], w.peers[1].site.NAT.Addrs()[0], true)
			},
			data: 7 * time.Second, direct: never, gap: 7 * time.Second,
		}, {
			name: "TURN restart, cold", nats: hard, kind: PathRelay, run: 40 * time.Second,
			strike: func(w *world) {
				gone := simnet.Link{Down: true} // it does not even say that nobody is there
				w.host.Iface().SetLink(gone, gone)
				w.server.Close()
				w.After(time.Second, func() {
					w.startTURN()
					w.host.Iface().SetLink(simnet.Link{}, simnet.Link{})
				})
			},
			data: 10 * time.Second, direct: never, gap: 10 * time.Second,
		}, {
			name: "stale nonces", nats: hard, kind: PathRelay, run: 2 * time.Minute,
			with:   []func(*worldOptions){func(o *worldOptions) { o.user = "ann"; o.turn.NonceLifetime = 500 * time.Millisecond }},
			strike: func(*world) {},
			data:   0, direct: never, gap: time.Second,
		}, {
			name: "wall clock an hour ahead", with: cones, kind: PathDirect, run: 20 * time.Second,
			strike: func(w *world) { w.peers[0].skew += time.Hour },
			data:   0, direct: time.Second, gap: time.Second,
		}, {
			name: "wall clock an hour back", with: cones, kind: PathDirect, run: 20 * time.Second,
			strike: func(w *world) { w.peers[0].skew -= time.Hour },
			data:   0, direct: time.Second, gap: time.Second,
		}, {
			name: "suspended for 10 minutes", with: cones, kind: PathDirect, run: 30 * time.Second,
			strike: func(w *world) { w.suspend(w.peers[0], 10*time.Minute) },
			data:   5 * time.Second, direct: 30 * time.Second, gap: 5 * time.Second,
		}, {
			name: "suspended for 10 minutes, on a relay", nats: hard, kind: PathRelay, run: 30 * time.Second,
			strike: func(w *world) { w.suspend(w.peers[0], 10*time.Minute) },
			data:   5 * time.Second, direct: never, gap: 5 * time.Second,
		}, {
			name: "full datagrams are lost on the path", nats: [2]string{"dual-stack", "dual-stack"}, kind: PathDirect, run: 30 * time.Second,
			with: []func(*worldOptions){func(o *worldOptions) { o.ipv6 = true }},
			strike: func(w *world) {
				if !w.peers[0].path().Remote.Addr().Is6() {
					w.fail("IPv6 is not preferred")
				}
				narrow := simnet.Link{Delay: access, MTU: 1000}
				w.peers[0].site.Firewall6.Iface().SetLink(narrow, narrow)
				w.bulk = MaxDatagram
			},
			data: 10 * time.Second, direct: 10 * time.Second, gap: 10 * time.Second,
		},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.check(t)
		})
	}
}

func (f *fault) check(t *testing.T) {
	data, direct, gap := &figure{name: "data", limit: f.data}, &figure{name: "direct", limit: f.direct}, &figure{name: "gap", limit: f.gap}
	var total tally
	for seed := range faults() {
		w := newWorld(t, seed+1, f.nats[0], f.nats[1], f.with...)
		w.keep()
		w.connect(f.kind)
		w.chat(time.Duration(w.Rand("when").Int64N(int64(6*time.Second))), chatEvery)
		f.strike(w)
		since := w.Now()
		w.chat(f.run, chatEvery)
		w.Run(3 * time.Second)
		total = w.ledger.settle()
		d, dir, g := w.outage(since)
		data.add(d)
		direct.add(dir)
		gap.add(g)
		ends := w.peers[0].path().Kind == PathDirect && w.peers[1].path().Kind == PathDirect
		if f.direct != never && !ends || d > f.data || f.direct != never && dir > f.direct || g > f.gap {
			w.fail("%s: data again after %v, directly after %v, nothing for %v: %v; %+v, %+v", f.name, d, dir, g, total, w.peers[0].counts, w.peers[1].counts)
		}
	}
	figures := []*figure{data, direct, gap}
	if f.direct == never {
		figures = []*figure{data, gap}
	}
	report(t, f.name, total, figures...)
}

// suspend puts a host to sleep for a while.
func (w *world) suspend(p *simPeer, d time.Duration) {
	p.sleep()
	w.Run(d)
	p.wake(d)
	p.offline = true // the shell finds its connection broken, and signs on again
	w.After(time.Second, func() {
		p.offline = false
		p.do(p.signedOn)
	})
}
