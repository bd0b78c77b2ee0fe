package punch_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/bradawl/bradawl/punch"
)

// Two programs measure the path between them. Each must name the other: a Pinger does
// not answer strangers.
func ExamplePinger() {
	var pingers [2]*punch.Pinger
	var conns [2]*net.UDPConn
	for i := range pingers {
		var err error
		conns[i], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			log.Fatal(err)
		}
		defer conns[i].Close()
		pingers[i], err = punch.NewPinger(conns[i], punch.PingerConfig{
			Interval: 5 * time.Millisecond, LostAfter: 10 * time.Second,
		})
		if err != nil {
			log.Fatal(err)
		}
		defer pingers[i].Close()
	}
	address := func(i int) *net.UDPAddr { return conns[i].LocalAddr().(*net.UDPAddr) }
	if err := pingers[1].Add(address(0).AddrPort()); err != nil {
		log.Fatal(err)
	}
	stats, err := pingers[0].Ping(context.Background(), address(1).AddrPort(), 3)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d answered, loss %.0f %%\n", stats.Received, stats.Sent, 100*stats.Loss())
	// Output:
	// 3 of 3 answered, loss 0 %
}
