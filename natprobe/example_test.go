package natprobe_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// A server of one's own, in place of public ones.
	server, err := stunserver.Listen(ctx, stunserver.Config{Port1: -1, Port2: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pc.Close()
	answers, err := natprobe.MappedAddresses(ctx, pc, server.Addrs(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range answers {
		fmt.Println("behind a NAT:", a.Addr.String() != pc.LocalAddr().String())
	}
	fmt.Println("address depends on the destination:", natprobe.EndpointDependent(answers))
	// Output:
	// behind a NAT: false
	// behind a NAT: false
	// address depends on the destination: false
}
