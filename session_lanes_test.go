package bradawl_test

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

// countedConn counts the sockets that are open.
type countedConn struct {
	net.PacketConn
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.PacketConn.Close()
}

// TestLaneSocketsThatOpenLate: a socket that a lane has given up before the system had opened
// it is not left open.
func TestLaneSocketsThatOpenLate(t *testing.T) {
	hard := simnet.Preset{Name: "hard", NATs: []simnet.NATConfig{{
		Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.PortPolicy{Kind: simnet.Random},
	}}}
	easy, err := simnet.PresetByName("port-restricted-cone")
	check(t, err)
	var late atomic.Bool
	var open, most atomic.Int64
	slow := func(c *bradawl.Config) {
		listen := c.ListenPacket
		c.Networks, c.STUN = []string{"udp4"}, []string{"198.51.100.1:3478"}
		c.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
			if !late.Load() || netip.MustParseAddrPort(address).Addr().IsUnspecified() {
				return listen(ctx, network, address)
			}
			pass(200 * time.Millisecond)
			pc, err := listen(ctx, network, address)
			if err != nil {
				return nil, err
			}
			most.Store(max(most.Load(), open.Add(1)))
			return &countedConn{PacketConn: pc, open: &open}, nil
		}
	}
	build := func(w *internet) { // what finds NATs out has two addresses
		one, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.3")
		addrs := []netip.AddrPort{
			netip.AddrPortFrom(one, 3478), netip.AddrPortFrom(one, 3479), netip.AddrPortFrom(other, 3478), netip.AddrPortFrom(other, 3479),
		}
		m, err := stunserver.NewMachine(addrs, 0, 1)
		check(t, err)
		_, err = simnet.Run(w.AddHost("stun", w.Internet(), simnet.Link{}, one, other), m, simnet.RunOptions{Sockets: addrs}, nil)
		check(t, err)
	}
	simulateIn(t, [2]simnet.Preset{hard, easy}, build, slow, func(t *testing.T, w *internet) {
		pass(15 * time.Second) // the NATs are known
		late.Store(true)
		a, _ := w.meet(t)
		pass(5 * time.Second)
		if most.Load() < 16 {
			t.Fatalf("%d sockets were opened for lanes: %v", most.Load(), a.Explain())
		}
		check(t, a.Close())
		pass(time.Second)
		if n := open.Load(); n != 0 {
			t.Errorf("%d sockets of lanes are left open", n)
		}
	})
}
