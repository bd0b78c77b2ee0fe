package turntest_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"

	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// A client with a server behind its socket, without a network. What a peer sends to the
// relayed address is for the test to say.
func ExampleStub() {
	stub := turntest.NewStub(turntest.Config{
		Relay: netip.MustParseAddr("203.0.113.9"), Realm: "example.org", Users: map[string]string{"user": "secret"},
	})
	ctx := context.Background()
	client, err := turnclient.Dial(ctx, turnclient.Config{
		Servers:      []string{"turn:" + turntest.StubServer.String() + "?transport=udp"},
		Credentials:  turnclient.Credentials{Username: "user", Password: "secret"},
		ListenPacket: func(context.Context, string, string) (net.PacketConn, error) { return stub, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	relay, err := client.Allocate(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the server lets peers send to", relay.RelayedAddr())
	// Output: the server lets peers send to 203.0.113.9:50000
}
