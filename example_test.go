package bradawl_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// The README's ten lines, but for Loopback, which lets both peers be on this machine.
func hello(ctx context.Context, id *bradawl.Identity, url string, peer bradawl.PeerID) error {
	s, err := bradawl.New(ctx, bradawl.Config{Identity: id, Signaler: &rendezvous.Signaler{URL: url}, Loopback: true})
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
	go func() { said <- hello(ctx, alice, url, bob.ID()) }()
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

// Two peers that know each other's PeerID share a secret that nobody between them
// knows, for punch.UDPConfig.Secret.
func ExampleDeriveSecret() {
	alice, err := bradawl.NewIdentity()
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := bradawl.NewIdentity()
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := bradawl.DeriveSecret(alice, bob.ID(), "my program, attempt 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := bradawl.DeriveSecret(bob, alice.ID(), "my program, attempt 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(a), bytes.Equal(a, b))
	// Output: 32 true
}
