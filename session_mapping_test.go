package bradawl_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
)

// TestMappingsThatEnd: where a NAT ends mappings at a certain age, the session finds that
// out, and opens another socket ahead of the fourth end, by which nothing is lost.
func TestMappingsThatEnd(t *testing.T) {
	const age = 3 * time.Minute
	nat := simnet.Preset{Name: "ends", NATs: []simnet.NATConfig{{
		Filtering: simnet.AddressAndPortDependent, Ports: simnet.PortPolicy{Kind: simnet.Random}, Absolute: age,
	}}}
	open, err := simnet.PresetByName("port-restricted-cone")
	check(t, err)
	var mu sync.Mutex
	opened := make(map[netip.Addr]int)
	count := func(c *bradawl.Config) {
		listen := c.ListenPacket
		c.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
			mu.Lock()
			defer mu.Unlock()
			opened[netip.MustParseAddrPort(address).Addr()]++
			return listen(ctx, network, address)
		}
		c.Networks = []string{"udp4"}
	}
	simulateOf(t, [2]simnet.Preset{nat, open}, count, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		var got [2]atomic.Uint64 // datagrams that came in
		var wg sync.WaitGroup
		for i, c := range []*bradawl.Conn{a, b} {
			wg.Go(func() {
				buf := make([]byte, 100)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					got[i].Add(1)
				}
			})
		}
		talk := func(d time.Duration) (lost uint64) {
			before := got[0].Load() + got[1].Load()
			var sent uint64
			for range d / time.Second {
				for _, c := range []*bradawl.Conn{a, b} {
					_, _ = c.Write(binary.BigEndian.AppendUint64(nil, sent))
					sent++
				}
				pass(time.Second)
			}
			return sent - (got[0].Load() + got[1].Load() - before)
		}
		first := talk(3*age + time.Minute)
		then := talk(4 * age)
		t.Logf("%d datagrams were lost in the first three ends, %d in the next four", first, then)
		if first == 0 || then != 0 {
			t.Errorf("%d and %d datagrams were lost; %v", first, then, a.Explain())
		}
		mu.Lock()
		if n := opened[w.sites[0].Addr()]; n != 2 {
			t.Errorf("%d sockets were opened; want one, and one that takes turns with it", n)
		}
		mu.Unlock()
		check(t, a.Close())
		check(t, b.Close())
		wg.Wait()
	})
}
