package bradawl_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

func hello(ctx context.Context, cfg bradawl.Config, url string, peer bradawl.PeerID) error {
	cfg.Signaler = &rendezvous.Signaler{URL: url} // where the two meet; nothing else need be set
	s, err := bradawl.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	conn, err := s.Dial(ctx, peer) // returns as soon as data can flow, by a relay if need be
	if err != nil {
		return err // says what was tried, and what to look at
	}
	_, err = conn.Write([]byte("hello")) // a datagram, sealed to the peer's key
	return err
}

// One peer says hello to another, which it knows by its PeerID.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	meet, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer meet.Close()
	web := httptest.NewServer(meet)
	defer web.Close()
	url := "ws" + strings.TrimPrefix(web.URL, "http") + "/"

	bob, err := bradawl.New(ctx, bradawl.Config{Signaler: &rendezvous.Signaler{URL: url}, Loopback: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bob.Close()
	if err := bob.WaitSignedOn(ctx); err != nil { // others can dial then
		fmt.Println(err)
		return
	}
	alice, err := bradawl.NewIdentity()
	if err != nil {
		fmt.Println(err)
		return
	}
	said := make(chan error, 1)
	cfg := bradawl.Config{Identity: alice, Loopback: true} // both are on this machine
	go func() { said <- hello(ctx, cfg, url, bob.ID()) }()
	conn, err := bob.Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	buf := make([]byte, bradawl.MaxDatagram)
	n, err := conn.Read(buf)
	fmt.Printf("%s from alice: %v, %v\n", buf[:n], conn.Peer() == alice.ID(), err)
	fmt.Println(<-said)
	// Output:
	// hello from alice: true, <nil>
	// <nil>
}
