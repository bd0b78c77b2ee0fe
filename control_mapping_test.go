package bradawl

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
)

// TestMappingsThatEnd: NATs that end a mapping when it has a certain age, in use or not.
// The first three times cost a few seconds each; then the end is known beforehand, and
// nothing is lost by it.
func TestMappingsThatEnd(t *testing.T) {
	age, run := 20*time.Minute, 2*time.Hour
	if *seeds > 20 {
		age, run = time.Hour, 24*time.Hour
	}
	ends := func(c *simnet.NATConfig) { c.Absolute = age }
	for _, r := range []struct {
		name string
		with []func(*worldOptions)
	}{
		{"one NAT", []func(*worldOptions){behind(randomCone(ends), randomCone())}},
		{"both NATs", []func(*worldOptions){behind(randomCone(ends), randomCone(ends))}},
		{"one NAT, no relay", []func(*worldOptions){noTURN, behind(randomCone(ends), randomCone())}},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "", "", r.with...)
			w.connect(PathDirect)
			w.keep()
			began := w.Now()
			const every = 2 * time.Second
			w.chat(run, every)
			w.Run(10 * time.Second)
			total := w.ledger.settle()
			gap, late := &figure{name: "gap", limit: 7 * time.Second}, 0
			for _, p := range w.peers {
				var lost time.Duration
				for _, m := range p.sent {
					if m.delivered > 0 {
						if lost > 0 {
							gap.add(lost)
						}
						lost = 0
						continue
					}
					lost += every
					if m.at.Sub(began) > 4*age {
						late++
					}
				}
			}
			if len(gap.got) == 0 || late > 0 {
				w.fail("%d gaps, %d datagrams lost after the fourth end; %v", len(gap.got), late, total)
			}
			for _, p := range w.peers {
				if n := len(p.ice.Pairs(p.conns[p.conn].agent)); n > 30 {
					t.Errorf("%s has %d pairs of addresses at the end", p.name, n)
				}
			}
			report(t, r.name, total, gap)
		})
	}
}

// TestSocketsThatAreGone: of a socket that broke nothing is left that lanes, or another socket's
// turn, could be planned with, and the peer is told before it finds out.
func TestSocketsThatAreGone(t *testing.T) {
	fails := func(p *simPeer, id machine.SocketID) {
		p.do(func(now time.Time) {
			p.HandleNotice(now, machine.Notice{Kind: machine.SocketFailed, Socket: id, Err: errors.New("pulled out")})
		})
		for _, o := range p.mappings.bases {
			if o.spec.Socket == id && o.spec.Transport == ice.UDP {
				p.w.fail("the base at %v is there", o.spec.Addr)
			}
		}
		for of, twin := range p.mappings.twins {
			if of == id || twin.id == id {
				p.w.fail("socket %d takes turns with one that is gone", of)
			}
		}
	}
	t.Run("the only one", func(t *testing.T) {
		w := newWorld(t, 1, "", "", cones...)
		w.connect(PathDirect)
		w.keep()
		a, b := w.peers[0], w.peers[1]
		fails(a, 0)
		if _, ok := a.mappings.stable(); ok || !slices.Equal(a.broken, []machine.SocketID{0}) {
			w.fail("told of %v, and lanes would be planned", a.broken)
		}
		w.Run(pathRTT / 2)
		for _, p := range b.links[0].paths {
			if !p.relayed && !p.leaving {
				w.fail("the peer does not know that %v is gone", p.route.Remote)
			}
		}
		w.chat(5*time.Second, chatEvery)
		w.Run(time.Second)
		if total := w.ledger.settle(); total.delivered != total.sent || a.path().Kind != PathRelay {
			w.fail("by %v, %v", a.path(), total)
		}
	})
	for _, second := range []bool{false, true} { // the one in use, or the one whose turn is next
		t.Run(fmt.Sprintf("of two, %v", second), func(t *testing.T) {
			w := newWorld(t, 1, "", "", behind(randomCone(func(c *simnet.NATConfig) { c.Absolute = 5 * time.Minute }), randomCone()))
			w.connect(PathDirect)
			w.keep()
			a := w.peers[0]
			w.chat(22*time.Minute, time.Second)
			if len(a.mappings.twins) != 2 {
				w.fail("there are no two sockets")
			}
			used, _ := a.mappings.stable()
			id := used.Socket
			if second {
				id = a.mappings.twins[id].id
			}
			fails(a, id)
			if len(a.mappings.twins) != 0 {
				w.fail("left is %v", a.mappings.twins)
			}
			w.chat(time.Minute, time.Second)
			if base, ok := a.mappings.stable(); !ok || base.Socket == id || len(a.broken) == 0 && base.Socket != 0 {
				w.fail("told of %v, in use is socket %d, %v", a.broken, base.Socket, ok)
			}
			w.chat(20*time.Minute, time.Second)
			if a.path().Kind != PathDirect {
				w.fail("by %v", a.path())
			}
		})
	}
}
