package bradawl

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// recorded is what a peer has recorded, a line for each event. How many tries it took is
// left out: that is the agents' business.
func (p *simPeer) recorded() (all []string) {
	for _, e := range p.record {
		line := fmt.Sprintf("%v %v %v", e.Stage, e.Status, e.Latency.Round(time.Millisecond))
		if e.Pair != 0 {
			line += fmt.Sprintf(", %v %v%d", e.Pair, e.Protocol, e.IPVersion)
		}
		for _, word := range []string{e.Lane, e.Reason} {
			if word != "" {
				line += ", " + word
			}
		}
		all = append(all, line)
	}
	return all
}

// wants fails the test unless a peer has recorded just that, and every event is sound.
func (p *simPeer) wants(lines string) {
	p.w.t.Helper()
	got := strings.Join(p.recorded(), "\n")
	want := strings.TrimSpace(strings.ReplaceAll(lines, "\t", ""))
	if got != want {
		p.w.t.Errorf("%s has recorded\n%s\nwant\n%s\n", p.name, got, want)
	}
	p.sound()
}

// sound fails the test unless every event that a peer has recorded is whole, has an ID of its
// own, and is of the two networks and the group that there are.
func (p *simPeer) sound() {
	p.w.t.Helper()
	ids := make(map[stats.ID]bool)
	for _, e := range p.record {
		if err := e.Validate(); err != nil {
			p.w.t.Error(err)
		}
		ids[e.ID] = true
		if e.LocalNAT != p.profile.Type || e.RemoteNAT != natprobe.TypeUnknown && e.RemoteNAT != p.w.other(p).profile.Type ||
			e.Stage == stats.StageConnect && e.Status == stats.StatusSuccess && p.cfg.policy != RelayOnly && e.RemoteNAT != p.w.other(p).profile.Type {
			p.w.t.Errorf("%v between %v and %v", e, e.LocalNAT, e.RemoteNAT)
		}
		if e.Status == stats.StatusSuccess && e.Tries == 0 {
			p.w.t.Errorf("%v without a try", e)
		}
		if e.Session != p.record[0].Session || ids[e.Session] || e.Group != p.group || !e.Time.Before(p.w.Now().Add(time.Second)) {
			p.w.t.Errorf("%+v", e)
		}
	}
	if len(ids) != len(p.record) {
		p.w.t.Errorf("%d IDs for %d events", len(ids), len(p.record))
	}
}

func (w *world) other(p *simPeer) *simPeer {
	if p == w.peers[0] {
		return w.peers[1]
	}
	return w.peers[0]
}

// profiled tells both sides what their NATs are.
func (w *world) profiled(names ...string) {
	w.t.Helper()
	for i, name := range names {
		preset, err := simnet.PresetByName(name)
		w.check(err)
		p := w.peers[i]
		p.do(func(now time.Time) { p.setProfile(now, profileOf(preset)) })
	}
}

// end has peer 0 close its connection.
func (w *world) end() {
	a := w.peers[0]
	a.do(func(now time.Time) { a.close(now, a.conn) })
	w.Run(time.Second)
}

// recording runs one session each way between NATs that both sides know, and then whatever
// then does.
func recording(t *testing.T, natA, natB string, then func(w *world), with ...func(*worldOptions)) (a, b *simPeer) {
	t.Helper()
	w := newWorld(t, 1, natA, natB, with...)
	w.profiled(natA, natB)
	w.dialNow()
	then(w)
	return w.peers[0], w.peers[1]
}

func noLanes(o *worldOptions) {
	o.config = func(c *controlConfig) { c.noLanes = true }
}

func TestRecordDirectAtOnce(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "port-restricted-cone", "port-restricted-cone", func(w *world) {
		w.Run(10 * time.Second)
		w.end()
	}, noTURN)
	a.wants(`
		gather success 0s
		signal success 100ms
		punch success 105ms, srflx udp4, plain
		connect success 205ms, srflx udp4, plain`)
	b.wants(`
		gather success 0s
		signal success 105ms
		punch success 138ms, srflx udp4, plain
		connect success 138ms, srflx udp4, plain`)
}

