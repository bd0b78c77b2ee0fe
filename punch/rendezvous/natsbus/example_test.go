package natsbus_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/punch/rendezvous/natsbus"
)

// Two rendezvous servers are one service: peers that are signed on at different
// ones meet. Here both are in one process, and so is NATS.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	natsURL, stop := startNATS()
	defer stop()

	var urls []string
	for range 2 { // as many as there are machines
		nc, err := nats.Connect(natsURL, nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond))
		if err != nil {
			fmt.Println(err)
			return
		}
		defer nc.Close()
		bus, err := natsbus.New(ctx, natsbus.Config{Conn: nc}) // Replicas: 3, where NATS is a cluster
		if err != nil {
			fmt.Println(err)
			return
		}
		defer bus.Close()
		node, err := rendezvous.NewServer(rendezvous.ServerConfig{Bus: bus})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer node.Close()
		web := httptest.NewServer(node) // an http.Server behind a load balancer
		defer web.Close()
		urls = append(urls, "ws"+strings.TrimPrefix(web.URL, "http"))
	}

	a, err := rendezvous.Dial(ctx, urls[0], rendezvous.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	b, err := rendezvous.Dial(ctx, urls[1], rendezvous.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	if err := a.Join(ctx, "coffee", []byte("a's offer")); err != nil {
		fmt.Println(err)
		return
	}
	if err := b.Join(ctx, "coffee", []byte("b's offer")); err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range []*rendezvous.Client{a, b} {
		event, err := c.Next(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		if p, ok := event.(rendezvous.Paired); ok {
			fmt.Printf("%s has %s\n", p.Room, p.Message)
		}
	}
	// Output:
	// coffee has b's offer
	// coffee has a's offer
}

// startNATS runs a NATS server with JetStream; in earnest that is nats-server -js.
func startNATS() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "natsbus")
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		panic(err)
	}
	s.Start()
	s.ReadyForConnections(time.Minute)
	return s.ClientURL(), func() {
		s.Shutdown()
		s.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
}
