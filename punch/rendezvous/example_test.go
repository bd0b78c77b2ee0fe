package rendezvous_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

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
		event, err := c.Next(ctx)
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

// A server with a health endpoint tells its clients of a STUN server and a TURN
// server, and is shut down without a rush on the next one.
func ExampleServer_Shutdown() {
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{
		ICEServers: []string{"stun:stun.example", "turn:turn.example?transport=udp"},
		TURNSecret: "shared with turn.example",
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.HandleFunc("GET /healthz", server.ServeHealth)
	web := httptest.NewServer(mux)
	defer web.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := rendezvous.Dial(ctx, web.URL, rendezvous.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, s := range client.ICEServers() {
		fmt.Println(s.URIs, "with credentials:", s.Credential != "")
	}

	if err := server.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	_, err = client.Next(ctx)
	fmt.Println(err)
	health, err := http.Get(web.URL + "/healthz")
	if err != nil {
		log.Fatal(err)
	}
	health.Body.Close()
	fmt.Println("healthz:", health.Status)
	// Output:
	// [stun:stun.example] with credentials: false
	// [turn:turn.example?transport=udp] with credentials: true
	// closed by the other side: the server is shutting down; sign on again, to another one if there is one (4000, shutdown)
	// healthz: 503 Service Unavailable
}
