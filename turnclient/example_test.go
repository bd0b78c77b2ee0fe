package turnclient_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"

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

// A peer connects to a relayed address of TCP, and is accepted there. The server of this
// example is one of the tests' own.
func ExampleClient_AllocateTCP() {
	server, stop, err := startRelay(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	ctx := context.Background()
	client, err := turnclient.Dial(ctx, turnclient.Config{
		Servers:     []string{fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", server.port())},
		Credentials: creds,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	relay, err := client.AllocateTCP(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := relay.Permit(ctx, netip.MustParseAddr("127.0.0.1")); err != nil {
		log.Fatal(err)
	}
	go func() { // the peer, which was told of relay.Addr()
		conn, err := net.Dial("tcp", relay.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintln(conn, "hello from a peer")
	}()
	conn, err := relay.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(line)
	// Output: hello from a peer
}

// The proxy that the environment names (HTTPS_PROXY and the like) takes TCP and TLS to the
// server, as it takes the requests of an http.Client.
func ExampleConfig_proxy() {
	ctx := context.Background()
	client, err := turnclient.Dial(ctx, turnclient.Config{
		Servers:     []string{"turn:turn.example.org?transport=udp", "turns:turn.example.org:443?transport=tcp"},
		Credentials: turnclient.Credentials{Username: "user", Password: "secret"},
		Proxy: func(_ context.Context, server string) (*url.URL, error) {
			return http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: server}})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Allocate(ctx)
	var refusal *turnclient.ProxyError
	if errors.As(err, &refusal) && refusal.Code == http.StatusProxyAuthRequired {
		fmt.Println("the proxy at", refusal.Proxy, "wants user and password")
	}
}
