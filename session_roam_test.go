package bradawl_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
)

// survey adds what finds NATs out: a STUN server with two addresses, over TCP, too.
func survey(t *testing.T) func(*internet) {
	return func(w *internet) {
		one, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.3")
		addrs := []netip.AddrPort{
			netip.AddrPortFrom(one, 3478), netip.AddrPortFrom(one, 3479), netip.AddrPortFrom(other, 3478), netip.AddrPortFrom(other, 3479),
		}
		m, err := stund.NewMachine(addrs, 0, 1)
		check(t, err)
		_, err = simnet.Run(w.AddHost("stun", w.Internet(), simnet.Link{}, one, other), m, simnet.RunOptions{Sockets: addrs, Listen: addrs}, nil)
		check(t, err)
	}
}

func surveyed(c *bradawl.Config) { c.STUN = []string{"198.51.100.1:3478"} }

func presetsOf(t *testing.T, names ...string) (all [2]simnet.Preset) {
	t.Helper()
	for i, name := range names {
		var err error
		all[i], err = simnet.PresetByName(name)
		check(t, err)
	}
	return all
}

// move takes the first host to a network behind another NAT; it returns that NAT.
func (w *internet) move(t *testing.T, preset string) *simnet.NAT {
	t.Helper()
	nat, err := w.AddNAT(preset, w.Internet(), presetsOf(t, preset, preset)[0].NATs[0], simnet.Link{Delay: 25 * time.Millisecond})
	check(t, err)
	old := w.sites[0].Iface()
	w.sites[0].AddIface(nat.Inside(), simnet.Link{})
	w.sites[0].RemoveIface(old)
	return nat
}

// awaits lets time pass until is holds.
func awaits(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); pass(50 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// reaches reports whether a datagram gets from one end to the other within a second.
func reaches(t *testing.T, from, to *bradawl.Conn) bool {
	t.Helper()
	text := fmt.Sprint(time.Now().UnixNano())
	if _, err := from.Write([]byte(text)); err != nil {
		return false
	}
	check(t, to.SetReadDeadline(time.Now().Add(time.Second)))
	for buf := make([]byte, 100); ; {
		n, err := to.Read(buf)
		if err != nil {
			return false
		}
		if string(buf[:n]) == text {
			return true
		}
	}
}

// TestTheNATIsFoundOutAnew: what the NAT of the network before did is not told any more, and
// what the one of the next does is found out and told, to those who are connected and to
// those who are not yet.
func TestTheNATIsFoundOutAnew(t *testing.T) {
	simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), survey(t), surveyed, func(t *testing.T, w *internet) {
		pass(10 * time.Second)
		a, b := w.meet(t)
		before, ok := w.ends[0].NAT()
		if !ok || before.Type != natprobe.TypePortRestrictedCone || b.Explain().Remote.Mapped != before.Profile().Mapped {
			t.Fatalf("before: %v, %v; the peer knows %v", before.Type, ok, b.Explain().Remote)
		}
		nat := w.move(t, "symmetric-sequential")
		w.ends[0].NotifyNetworkChange()
		if r, ok := w.ends[0].NAT(); ok {
			t.Errorf("the NAT of before is told: %v", r.Type)
		}
		awaits(t, 2*time.Second, "the peer forgets the NAT of before", func() bool { return b.Explain().Remote == natprobe.Profile{} })
		awaits(t, 10*time.Second, "the new NAT is known", func() bool { _, ok := w.ends[0].NAT(); return ok })
		after, _ := w.ends[0].NAT()
		if after.Type != natprobe.TypeSymmetric || !slices.Contains(nat.Addrs(), after.Profile().Mapped.Addr()) {
			t.Errorf("after: %v at %v", after.Type, after.Profile().Mapped)
		}
		awaits(t, 2*time.Second, "the peer knows it", func() bool { return b.Explain().Remote.Type == natprobe.TypeSymmetric })
		if a.Explain().Local.Type != natprobe.TypeSymmetric || a.Explain().Remote.Type != natprobe.TypePortRestrictedCone {
			t.Errorf("known here: %v, %v", a.Explain().Local, a.Explain().Remote)
		}
	})
}

