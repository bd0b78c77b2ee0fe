package bradawl_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// internet is two sessions behind NATs with STUN and TURN servers, in virtual time.
type internet struct {
	*simnet.World
	hub   *hub
	sites [2]*simnet.Site
	ends  [2]*bradawl.Session
	stop  []func() // of what build has started
}

// simulate runs test over sessions. That it returns shows that no goroutine is left.
func simulate(t *testing.T, natA, natB string, change func(*bradawl.Config), test func(t *testing.T, w *internet)) {
	t.Helper()
	var presets [2]simnet.Preset
	for i, name := range []string{natA, natB} {
		var err error
		presets[i], err = simnet.PresetByName(name)
		check(t, err)
	}
	simulateOf(t, presets, change, test)
}

// simulateOf is simulate with presets of one's own.
func simulateOf(t *testing.T, presets [2]simnet.Preset, change func(*bradawl.Config), test func(t *testing.T, w *internet)) {
	t.Helper()
	simulateIn(t, presets, nil, change, test)
}

// simulateIn is simulateOf in a world that build completes, before its time begins.
func simulateIn(t *testing.T, presets [2]simnet.Preset, build func(*internet), change func(*bradawl.Config), test func(t *testing.T, w *internet)) {
	t.Helper()
	simulateSeed(t, 1, presets, build, change, test)
}

// simulateSeed is simulateIn by a seed, but for the sessions' own luck.
func simulateSeed(t *testing.T, seed uint64, presets [2]simnet.Preset, build func(*internet), change func(*bradawl.Config), test func(t *testing.T, w *internet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &internet{World: simnet.New(seed), hub: newHub()}
		server := w.AddHost("server", w.Internet(), simnet.Link{})
		for i, preset := range presets {
			site, err := w.AddSiteOf(string('a'+rune(i)), preset, simnet.Link{Delay: 25 * time.Millisecond})
			check(t, err)
			w.sites[i] = site
		}
		if build != nil {
			build(w)
		}
		defer func() {
			for _, stop := range w.stop {
				stop()
			}
		}()
		stop := w.Go()
		defer stop()
		defer serve(t, server)()
		for i, site := range w.sites {
			cfg := bradawl.Config{
				Signaler: w.hub, ListenPacket: site.ListenPacket, Dial: site.DialFrom,
				Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
					return site.Listen(ctx, network, address, true)
				},
				Addrs: func() (all []ice.HostAddr, err error) {
					for _, a := range site.Addrs() {
						all = append(all, ice.HostAddr{Addr: a})
					}
					return all, nil
				},
				STUN: []string{server.Addr().String()},
				TURN: []bradawl.TURNServer{{URI: fmt.Sprintf("turn:%v:%d", server.Addr(), turnPort)}},
			}
			if change != nil {
				change(&cfg)
			}
			var err error
			w.ends[i], err = bradawl.New(t.Context(), cfg)
			check(t, err)
			defer func() { check(t, w.ends[i].Close()) }()
		}
		pass(time.Second) // gathering
		test(t, w)
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve runs a TURN and a STUN server on one host.
func serve(t *testing.T, host *simnet.Host) (stop func()) {
	t.Helper()
	pc, err := host.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(host.Addr(), turnPort).String())
	check(t, err)
	turn, err := drive.Run[struct{}](turntest.NewServer(turntest.Config{Relay: host.Addr()}, rand.Reader), nil, drive.Options{
		Sockets: []net.PacketConn{pc}, ListenPacket: host.ListenPacket,
	})
	check(t, err)
	stun, err := stunserver.Listen(t.Context(), stunserver.Config{
		IP1: host.Addr(), ListenPacket: host.ListenPacket,
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return host.Listen(ctx, network, address, false)
		},
	})
	check(t, err)
	return func() { turn.Close(); stun.Close() }
}

const turnPort = 3490

// detector is a STUN server that tells what a NAT does, for it has two addresses.
const detector = "198.51.100.1:3478"

// addDetector adds it.
func addDetector(t *testing.T) func(*internet) {
	return func(w *internet) {
		one, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.3")
		addrs := []netip.AddrPort{
			netip.AddrPortFrom(one, 3478), netip.AddrPortFrom(one, 3479), netip.AddrPortFrom(other, 3478), netip.AddrPortFrom(other, 3479),
		}
		m, err := stund.NewMachine(addrs, 0, 1)
		check(t, err)
		_, err = simnet.Run(w.AddHost("stun", w.Internet(), simnet.Link{}, one, other), m, simnet.RunOptions{Sockets: addrs}, nil)
		check(t, err)
	}
}

// pass lets virtual time pass; it is for within a bubble.
func pass(d time.Duration) { <-time.After(d) }

// meet dials and accepts.
func (w *internet) meet(t *testing.T) (a, b *bradawl.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := w.ends[0].Dial(ctx, w.ends[1].ID())
	check(t, err)
	b, err = w.ends[1].Accept(ctx)
	check(t, err)
	return a, b
}

