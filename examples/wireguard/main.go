// Wireguard runs a WireGuard tunnel over connections between peers.
//
//	go run ./examples/wireguard [-bytes N] [-nat-a PRESET] [-nat-b PRESET] [-json]
//
// Two peers behind NATs, on a simulated internet, are each other's WireGuard peers
// (wireguard-go, in user space). Where an endpoint is wanted there is a PeerID: the session
// finds the way, and when alice changes networks in the middle, the tunnel does not notice.
// Alice gets a page of N bytes from bob's web server in the tunnel, before and after, by the
// same TCP connection.
//
// With -json, standard output is one JSON object for each page: bytes, ms, reused (the TCP
// connection), path and remote.
//
// Exit codes: 0, both pages came; 1, something failed, and a line on standard error says
// what; 2, the flags are wrong.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
)

func main() { cli.Main("wireguard", run) }

const usage = `usage: wireguard [-bytes N] [-nat-a PRESET] [-nat-b PRESET] [-json]

examples:
  wireguard
      two cone NATs
  wireguard -nat-b symmetric-random -bytes 1000000
      a harder one, and bigger pages

exit codes: 0 both pages came, 1 something failed, 2 the flags are wrong
`

type options struct {
	bytes int64
	nats  [2]string
	json  bool
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("wireguard", flag.ContinueOnError)
	flags.Int64Var(&o.bytes, "bytes", 200_000, "`number` of bytes in a page, 1 to 2^30")
	simworld.NATFlags(flags, &o.nats)
	flags.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	if o.bytes < 1 || o.bytes > 1<<30 {
		return o, fmt.Errorf("-bytes %d: want 1 to 1073741824", o.bytes)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	return cli.Within(ctx, 5*time.Minute, func(ctx context.Context) error { return tour(ctx, o, stdout, stderr) })
}

// tour gets a page through a tunnel, before and after one end moves.
func tour(ctx context.Context, o options, stdout, stderr io.Writer) error {
	stop := cli.Wait(stderr, "connecting")
	defer stop()
	w, err := simworld.Meet(ctx, simworld.Config{Seed: 1, NATs: o.nats, Link: simnet.Link{Delay: access}})
	if err != nil {
		return err
	}
	defer w.Close()
	tunnels, err := join(w)
	if err != nil {
		return err
	}
	for _, t := range tunnels {
		defer t.close()
	}
	web, err := serve(tunnels[1], o.bytes)
	if err != nil {
		return err
	}
	defer web()
	transport := &http.Transport{DialContext: tunnels[0].net.DialContext}
	defer transport.CloseIdleConnections()
	stop()

	p := printer{stdout, o.json}
	for i := range 2 {
		if i == 1 {
			if err := move(w); err != nil {
				return err
			}
			p.line("alice has left her network for another")
		}
		stop := cli.Wait(stderr, "getting a page")
		got, err := get(ctx, transport)
		stop()
		if err != nil {
			return err
		}
		got.setPath(tunnels[0].bind.path(w.Ends[1].ID()))
		if got.Bytes != o.bytes {
			return fmt.Errorf("%d bytes came for %d", got.Bytes, o.bytes)
		}
		p.page(got)
	}
	return nil
}

// access is the delay between each peer and the internet, one way.
const access = 5 * time.Millisecond

var addrs = [2]netip.Addr{netip.AddrFrom4([4]byte{10, 7, 0, 1}), netip.AddrFrom4([4]byte{10, 7, 0, 2})}

// join makes a tunnel between the two sessions of a world.
func join(w *simworld.World) (tunnels [2]*tunnel, err error) {
	alice, err := newKey()
	if err != nil {
		return tunnels, err
	}
	bob, err := newKey()
	if err != nil {
		return tunnels, err
	}
	if tunnels[0], err = newTunnel(w.Ends[0], alice, addrs[0], member{bob.PublicKey(), w.Ends[1].ID(), addrs[1]}); err != nil {
		return tunnels, err
	}
	if tunnels[1], err = newTunnel(w.Ends[1], bob, addrs[1], member{alice.PublicKey(), w.Ends[0].ID(), addrs[0]}); err != nil {
		tunnels[0].close()
	}
	return tunnels, err
}

// serve runs a web server in the tunnel.
func serve(t *tunnel, bytes int64) (stop func(), err error) {
	ln, err := t.net.ListenTCP(&net.TCPAddr{Port: 80})
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(w, zeros{}, bytes) // an end of it is the client's to find out
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // ends by Close
	}()
	return func() {
		server.Close()
		<-done
	}, nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// page is a page that came.
type page struct {
	Bytes  int64  `json:"bytes"`
	MS     int64  `json:"ms"`
	Reused bool   `json:"reused"`
	Path   string `json:"path"` // direct or relay
	Remote string `json:"remote"`
	by     bradawl.Path
}

func (p *page) setPath(by bradawl.Path) {
	p.by, p.Path, p.Remote = by, string(by.Kind), by.Remote.String()
}

// get gets the page of bob's server.
func get(ctx context.Context, transport *http.Transport) (p page, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { p.Reused = i.Reused }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%v/", addrs[1]), nil)
	if err != nil {
		return p, err
	}
	began := time.Now()
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return p, err
	}
	defer res.Body.Close()
	p.Bytes, err = io.Copy(io.Discard, res.Body)
	p.MS = time.Since(began).Milliseconds()
	return p, err
}

// move takes alice from her network to another one, with nothing in between.
func move(w *simworld.World) error {
	elsewhere, err := w.AddSite("elsewhere", "port-restricted-cone", simnet.Link{Delay: access})
	if err != nil {
		return err
	}
	alice := w.Sites[0]
	alice.RemoveIface(alice.Iface())
	alice.AddIface(elsewhere.LAN(), simnet.Link{})
	w.Ends[0].NotifyNetworkChange()
	return nil
}

// printer prints for people, or JSON.
type printer struct {
	w    io.Writer
	json bool
}

func (p printer) line(s string) {
	if !p.json {
		fmt.Fprintln(p.w, s)
	}
}

func (p printer) page(g page) {
	if p.json {
		_ = json.NewEncoder(p.w).Encode(g) // who closed our output does not want it
		return
	}
	by := "a new TCP connection"
	if g.Reused {
		by = "the same TCP connection"
	}
	fmt.Fprintf(p.w, "%d bytes through the tunnel in %d ms, by %s over %v\n", g.Bytes, g.MS, by, g.by)
}