// TestWhatWasBegunInTheNetworkBefore: servers are not asked each time that a host moves, but
// what was being found out when it moved is dropped each time.
func TestWhatWasBegunInTheNetworkBefore(t *testing.T) {
	simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), survey(t), surveyed, func(t *testing.T, w *internet) {
		pass(10 * time.Second)
		_, b := w.meet(t)
		began := time.Now()
		for range 4 { // as often as servers are asked in a row
			w.ends[0].NotifyNetworkChange()
		}
		pass(100 * time.Millisecond) // the NAT is being found out, by way of an interface that stays
		nat, err := w.AddNAT("second", w.Internet(), presetsOf(t, "full-cone", "full-cone")[0].NATs[0], simnet.Link{Delay: 25 * time.Millisecond})
		check(t, err)
		w.sites[0].AddIface(nat.Inside(), simnet.Link{})
		w.ends[0].NotifyNetworkChange()
		for time.Since(began) < 4900*time.Millisecond {
			if r, ok := w.ends[0].NAT(); ok {
				t.Fatalf("%v after the move the NAT of before is told: %v", time.Since(began), r.Type)
			}
			pass(50 * time.Millisecond)
		}
		if known := b.Explain().Remote; known != (natprobe.Profile{}) {
			t.Errorf("the peer knows %v", known)
		}
		awaits(t, 10*time.Second, "the NAT is known", func() bool { _, ok := w.ends[0].NAT(); return ok })
	})
}

// TestTheNATBehindTheAddressIsAnother: where a host keeps its address, as behind a router that
// goes by another line, what STUN servers see tells that the NAT is another one.
func TestTheNATBehindTheAddressIsAnother(t *testing.T) {
	simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), survey(t), surveyed, func(t *testing.T, w *internet) {
		pass(10 * time.Second)
		w.sites[0].NAT.SetBlockUDP(true)
		w.ends[0].NotifyNetworkChange()
		kind := func() natprobe.Type { r, _ := w.ends[0].NAT(); return r.Type }
		awaits(t, time.Minute, "UDP is blocked", func() bool { return kind() == natprobe.TypeUDPBlocked })
		w.sites[0].NAT.SetBlockUDP(false)
		awaits(t, 2*time.Minute, "UDP passes again", func() bool { return kind() == natprobe.TypePortRestrictedCone })
	})
}

// TestNoNetworkAtFirst: a session that begins without a way out, or without an address, finds
// out everything once there is one.
func TestNoNetworkAtFirst(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(w *internet)
		after  func(w *internet)
	}{
		{"the router's line is down", func(w *internet) {
			w.sites[0].NAT.Iface().SetLink(simnet.Link{Down: true}, simnet.Link{Down: true})
		}, func(w *internet) { w.sites[0].NAT.Iface().SetLink(simnet.Link{}, simnet.Link{}) }},
		{"no address", func(w *internet) {
			w.sites[0].RemoveIface(w.sites[0].Iface())
		}, func(w *internet) { w.sites[0].AddIface(w.sites[0].NAT.Inside(), simnet.Link{}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			build := func(w *internet) { survey(t)(w); c.before(w) }
			change := func(cfg *bradawl.Config) { surveyed(cfg); cfg.Policy = bradawl.Auto }
			simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), build, change, func(t *testing.T, w *internet) {
				pass(30 * time.Second)
				if r, ok := w.ends[0].NAT(); ok {
					t.Fatalf("a NAT was found: %v", r.Type)
				}
				c.after(w)
				awaits(t, 70*time.Second, "the NAT is known", func() bool { r, _ := w.ends[0].NAT(); return r.Type == natprobe.TypePortRestrictedCone })
				a, _ := w.meet(t)
				awaits(t, 10*time.Second, "a direct path", func() bool { return a.Path().Kind == bradawl.PathDirect })
				relays := func() (n int) {
					for _, c := range a.Explain().Candidates {
						if c.Ours && c.Type == "relay" {
							n++
						}
					}
					return n
				}
				awaits(t, 30*time.Second, "a relayed address", func() bool { return relays() == 1 })
			})
		})
	}
}

// TestRelaysFollowAtOnce: a TURN client is told of a new network, so that relayed data goes on
// long before silence would tell.
func TestRelaysFollowAtOnce(t *testing.T) {
	change := func(c *bradawl.Config) { surveyed(c); c.Policy = bradawl.RelayOnly }
	simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), survey(t), change, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		pass(10 * time.Second)
		if !reaches(t, a, b) || !reaches(t, b, a) {
			t.Fatal("nothing gets through before")
		}
		w.move(t, "port-restricted-cone")
		w.ends[0].NotifyNetworkChange()
		pass(time.Second)
		if !reaches(t, a, b) || !reaches(t, b, a) {
			t.Errorf("nothing gets through a second after the change\n%v", a.Explain())
		}
	})
}

