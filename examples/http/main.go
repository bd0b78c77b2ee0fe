// Http serves web pages to whoever knows a PeerID, with no port open on any router.
//
//	go run ./examples/http [-n REQUESTS] [-json]
//
// Both ends and their rendezvous are in this one program, on loopback: an HTTP server that
// is reached by its session's PeerID, over HTTP/3 on a connection between the peers, and a
// client that asks it for pages. Each response says by which path it came.
//
// With -json, standard output is one JSON object for each page: status, text, ms (from the
// request to the page's last byte) and path (direct or relay).
//
// Exit codes: 0, every page came; 1, something failed, and a line on standard error says
// what; 2, the flags are wrong.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/loopback"
	"github.com/bradawl/bradawl/examples/internal/quicpeer"
)

func main() { cli.Main("http", run) }

const usage = `usage: http [-n REQUESTS] [-json]

examples:
  http
      three pages
  http -n 1000
      a thousand
  http -json
      for programs

exit codes: 0 all came, 1 something failed, 2 the flags are wrong
`

func run(ctx context.Context, args []string, out, stderr io.Writer) error {
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	n := flags.Int("n", 3, "`number` of requests, 1 to 1000")
	asJSON := flags.Bool("json", false, "print JSON, an object for each page")
	switch err := cli.Parse(flags, args, stderr, usage, false); {
	case err != nil:
		return cli.Usage(err)
	case *n < 1 || *n > 1000:
		return cli.Usage(fmt.Errorf("-n %d: want 1 to 1000", *n))
	}
	waited := cli.Wait(stderr, "connecting")
	defer waited()
	teller := &cli.Teller{W: out, JSON: *asJSON}
	return cli.Within(ctx, 2*time.Minute, func(ctx context.Context) error {
		return meet(ctx, *n, func(p page) {
			waited()
			teller.Say(p, "%s (%.3f ms)", p.Text, p.MS)
		})
	})
}

// page is a page that came.
type page struct {
	Status int     `json:"status"`
	Text   string  `json:"text"`
	MS     float64 `json:"ms"`
	Path   string  `json:"path"` // direct or relay
}

func meet(ctx context.Context, n int, tell func(page)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peers, err := loopback.Open(ctx, "bradawl examples/http 1")
	if err != nil {
		return err
	}
	defer peers.Close()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, peers.Ends[0]) }()
	err = browse(ctx, peers.Ends[1], peers.Ends[0].ID(), n, tell)
	if err != nil {
		cancel() // the other side may wait for somebody who does not come
	}
	other := <-served
	if err != nil && errors.Is(other, context.Canceled) {
		other = nil // by us
	}
	return errors.Join(err, other)
}

// serve answers the requests of one peer.
func serve(ctx context.Context, s *bradawl.Session) error {
	conn, err := s.Accept(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tls, err := quicpeer.ServerTLS()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s, you came by %v", r.PathValue("name"), conn.Path())
	})
	server := http3.Server{
		Handler: mux, TLSConfig: http3.ConfigureTLSConfig(tls), QUICConfig: quicpeer.Config(),
		Logger: slog.New(slog.DiscardHandler), // it would have a port to announce
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(quicpeer.PacketConn(conn)) }()
	for range conn.Paths(ctx) { // until the peer has had enough
	}
	err = server.Close()
	<-done
	return err
}

// browse asks the peer for n pages.
func browse(ctx context.Context, s *bradawl.Session, peer bradawl.PeerID, n int, tell func(page)) error {
	conn, err := s.Dial(ctx, peer)
	if err != nil {
		return err
	}
	defer conn.Close()
	quicConn := quic.Transport{Conn: quicpeer.PacketConn(conn)}
	defer quicConn.Close()
	transport := &http3.Transport{
		// The connection proves the peer already, whatever the certificate says.
		TLSClientConfig: quicpeer.ClientTLS(), QUICConfig: quicpeer.Config(),
		Dial: func(ctx context.Context, _ string, tls *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			return quicConn.DialEarly(ctx, conn.RemoteAddr(), tls, cfg)
		},
	}
	defer transport.Close()
	client := http.Client{Transport: transport}
	for i := range n {
		p, err := get(ctx, &client, fmt.Sprintf("https://%s/hello/visitor-%d", peer, i+1))
		if err != nil {
			return err
		}
		p.Path = string(conn.Path().Kind)
		tell(p)
		if p.Status != http.StatusOK {
			return fmt.Errorf("the peer answers %d %s", p.Status, http.StatusText(p.Status))
		}
	}
	return nil
}

// get gets a page.
func get(ctx context.Context, client *http.Client, url string) (p page, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return p, err
	}
	began := time.Now()
	res, err := client.Do(r)
	if err != nil {
		return p, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return page{Status: res.StatusCode, Text: string(text), MS: float64(time.Since(began).Microseconds()) / 1000}, err
}