// TestSessionsBehindNATs: messages flow from the first usable path on, at 50 a second each
// way, and none is lost or doubled while the connection moves.
func TestSessionsBehindNATs(t *testing.T) {
	for _, c := range []struct {
		natA, natB string
		policy     bradawl.Policy
		want       bradawl.PathKind
		protocol   string
	}{
		{"port-restricted-cone", "port-restricted-cone", bradawl.Auto, bradawl.PathDirect, "udp"},
		{"full-cone", "symmetric-random", bradawl.Auto, bradawl.PathDirect, "udp"},
		{"symmetric-random", "symmetric-random", bradawl.Auto, bradawl.PathRelay, "udp"},
		{"open", "open", bradawl.RelayOnly, bradawl.PathRelay, "udp"},
		{"full-cone", "full-cone", bradawl.DirectOnly, bradawl.PathDirect, "udp"},
		{"full-cone", "full-cone", bradawl.NoHost, bradawl.PathDirect, "udp"},
	} {
		t.Run(fmt.Sprintf("%s/%s/%d", c.natA, c.natB, c.policy), func(t *testing.T) {
			simulate(t, c.natA, c.natB, func(cfg *bradawl.Config) { cfg.Policy = c.policy }, func(t *testing.T, w *internet) {
				began := time.Now()
				a, b := w.meet(t)
				t.Logf("usable after %v by %v", time.Since(began), a.Path())
				const count = 250
				for _, way := range []struct{ from, to *bradawl.Conn }{{a, b}, {b, a}} {
					go func() {
						for i := range count {
							if _, err := way.from.Write(fmt.Appendf(nil, "%d", i)); err != nil {
								t.Error(err)
							}
							pass(20 * time.Millisecond)
						}
					}()
				}
				for _, c := range []*bradawl.Conn{a, b} {
					check(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
					seen := make(map[string]bool)
					buf := make([]byte, 100)
					for range count {
						n, err := c.Read(buf)
						check(t, err)
						if seen[string(buf[:n])] {
							t.Errorf("%s came twice", buf[:n])
						}
						seen[string(buf[:n])] = true
					}
				}
				for _, end := range []*bradawl.Conn{a, b} {
					if p := end.Path(); p.Kind != c.want || p.Protocol != c.protocol {
						t.Errorf("by %v, want %v %v\n%v", p, c.want, c.protocol, end.Explain())
					}
				}
				if c.policy == bradawl.Auto && c.want == bradawl.PathRelay {
					if e := a.Explain(); e.Why == "" {
						t.Error("no word of why it is relayed")
					} else {
						t.Log(e.Why)
					}
				}
				check(t, a.Close())
			})
		})
	}
}

// TestTCPWhereUDPIsBlocked: a direct path over TCP, where no UDP gets out on one side.
func TestTCPWhereUDPIsBlocked(t *testing.T) {
	for _, other := range []string{"open", "port-restricted-cone"} { // both sides open at once behind two NATs
		t.Run(other, func(t *testing.T) { testTCPWhereUDPIsBlocked(t, other) })
	}
}

func testTCPWhereUDPIsBlocked(t *testing.T, other string) {
	simulate(t, "udp-blocked", other, func(cfg *bradawl.Config) { cfg.TURN = nil }, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		if p := a.Path(); p.Kind != bradawl.PathDirect || p.Protocol != "tcp" {
			t.Errorf("by %v\n%v", p, a.Explain())
		}
		for range 50 {
			_, err := a.Write([]byte("hello"))
			check(t, err)
			check(t, b.SetReadDeadline(time.Now().Add(time.Second)))
			buf := make([]byte, 10)
			n, err := b.Read(buf)
			check(t, err)
			if string(buf[:n]) != "hello" {
				t.Errorf("%q", buf[:n])
			}
		}
	})
}

// TestSignallingComesAndGoes: a session lives on while the signalling is down, and signs on
// again.
func TestSignallingComesAndGoes(t *testing.T) {
	simulate(t, "open", "open", nil, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		w.hub.cut(true)
		pass(time.Minute)
		if w.ends[0].SignedOn() || w.ends[1].SignedOn() {
			t.Error("signed on without a hub")
		}
		_, err := a.Write([]byte("still here"))
		check(t, err)
		check(t, b.SetReadDeadline(time.Now().Add(time.Second)))
		_, err = b.Read(make([]byte, 100))
		check(t, err)
		further, other := w.meet(t) // by the path that there is
		check(t, further.Close())
		_, err = other.Read(make([]byte, 100))
		if !errors.Is(err, io.EOF) {
			t.Errorf("the connection that was closed meanwhile: %v", err)
		}
		check(t, a.Close())
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := w.ends[0].Dial(ctx, w.ends[1].ID()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a dial without signalling and without a path: %v", err)
		}
		w.hub.cut(false)
		pass(time.Minute)
		if !w.ends[0].SignedOn() || !w.ends[1].SignedOn() {
			t.Fatal("not signed on again")
		}
		second, _ := w.meet(t)
		if second.Peer() != a.Peer() || second.Explain().Shared != 0 {
			t.Errorf("another connection: %v", second.Explain())
		}
	})
}