// A relay carries data first, for the relayed pair is checked first.
func TestRecordUpgrade(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "port-restricted-cone", "port-restricted-cone", func(w *world) {
		w.Run(time.Minute)
		w.end()
	})
	a.wants(`
		gather success 0s
		signal success 100ms
		relay success 105ms, relay udp4
		connect success 205ms, relay udp4
		punch success 110ms, srflx udp4, plain
		upgrade success 5ms, srflx udp4, plain`)
	b.wants(`
		gather success 0s
		signal success 105ms
		punch success 143ms, srflx udp4, plain
		connect success 143ms, srflx udp4, plain
		relay success 150ms, relay udp4`)
}

// A pair that cannot be joined stays on the relay.
func TestRecordInfeasible(t *testing.T) {
	t.Parallel()
	for d, took := range map[time.Duration][4]string{
		time.Minute: {"11s", "10.895s", "11s", "10.85s"},
		time.Second: {"900ms", "795ms", "1s", "850ms"}, // to wait longer would not have helped
	} {
		a, b := recording(t, "symmetric-random", "symmetric-random", func(w *world) {
			w.Run(d)
			w.end()
		})
		a.wants(fmt.Sprintf(`
		gather success 0s
		signal success 100ms
		relay success 105ms, relay udp4
		connect success 205ms, relay udp4
		punch fail %s, infeasible_both_symmetric
		upgrade fail %s, infeasible_both_symmetric`, took[0], took[1]))
		b.wants(fmt.Sprintf(`
		gather success 0s
		signal success 105ms
		relay success 150ms, relay udp4
		connect success 150ms, relay udp4
		punch fail %s, infeasible_both_symmetric
		upgrade fail %s, infeasible_both_symmetric`, took[2], took[3]))
	}
}

// Closed before it is known whether there is a direct path: nothing can be said of that.
func TestRecordClosedEarly(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "port-restricted-cone", "symmetric-block", func(w *world) {
		w.Run(time.Second)
		w.end()
	}, noLanes)
	a.wants(`
		gather success 0s
		signal success 100ms
		relay success 105ms, relay udp4
		connect success 205ms, relay udp4
		punch cancelled 900ms, closed
		upgrade cancelled 795ms, closed`)
	b.wants(`
		gather success 0s
		signal success 105ms
		relay success 150ms, relay udp4
		connect success 150ms, relay udp4
		punch cancelled 1s, peer_closed
		upgrade cancelled 850ms, peer_closed`)
}

// What has failed at first may succeed when it is tried again.
func TestRecordLateUpgrade(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "linux", "port-restricted-cone", func(w *world) {
		if !w.direct(5 * time.Minute) {
			w.fail("not direct")
		}
		w.end()
	})
	a.wants(`
		gather success 0s
		signal success 100ms
		relay success 105ms, relay udp4
		connect success 205ms, relay udp4
		punch time_out 11s, unanswered
		upgrade time_out 10.895s, unanswered
		upgrade success 45.15s, srflx udp4, plain`)
	b.wants(`
		gather success 0s
		signal success 105ms
		relay success 150ms, relay udp4
		connect success 150ms, relay udp4
		punch time_out 11s, unanswered
		upgrade time_out 10.85s, unanswered
		upgrade success 45.16s, srflx udp4, plain`)
}

func TestRecordNoPath(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "symmetric-random", "symmetric-random", func(w *world) { w.Run(time.Minute) }, noTURN)
	a.wants(`
		gather success 0s
		signal success 100ms
		punch fail 11s, infeasible_both_symmetric
		connect time_out 30s, no_path`)
	b.wants(`
		gather success 0s
		punch fail 30s, infeasible_both_symmetric
		signal time_out 30s, unconfirmed
		connect time_out 30s, no_path`)
}

func TestRecordOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.peers[1].offline = true
	w.dialNow()
	w.Run(time.Second)
	w.peers[0].wants(`
		gather success 0s
		signal fail 50ms, peer_offline
		connect fail 50ms, peer_offline`)
	w.peers[1].wants(``)
}

func TestRecordRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.config = func(c *controlConfig) { c.ask = true }
	}}, cones...)...)
	w.peers[1].refuse = true
	w.dialNow()
	w.Run(time.Second)
	w.peers[0].wants(`
		gather success 0s
		signal fail 100ms, refused
		connect fail 100ms, refused`)
	w.peers[1].wants(`
		signal fail 0s, not_allowed
		connect fail 0s, not_allowed`)
}