// TestTCPFollows: paths of TCP, where there are no others, follow the host to its next network,
// and nothing is left of the one before.
func TestTCPFollows(t *testing.T) {
	change := func(c *bradawl.Config) { surveyed(c); c.TURN = nil }
	simulateIn(t, presetsOf(t, "udp-blocked", "port-restricted-cone"), survey(t), change, func(t *testing.T, w *internet) {
		pass(5 * time.Second)
		a, b := w.meet(t)
		if !reaches(t, a, b) || a.Path().Protocol != "tcp" {
			t.Fatalf("by %v", a.Path())
		}
		old := w.sites[0].Addr()
		nat := w.move(t, "udp-blocked")
		began := time.Now()
		awaits(t, 30*time.Second, "data goes on", func() bool { return reaches(t, a, b) && reaches(t, b, a) })
		t.Logf("after %v", time.Since(began))
		if p := a.Path(); p.Protocol != "tcp" {
			t.Errorf("by %v", p)
		}
		pass(10 * time.Second)
		outside := 0
		for _, c := range a.Explain().Candidates {
			switch {
			case !c.Ours:
			case strings.HasPrefix(c.Addr, old.String()+":"):
				t.Errorf("left is %+v", c)
			case c.Type == "srflx" && c.Protocol == "tcp" && strings.HasPrefix(c.Addr, nat.Addrs()[0].String()+":"):
				outside++
			}
		}
		if outside != 1 {
			t.Errorf("%d addresses of TCP outside, want one\n%v", outside, a.Explain())
		}
		fresh, other := w.meet(t)
		if !reaches(t, fresh, other) {
			t.Error("nothing gets through a further connection")
		}
	})
}

// fragile remembers sockets, which a test can break.
type fragile struct {
	mu     sync.Mutex
	opened []net.PacketConn
}

func (f *fragile) listen(of func(context.Context, string, string) (net.PacketConn, error)) func(context.Context, string, string) (net.PacketConn, error) {
	return func(ctx context.Context, network, address string) (net.PacketConn, error) {
		pc, err := of(ctx, network, address)
		if at, parsed := netip.ParseAddrPort(address); err == nil && parsed == nil && !at.Addr().IsUnspecified() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.opened = append(f.opened, pc)
		}
		return pc, err
	}
}

func (f *fragile) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.opened)
}

// TestSocketsThatBreak: a socket that the system has taken away, as mobile ones do while a
// program is in the background, is replaced, also where nobody looks regularly.
func TestSocketsThatBreak(t *testing.T) {
	t.Run("looked at", func(t *testing.T) { socketsThatBreak(t, 0) })
	t.Run("at once", socketsThatBreakAtOnce)
	t.Run("not looked at", func(t *testing.T) { socketsThatBreak(t, -1) })
}

func socketsThatBreak(t *testing.T, watch time.Duration) {
	var f fragile
	first := true
	change := func(c *bradawl.Config) {
		if surveyed(c); first {
			first = false
			c.ListenPacket = f.listen(c.ListenPacket)
		}
		c.TURN, c.Networks, c.WatchInterval = nil, []string{"udp4"}, watch
	}
	simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), survey(t), change, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		pass(10 * time.Second)
		if !reaches(t, a, b) || f.count() != 1 {
			t.Fatalf("%d sockets, by %v", f.count(), a.Path())
		}
		check(t, f.opened[0].Close())
		awaits(t, 5*time.Second, "another socket", func() bool { return f.count() == 2 })
		awaits(t, 20*time.Second, "data goes on", func() bool { return reaches(t, a, b) && reaches(t, b, a) })
		if pass(10 * time.Second); f.count() != 2 {
			t.Errorf("%d sockets were opened", f.count())
		}
	})
}

// socketsThatBreakAtOnce: some receive nothing from the first moment on.
func socketsThatBreakAtOnce(t *testing.T) {
	var f fragile
	first := true
	change := func(c *bradawl.Config) {
		if first {
			first = false
			listen := f.listen(c.ListenPacket)
			c.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
				pc, err := listen(ctx, network, address)
				if f.count() == 1 && err == nil {
					err = pc.Close()
				}
				return pc, err
			}
		}
		c.TURN, c.Networks, c.NoNATProbe, c.WatchInterval = nil, []string{"udp4"}, true, -1
	}
	simulate(t, "port-restricted-cone", "port-restricted-cone", change, func(t *testing.T, w *internet) {
		awaits(t, 5*time.Second, "another socket", func() bool { return f.count() == 2 })
		a, b := w.meet(t)
		if !reaches(t, a, b) || !reaches(t, b, a) {
			t.Error("nothing gets through")
		}
		hosts := 0
		for _, c := range a.Explain().Candidates {
			if c.Ours && c.Type == "host" {
				hosts++
			}
		}
		if hosts != 1 || f.count() != 2 {
			t.Errorf("%d host addresses, of %d sockets", hosts, f.count())
		}
	})
}