// cut ends all connections to the hub, and lets in no other while it is cut.
func (h *hub) cut(down bool) {
	h.mu.Lock()
	h.down = down
	var all []*hubSignals
	for _, s := range h.boxes {
		all = append(all, s)
	}
	h.mu.Unlock()
	if down {
		for _, s := range all {
			_ = s.Close()
		}
	}
}

// TestAllowPeer: who is not said to be allowed is refused, and the session goes on, whatever
// becomes of the question.
func TestAllowPeer(t *testing.T) {
	for name, answer := range map[string]func() bool{
		"says no": func() bool { return false },
		"panics":  func() bool { panic("nil map") },
		"exits":   func() bool { runtime.Goexit(); return true },
	} {
		t.Run(name, func(t *testing.T) {
			var text lines
			simulate(t, "open", "open", func(cfg *bradawl.Config) {
				cfg.AllowPeer = func(context.Context, bradawl.PeerID) bool { return answer() }
				cfg.LoggerFactory = bradawl.FromSlog(slog.New(slog.NewTextHandler(&text, nil)))
			}, func(t *testing.T, w *internet) {
				for range 2 {
					_, err := w.ends[0].Dial(t.Context(), w.ends[1].ID())
					var refused *bradawl.RefusedError
					if !errors.As(err, &refused) {
						t.Errorf("a stranger: %v", err)
					}
				}
			})
			if n := text.count("Config.AllowPeer panicked, and peer "); (n == 2) != (name == "panics") || n%2 != 0 {
				t.Errorf("%d panics are logged", n)
			}
		})
	}
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// naming is a hub that names servers.
type naming struct {
	*hub
	stun, turn []string
}

type namingSignals struct {
	bradawl.Signals
	stun, turn []string
}

func (n naming) SignOn(ctx context.Context, id *bradawl.Identity) (bradawl.Signals, error) {
	s, err := n.hub.SignOn(ctx, id)
	return namingSignals{s, n.stun, n.turn}, err
}

func (s namingSignals) Servers() (stun, turn []string, username, password string, expires time.Time) {
	return s.stun, s.turn, "", "", time.Time{}
}

// TestServersThatAreNone: what the signalling names and cannot be used is told, and does
// not keep the session from the rest.
func TestServersThatAreNone(t *testing.T) {
	bad := []string{"turn:", "turns:192.0.2.1", "turns:turn.example?transport=udp", "turn:127.1"}
	simulate(t, "open", "open", func(cfg *bradawl.Config) {
		cfg.Policy = bradawl.RelayOnly
		cfg.Signaler = naming{cfg.Signaler.(*hub), nil, append(slices.Clone(bad), cfg.TURN[0].URI)}
		cfg.TURN = nil
	}, func(t *testing.T, w *internet) {
		a, _ := w.meet(t)
		if a.Path().Kind != bradawl.PathRelay {
			t.Errorf("by %v", a.Path())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		refused := 0
		for e := range w.ends[0].Events(ctx) {
			if e.Kind == bradawl.EventServer {
				refused++
			}
		}
		if refused != len(bad) {
			t.Errorf("%d servers were said to be of no use, want %d", refused, len(bad))
		}
	})
}

// TestServersThatAreSilent: a STUN server that does not answer is told of, and the NAT is found
// out with those that the signalling names later.
func TestServersThatAreSilent(t *testing.T) {
	const silent = "203.0.113.77:3478"
	simulate(t, "port-restricted-cone", "open", func(cfg *bradawl.Config) {
		cfg.Signaler = &late{naming{cfg.Signaler.(*hub), cfg.STUN, nil}}
		cfg.STUN = []string{silent}
	}, func(t *testing.T, w *internet) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		told := false
		for e := range w.ends[0].Events(ctx) {
			switch e.Kind {
			case bradawl.EventServer:
				told = told || strings.Contains(e.Err.Error(), silent)
			case bradawl.EventNAT:
				if report, ok := w.ends[0].NAT(); !ok || !report.Profile().Mapped.IsValid() {
					t.Errorf("the NAT: %v", report)
				}
				if !told {
					t.Errorf("nothing was said of %s", silent)
				}
				return
			}
		}
		t.Error("the NAT was not found out")
	})
}

// late is a naming that takes its time.
type late struct{ naming }

func (l *late) SignOn(ctx context.Context, id *bradawl.Identity) (bradawl.Signals, error) {
	pass(10 * time.Second)
	return l.naming.SignOn(ctx, id)
}
