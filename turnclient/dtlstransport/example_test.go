package dtlstransport_test

import (
	"context"
	"fmt"
	"log"

	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/dtlstransport"
)

// Without a transport, turns: means DTLS and then TLS.
func ExampleClient() {
	ctx := context.Background()
	client, err := turnclient.Dial(ctx, turnclient.Config{
		Servers:     []string{"turns:turn.example.org"},
		Credentials: turnclient.Credentials{Username: "user", Password: "secret"},
		DTLS:        dtlstransport.Client,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	relay, err := client.Allocate(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(relay.RelayedAddr(), "by", relay.Server())
}
