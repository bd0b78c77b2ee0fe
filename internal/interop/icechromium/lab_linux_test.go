package icechromium_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
	"github.com/bradawl/bradawl/internal/interop/kernellab"
)

var (
	ourAddr     = netip.MustParseAddr("203.0.113.5")
	browserAddr = netip.MustParseAddr("198.51.100.7")
	homeAddr    = netip.MustParseAddr("192.168.1.2")
)

// inside is a Chromium in a namespace. Its pages may not use the camera, so they hide
// their host's address behind an mDNS name.
func inside(t *testing.T, n *kernellab.Namespace) *chromium {
	t.Helper()
	return start(t, func() (l net.Listener, err error) {
		err = n.Do(func() error {
			l, err = net.Listen("tcp4", "127.0.0.1:0")
			return err
		})
		return l, err
	}, chromedp.ModifyCmdFunc(n.Enter))
}

// at makes an endpoint one of a host in a namespace.
func at(n *kernellab.Namespace, addr netip.Addr) ice.Config {
	return ice.Config{
		Networks: []string{"udp4"},
		Addrs:    func() ([]ice.HostAddr, error) { return []ice.HostAddr{{Addr: addr}}, nil },
		ListenPacket: func(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
			err = n.Do(func() error {
				pc, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
				return err
			})
			return pc, err
		},
	}
}

// book looks up all names alike and remembers them.
type book struct {
	addr  netip.Addr
	mu    sync.Mutex
	names []string
}

func (b *book) resolve(_ context.Context, name string) (netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names = append(b.names, name)
	return b.addr, nil
}

func (b *book) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names
}

// Config.Resolve finds the address behind an mDNS name. Without it the name is passed over,
// and the peer's checks tell.
func TestMDNSNames(t *testing.T) {
	lab := kernellab.New(t)
	c := inside(t, lab.Public("browser", browserAddr))
	us := lab.Public("us", ourAddr)
	for _, offers := range []bool{false, true} {
		for _, resolve := range []bool{false, true} {
			t.Run(fmt.Sprintf("offers=%v/resolved=%v", offers, resolve), func(t *testing.T) {
				book := &book{addr: browserAddr}
				cfg := at(us, ourAddr)
				if resolve {
					cfg.Resolve = book.resolve
				}
				o := iceagent.New(t, cfg, ice.AgentConfig{Controlling: !offers})
				m := newMeeting(t, o, c.open(t), offers, false)
				m.connect()
				m.echo()
				if got := o.Selected().Route.Remote.Addr(); got != browserAddr {
					t.Errorf("connected to %v, want %v", got, browserAddr)
				}
				if !resolve {
					return
				}
				if names := book.asked(); len(names) == 0 || !strings.HasSuffix(names[0], ".local") {
					t.Errorf("names looked up: %q", names)
				}
				known := false
				for _, p := range o.Pairs() {
					known = known || p.Remote.Type == ice.Host && p.Remote.Addr.Addr() == browserAddr
				}
				if !known {
					t.Errorf("what the name stands for is no candidate: %+v", o.Pairs())
				}
			})
		}
	}
}

// A browser at home, whose address and NAT nobody tells us of.
func TestBehindNAT(t *testing.T) {
	lab := kernellab.New(t)
	home := lab.NAT(kernellab.NATConfig{Name: "nat", Public: browserAddr, FullyRandom: true}).Host("home", homeAddr)
	c := inside(t, home)
	us := lab.Public("us", ourAddr)
	for _, offers := range []bool{false, true} {
		t.Run(fmt.Sprintf("offers=%v", offers), func(t *testing.T) {
			o := iceagent.New(t, at(us, ourAddr), ice.AgentConfig{Controlling: !offers})
			m := newMeeting(t, o, c.open(t), offers, true)
			m.connect()
			m.echo()
			for _, byUs := range []bool{true, false} {
				m.restart(byUs)
			}
			if got := o.Selected().Remote; got.Type != ice.PeerReflexive || got.Addr.Addr() != browserAddr {
				t.Errorf("connected to %v, want %v", got, browserAddr)
			}
		})
	}
}