// Who dials gives up before the peer has answered.
func TestRecordCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.Run(time.Second)
	a := w.peers[0]
	number := a.dialTo(w.peers[1])
	w.Run(80 * time.Millisecond)
	a.do(func(now time.Time) { a.close(now, number) })
	w.Run(40 * time.Second)
	a.wants(`
		gather success 0s
		signal cancelled 80ms, closed
		connect cancelled 80ms, closed`)
	w.peers[1].wants(`
		gather success 0s
		relay cancelled 30s, unconfirmed
		punch cancelled 30s, unconfirmed
		signal time_out 30s, unconfirmed
		connect time_out 30s, no_path`)
}

// The rendezvous takes offers and delivers none.
func TestRecordNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.carry = func(*simPeer, *simPeer, []byte) bool { return false }
	w.dialNow()
	w.Run(40 * time.Second)
	w.peers[0].wants(`
		gather success 0s
		signal time_out 30s, no_answer
		connect time_out 30s, no_answer`)
	w.peers[1].wants(``)
}

func TestRecordRelayOnly(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "open", "open", func(w *world) {
		w.Run(20 * time.Second)
		w.end()
	}, func(o *worldOptions) {
		o.config = func(c *controlConfig) { c.policy = RelayOnly }
	})
	a.wants(`
		gather success 0s
		signal success 100ms
		relay success 100ms, relay udp4
		connect success 200ms, relay udp4`)
	b.wants(`
		gather success 0s
		signal success 100ms
		relay success 150ms, relay udp4
		connect success 150ms, relay udp4`)
}

// A relay that is reached over TCP, for UDP is blocked.
func TestRecordRelayOverTCP(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "udp-blocked", "full-cone", func(w *world) {
		w.Run(time.Minute)
		w.end()
	})
	a.wants(`
		signal success 100ms
		relay success 155ms, relay tcp4
		connect success 255ms, relay tcp4
		gather success 4s
		punch fail 11s, local_udp_blocked
		upgrade fail 10.845s, local_udp_blocked`)
	b.wants(`
		gather success 0s
		signal success 100ms
		relay success 200ms, relay udp4
		connect success 200ms, relay udp4
		punch fail 11s, remote_udp_blocked
		upgrade fail 10.8s, remote_udp_blocked`)
}

// Two dials that cross are one connection, and one record on each side.
func TestRecordCrossingDials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){noTURN}, cones...)...)
	w.Run(time.Second)
	w.peers[0].dialTo(w.peers[1])
	w.peers[1].dialTo(w.peers[0])
	w.Run(20 * time.Second)
	w.peers[0].wants(`
		gather success 0s
		signal success 100ms
		punch success 105ms, srflx udp4, plain
		connect success 205ms, srflx udp4, plain`)
	w.peers[1].wants(`
		gather success 0s
		signal success 155ms
		punch success 138ms, srflx udp4, plain
		connect success 188ms, srflx udp4, plain`)
}

// TestRecordsChangeNothing: a session does the same whether it is recorded or not, and one
// seed gives one record.
func TestRecordsChangeNothing(t *testing.T) {
	t.Parallel()
	run := func(unrecorded bool) (trace string, events []stats.Event) {
		w := newWorld(t, 7, "cgnat", "symmetric-random", func(o *worldOptions) { o.unrecorded = unrecorded }, lossy(0.1))
		w.dialNow()
		w.Run(time.Minute)
		w.peers[0].site.NAT.Reboot(time.Second)
		w.Run(time.Minute)
		w.end()
		return w.TraceHash(), append(w.peers[0].record, w.peers[1].record...)
	}
	with, events := run(false)
	again, same := run(false)
	without, none := run(true)
	if with != again || with != without {
		t.Error("the traces differ")
	}
	if len(events) < 8 || !slices.Equal(events, same) || len(none) != 0 {
		t.Errorf("%d, %d and %d events", len(events), len(same), len(none))
	}
}

// A lane that got through is told by its name.
func TestRecordLane(t *testing.T) {
	t.Parallel()
	a, b := recording(t, "symmetric-random", "port-restricted-cone", func(w *world) {
		if !w.direct(10 * time.Second) {
			w.fail("not direct")
		}
		w.end()
	})
	for _, p := range []*simPeer{a, b} {
		all := strings.Join(p.recorded(), "\n")
		if !strings.Contains(all, "punch success") || !strings.Contains(all, "upgrade success") || strings.Count(all, "birthday udp4, birthday") != 2 {
			t.Errorf("%s has recorded\n%s", p.name, all)
		}
	}
}
