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
	// nil for the defaults, which do not wait for every server.
	answers, err := natprobe.MappedAddresses(ctx, pc, server.Addrs(), &natprobe.ReflexiveConfig{Patience: 10 * time.Second})
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

func ExampleDiscover() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// A server of one's own, in place of public ones; it has no second address.
	server, err := stunserver.Listen(ctx, stunserver.Config{Port1: -1, Port2: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	report, err := natprobe.Discover(ctx, natprobe.Config{Servers: []string{server.Addrs()[0].String()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("behind a NAT:", report.NAT)
	fmt.Println("filtering:", report.Filtering)
	fmt.Println("ports:", report.Ports)
	// Output:
	// behind a NAT: no
	// filtering: unknown
	// ports: preserving
}

func ExamplePorts_Predict() {
	ports := natprobe.Ports{Model: natprobe.PortsSequential, Delta: 2}
	fmt.Println(ports.Predict(40000, 5000, 0, 3))
	// Output: [5002 5004 5006]
}
