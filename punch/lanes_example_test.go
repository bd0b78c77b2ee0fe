package punch_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// The hard side of a predicted lane, without a network: its probe leaves between two
// questions to a STUN server, whose answers will bracket the port that the probe got.
func ExampleLanes() {
	secret := []byte("fresh for each attempt")
	now := time.Unix(0, 0)
	sequential := natprobe.Profile{Ports: natprobe.Ports{Model: natprobe.PortsSequential, Delta: 2, Confidence: 0.9}}
	stun := netip.MustParseAddrPort("192.0.2.1:3478")
	hard, err := punch.NewLanes(now, punch.LanesConfig{
		Lanes: []punch.Lane{{Kind: punch.LanePredicted, Hard: punch.Ours}}, Local: sequential,
		Peer: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:40000")}, Servers: []netip.AddrPort{stun},
		Secret: secret, Dialler: true, FirstSocket: 1, Budget: punch.Polite,
	}, rand.New(rand.NewPCG(1, 2)), rand.NewChaCha8([32]byte{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	// What a runner does; see package machine.
	for range 2 {
		var opened []machine.Notice
		machine.Drain(hard, func(t machine.Transmit) {
			switch t.Op {
			case machine.OpenSocket:
				opened = append(opened, machine.Notice{Kind: machine.SocketOpened, Socket: t.Socket, Local: t.Local})
			case machine.Send:
				id, probe := punch.LaneID(t.Data)
				fmt.Println("socket", t.Socket, "to", t.Remote, "probe:", probe && id == hard.ID())
			}
		}, func(e punch.LaneEvent) { fmt.Println(e.Lane, e.Kind) })
		for _, n := range opened {
			hard.HandleNotice(now, n)
		}
	}
	// Output:
	// predicted started
	// socket 1 to 192.0.2.1:3478 probe: false
	// socket 1 to 198.51.100.7:40000 probe: true
	// socket 2 to 192.0.2.1:3478 probe: false
}
