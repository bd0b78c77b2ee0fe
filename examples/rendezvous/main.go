// Command rendezvous runs a rendezvous server, where peers find each other.
//
//	rendezvous -addr 0.0.0.0:8080
//
// Clients connect to ws://HOST:PORT/. With -ice-servers it tells them which STUN
// and TURN servers to use; for TURN it makes credentials with the secret that
// these servers share with it (coturn: use-auth-secret, static-auth-secret),
// given by -turn-secret or, out of sight of the process list, by the environment
// variable BRADAWL_TURN_SECRET:
//
//	BRADAWL_TURN_SECRET=... rendezvous -ice-servers stun:stun.example,turn:turn.example
//
// GET /healthz answers 200 with the numbers of clients and rooms, and 503 once
// the server drains. It does so on SIGINT or SIGTERM: nobody can sign on any
// more, the clients are sent away over a while, and the program ends with the
// last one or when -drain is over. A second signal ends it at once.
//
// With -json it prints one JSON object a line: event is listening (url) or cut_off, where some
// clients were still there after -drain.
//
// Exit code 0 means that it was ended by a signal, 1 that it could not start or failed, 2
// that the flags are wrong; one line on standard error says what.
//
// It speaks no TLS: put it behind a proxy that does, or use rendezvous.Server as the handler
// of your own http.Server. Where the proxy does not keep the clients' addresses, all have the
// proxy's, and -max-clients-per-address must be as many as there may be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// envSecret may hold what -turn-secret gives.
const envSecret = "BRADAWL_TURN_SECRET"

const usage = `usage: rendezvous [-addr HOST:PORT] [-ice-servers URI,...] [-v] [-json]

examples:
  rendezvous
      on this machine alone, ws://127.0.0.1:8080/
  rendezvous -addr 0.0.0.0:8080 -name meet.example.org
      on the internet, behind something that speaks TLS and keeps the clients' addresses
  rendezvous -addr 127.0.0.1:8080 -name meet.example.org -max-clients-per-address 65536
      behind a reverse proxy, where all clients have the proxy's address
  BRADAWL_TURN_SECRET=... rendezvous -ice-servers stun:stun.example.org,turn:turn.example.org
      tells clients of these servers, with TURN credentials that expire

exit codes: 0 after a signal, 1 it could not start or failed, 2 the flags are wrong
`

func main() { cli.Main("rendezvous", run) }

// mostClients is how many clients a server takes from all addresses.
const mostClients = 1 << 16

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("rendezvous", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "`HOST:PORT` to listen on; port 0 picks a free one")
	name := flags.String("name", "", "the `HOST[:PORT]` that clients dial; proofs for any other server are then refused")
	open := flags.Bool("open", false, "admit clients without a proof of their key, to rooms alone")
	servers := flags.String("ice-servers", "", "`URI[,URI...]` of STUN and TURN servers for the clients: stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp], turns:...")
	secret := flags.String("turn-secret", "", "the `SECRET` shared with the TURN servers; default: $"+envSecret)
	lifetime := flags.Duration("turn-lifetime", time.Hour, "how long the clients' TURN credentials are good for")
	perAddress := flags.Int("max-clients-per-address", 256, "`number` of clients that one IPv4 address or IPv6 /64 has at most; they may be in twice as many rooms. Behind a proxy all clients have the proxy's")
	drain := flags.Duration("drain", 20*time.Second, "how long clients have to leave after SIGINT or SIGTERM")
	asJSON := flags.Bool("json", false, "print JSON, an object a line")
	verbose := flags.Bool("v", false, "log every sign-on, end of a connection and pairing")
	if err := cli.Parse(flags, args, stderr, usage, false); err != nil {
		return cli.Usage(err)
	}
	if *perAddress < 1 || *perAddress > mostClients {
		return cli.Usage(fmt.Errorf("-max-clients-per-address %d: want 1 to %d", *perAddress, mostClients))
	}
	if *drain < 0 {
		return cli.Usage(fmt.Errorf("-drain %v: want 0 or more", *drain))
	}
	cfg := rendezvous.ServerConfig{
		Name: *name, AllowUnproven: *open, TURNSecret: *secret, TURNLifetime: *lifetime,
		MaxClientsPerAddress: *perAddress, MaxRoomsPerAddress: 2 * *perAddress,
	}
	if *servers != "" {
		cfg.ICEServers = strings.Split(*servers, ",")
		if cfg.TURNSecret == "" {
			cfg.TURNSecret = os.Getenv(envSecret)
		}
	}
	if *verbose {
		factory := logging.NewDefaultLoggerFactory()
		factory.Writer, factory.DefaultLogLevel = stderr, logging.LogLevelDebug
		cfg.LoggerFactory = factory
	}
	return serve(ctx, *addr, cfg, *drain, &cli.Teller{W: stdout, JSON: *asJSON})
}

// serve runs the server until ctx ends, and then for at most as long as drain
// and a few seconds more.
func serve(ctx context.Context, addr string, cfg rendezvous.ServerConfig, drain time.Duration, out *cli.Teller) error {
	server, err := rendezvous.NewServer(cfg)
	if wrong := (*rendezvous.ConfigError)(nil); errors.As(err, &wrong) {
		return cli.Usage(fmt.Errorf("%w (%s)", err, flagOf[wrong.Field]))
	}
	if err != nil {
		return err
	}
	defer server.Close()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -addr HOST:PORT", err)
	}
	defer listener.Close()

	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.HandleFunc("GET /healthz", server.ServeHealth)
	web := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	url := "ws://" + listener.Addr().String() + "/"
	out.Say(record{Event: "listening", URL: url}, "listening on %s", url)

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// The port stays open meanwhile, so that new clients and load balancers are
	// told to go elsewhere.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		out.Say(record{Event: "cut_off"}, "some clients were still there after -drain %v", drain)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := web.Shutdown(last); err != nil {
		_ = web.Close()
	}
	<-served
	return nil
}

// record is a line in JSON.
type record struct {
	Event string `json:"event"`
	URL   string `json:"url,omitempty"`
}

// flagOf names the flag behind a field that the server refuses.
var flagOf = map[string]string{
	"Name":         "-name",
	"ICEServers":   "-ice-servers",
	"TURNSecret":   "-turn-secret or $" + envSecret,
	"TURNLifetime": "-turn-lifetime",
}
