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
		c.Networks, c.STUN = []string{"udp4"}, []string{detector}
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
	simulateIn(t, [2]simnet.Preset{hard, easy}, addDetector(t), slow, func(t *testing.T, w *internet) {
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
