package turnclient_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/bradawl/bradawl/turnclient"
)

// Two programs talk through a relay: this one writes from the relayed address, the
// other one writes to it.
func Example() {
	ctx := context.Background()
	client, err := turnclient.Dial(ctx, turnclient.Config{
		Servers:     []string{"turn:turn.example.org", "turns:turn.example.org:443?transport=tcp"},
		Credentials: turnclient.Credentials{Username: "user", Password: "secret"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	relay, err := client.Allocate(ctx)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for e := range relay.Events() {
			if e.Kind == turnclient.EventAllocated && e.Lost.Err != nil {
				fmt.Println("tell the peers: the relayed address is now", e.Relayed[0])
			}
		}
	}()
	peer := netip.MustParseAddrPort("198.51.100.7:4000")
	if _, err := relay.WriteToUDPAddrPort([]byte("hello"), peer); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, from, err := relay.ReadFromUDPAddrPort(buf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s from %v\n", buf[:n], from)
}
