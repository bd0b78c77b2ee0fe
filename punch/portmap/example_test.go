package portmap_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/punch/portmap"
)

// A socket that anybody can send to, as long as the router allows it.
func Example() {
	pc, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pc.Close()
	client, err := portmap.New(portmap.Config{
		Gateways: func() ([]portmap.Gateway, error) { return nil, nil }, // leave this out for this host's own
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close() // deletes what is mapped

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	local := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	mapping, err := client.Map(ctx, portmap.UDP, netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port()), 0)
	if err != nil {
		fmt.Println("no mapping")
		return
	}
	fmt.Println("reach me at", mapping.External(), "public:", mapping.Info().Public)
	// Output: no mapping
}
