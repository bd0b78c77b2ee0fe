package quicpeer_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/loopback"
	"github.com/bradawl/bradawl/examples/internal/quicpeer"
)

// serve answers HTTP requests of whoever may dial the session, until the session is closed. A
// handler finds the caller's PeerID, which is proven, in r.RemoteAddr.
func serve(s *bradawl.Session, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(quicpeer.Listen(s))
}

// client gets "http://PEERID/..." from the peers' servers.
func client(s *bradawl.Session) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		peer, err := bradawl.ParsePeerID(host)
		if err != nil {
			return nil, err
		}
		return quicpeer.Dial(ctx, s, peer)
	}}}
}

// A web server without a port, and its visitor.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	peers, err := loopback.Open(ctx, "example 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer peers.Close()
	alice, bob := peers.Ends[0], peers.Ends[1]
	go serve(bob, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, alice: %v", r.RemoteAddr == alice.ID().String())
	}))
	browser := client(alice)
	defer browser.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+bob.ID().String()+"/", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := browser.Do(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	fmt.Printf("%s %v\n", page, err)
	// Output: hello, alice: true <nil>
}