// following is a hub whose connections remember that the network has changed.
type following struct {
	*hub
	told *atomic.Int64
}

type followingSignals struct {
	bradawl.Signals
	told *atomic.Int64
}

func (f following) SignOn(ctx context.Context, id *bradawl.Identity) (bradawl.Signals, error) {
	s, err := f.hub.SignOn(ctx, id)
	if err != nil {
		return nil, err
	}
	return followingSignals{s, f.told}, nil
}

func (s followingSignals) NetworkChanged() { s.told.Add(1) }

// TestSignallingFollows: the connection of the signalling is told of another network, and one
// that could not be made is tried at once there.
func TestSignallingFollows(t *testing.T) {
	told := new(atomic.Int64)
	change := func(c *bradawl.Config) {
		c.Signaler, c.WatchInterval = following{c.Signaler.(*hub), told}, -1
	}
	simulate(t, "open", "open", change, func(t *testing.T, w *internet) {
		w.ends[0].NotifyNetworkChange()
		if pass(time.Second); told.Load() != 1 {
			t.Errorf("told %d times", told.Load())
		}
		for range 5 { // the wait before the next try is drawn at random
			w.hub.cut(true)
			pass(5 * time.Minute)
			w.hub.cut(false)
			w.ends[0].NotifyNetworkChange()
			if pass(time.Second); !w.ends[0].SignedOn() {
				t.Fatal("not signed on a second after the change")
			}
		}
		if told.Load() != 1 {
			t.Errorf("told %d times, though there was no connection", told.Load())
		}
	})
}

// stuck is a hub that does not answer in some networks. Its connections end with the context
// that they were made by.
type stuck struct {
	*hub
	mute atomic.Bool
}

type stuckSignals struct {
	bradawl.Signals
	ctx context.Context
}

func (h *stuck) SignOn(ctx context.Context, id *bradawl.Identity) (bradawl.Signals, error) {
	if h.mute.Load() {
		<-ctx.Done()
		return nil, fmt.Errorf("hub: %w", context.Cause(ctx))
	}
	s, err := h.hub.SignOn(ctx, id)
	return stuckSignals{s, ctx}, err
}

func (s stuckSignals) Receive(ctx context.Context) (bradawl.PeerID, []byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	return s.Signals.Receive(ctx)
}

// TestSigningOnFollows: a try to sign on that has no answer is given up when the host is in
// another network, where the next one is made at once. A connection that stands is left alone.
func TestSigningOnFollows(t *testing.T) {
	h := new(stuck)
	change := func(c *bradawl.Config) {
		if h.hub == nil { // of both
			h.hub = c.Signaler.(*hub)
		}
		c.Signaler, c.WatchInterval = h, -1
	}
	simulate(t, "open", "open", change, func(t *testing.T, w *internet) {
		a := w.ends[0]
		for range 5 { // the waits between tries are drawn at random
			h.mute.Store(true)
			w.hub.cut(true)
			w.hub.cut(false)
			if pass(5 * time.Minute); a.SignedOn() {
				t.Fatal("signed on at a hub that does not answer")
			}
			h.mute.Store(false)
			a.NotifyNetworkChange()
			if pass(time.Second); !a.SignedOn() {
				t.Fatal("not signed on a second after the change")
			}
		}
		pass(time.Minute)
		a.NotifyNetworkChange()
		pass(10 * time.Second)
		ups := 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for e := range a.Events(ctx) {
			switch e.Kind {
			case bradawl.EventSignalUp:
				ups++
			case bradawl.EventSignalDown:
				if e.Err.Error() != net.ErrClosed.Error() && e.Err.Error() != "the network changed while signing on" {
					t.Errorf("down: %v", e.Err)
				}
			}
		}
		if ups != 6 {
			t.Errorf("signed on %d times, want 6: a connection that stood was not left alone", ups)
		}
	})
}
