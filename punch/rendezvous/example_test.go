package rendezvous_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// Two peers meet in a room. A real program gives its server to an http.Server
// with a ReadHeaderTimeout, and dials from two machines.
func Example() {
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	web := httptest.NewServer(server)
	defer web.Close()

	ctx := context.Background()
	peer := func(offer string) *rendezvous.Client {
		c, err := rendezvous.Dial(ctx, web.URL, rendezvous.ClientConfig{})
		if err != nil {
			log.Fatal(err)
		}
		if err := c.Join(ctx, "coffee", []byte(offer)); err != nil {
			log.Fatal(err)
		}
		return c
	}
	alice, bob := peer("alice's offer"), peer("bob's offer")
	defer alice.Close()
	defer bob.Close()

	for _, c := range []*rendezvous.Client{alice, bob} {
		event, err := c.Recv(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if paired, ok := event.(rendezvous.Paired); ok {
			fmt.Printf("%s: handed %q\n", paired.Room, paired.Message)
		}
	}
	fmt.Println("seen at", alice.PublicAddr().Addr())
	// Output:
	// coffee: handed "bob's offer"
	// coffee: handed "alice's offer"
	// seen at 127.0.0.1
}
