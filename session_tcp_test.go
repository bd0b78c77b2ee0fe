package bradawl_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

// TestSessionsPredictTCP: sessions, one of which has no UDP while the other's NAT gives each
// connection the next port, get through by TCP, in both roles, and carry data on it.
func TestSessionsPredictTCP(t *testing.T) {
	var presets [2]simnet.Preset
	for i, name := range []string{"udp-blocked", "symmetric-sequential"} {
		var err error
		presets[i], err = simnet.PresetByName(name)
		check(t, err)
	}
	build := func(w *internet) { // what finds NATs out has two addresses
		one, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.3")
		addrs := []netip.AddrPort{
			netip.AddrPortFrom(one, 3478), netip.AddrPortFrom(one, 3479), netip.AddrPortFrom(other, 3478), netip.AddrPortFrom(other, 3479),
		}
		m, err := stund.NewMachine(addrs, 0, 1)
		check(t, err)
		_, err = simnet.Run(w.AddHost("stun", w.Internet(), simnet.Link{}, one, other), m, simnet.RunOptions{Sockets: addrs, Listen: addrs}, nil)
		check(t, err)
	}
	change := func(c *bradawl.Config) { c.STUN, c.TURN = []string{"198.51.100.1:3478"}, nil }
	for _, turned := range []bool{false, true} {
		pair := presets
		if turned {
			pair[0], pair[1] = presets[1], presets[0]
		}
		simulateIn(t, pair, build, change, func(t *testing.T, w *internet) {
			pass(10 * time.Second) // the NATs are known
			a, b := w.meet(t)
			for _, c := range []*bradawl.Conn{a, b} {
				if e := c.Explain(); e.Path.Kind != bradawl.PathDirect || e.Path.Protocol != "tcp" || !strings.Contains(e.String(), "tcp_predicted: attempt 1") {
					t.Errorf("%v", e)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			for _, way := range [][2]*bradawl.Conn{{a, b}, {b, a}} {
				_, err := way[0].Write([]byte("hello"))
				check(t, err)
				buf := make([]byte, 100)
				deadline, _ := ctx.Deadline()
				check(t, way[1].SetReadDeadline(deadline))
				if n, err := way[1].Read(buf); err != nil || string(buf[:n]) != "hello" {
					t.Errorf("read %q, %v", buf[:n], err)
				}
			}
			for _, s := range w.ends {
				if r, ok := s.NAT(); !ok || r.TCP == nil || r.TCP.Mapping == natprobe.MappingUnknown {
					t.Errorf("what the NAT does with TCP is not told: %+v", r.TCP)
				}
			}
			check(t, a.Close())
		})
	}
}

// TestFullTCP: what TCP has no room for is lost and counted, and no error, at which DTLS and
// QUIC give up.
func TestFullTCP(t *testing.T) {
	simulate(t, "udp-blocked", "udp-blocked", nil, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		pass(10 * time.Second)
		if p := a.Path(); p.Kind != bradawl.PathDirect || p.Protocol != "tcp" {
			t.Fatalf("%v", p)
		}
		before := a.Stats()
		const burst = 5000
		for range burst { // no time passes
			_, err := a.Write(make([]byte, bradawl.MaxDatagram))
			check(t, err)
		}
		if s := a.Stats(); s.Unsent == 0 || s.Out == before.Out || s.Out-before.Out+s.Unsent != burst {
			t.Errorf("%+v, then %+v after %d datagrams", before, s, burst)
		}
		check(t, b.SetReadDeadline(time.Now().Add(time.Minute)))
		pass(30 * time.Second) // there is room again
		_, err := a.Write([]byte("hello"))
		check(t, err)
		buf := make([]byte, bradawl.MaxDatagram)
		for n := 0; string(buf[:n]) != "hello"; {
			n, err = b.Read(buf)
			check(t, err)
		}
	})
}

// TestTCPOutsideThatIsGone: where a STUN server has seen a TCP port is told for as long as the
// connection to it lasts.
func TestTCPOutsideThatIsGone(t *testing.T) {
	var servers []*simnet.Host
	build := func(w *internet) {
		h := w.AddHost("stun", w.Internet(), simnet.Link{})
		s, err := stunserver.Listen(t.Context(), stunserver.Config{
			IP1: h.Addr(), ListenPacket: h.ListenPacket,
			Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
				return h.Listen(ctx, network, address, false)
			},
		})
		check(t, err)
		w.stop = append(w.stop, func() { s.Close() })
		servers = append(servers, h)
	}
	change := func(c *bradawl.Config) {
		c.STUN, c.TURN, c.NoNATProbe = []string{servers[0].Addr().String()}, nil, true
	}
	simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), build, change, func(t *testing.T, w *internet) {
		pass(5 * time.Second)
		a, _ := w.meet(t)
		outside := func() (n int) {
			for _, c := range a.Explain().Candidates {
				if c.Ours && c.Type == "srflx" && c.Protocol == "tcp" {
					n++
				}
			}
			return n
		}
		awaits(t, 5*time.Second, "an address of TCP outside", func() bool { return outside() == 1 })
		line := servers[0].Iface()
		line.SetUp(false)
		awaits(t, time.Minute, "it is gone", func() bool { return outside() == 0 })
		line.SetUp(true)
		awaits(t, 2*time.Minute, "it is back", func() bool { return outside() == 1 })
	})
}
