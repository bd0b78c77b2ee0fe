// Server is everything that peers need somebody else for, in one program: the
// rendezvous where they meet, a STUN server that tells them their addresses, and a TURN
// server that relays for those that cannot do without.
//
//	server
//	server -listen 203.0.113.5 -listen2 203.0.113.6 -name meet.example:8443 -http-port 8443 -tls-cert c.pem -tls-key k.pem
//	server -listen 10.0.0.5 -public 203.0.113.5
//
// Without flags it serves this machine alone. A peer needs to be told the URL of the
// rendezvous and nothing else: at sign-on it learns of the STUN and TURN servers, and is
// given TURN credentials that expire. They are made with a secret that the rendezvous
// and the TURN server share; -turn-secret is for several such programs behind one name,
// or better the environment variable BRADAWL_TURN_SECRET, which the process list does
// not show.
//
// A second address (-listen2) lets peers find out what their NAT does, and not only
// where they are. With a certificate the rendezvous is reached by wss://, and the TURN
// server by TLS too, which gets through where all else is blocked. It can be put behind
// a proxy instead that keeps client addresses.
//
// The TURN server relays to public addresses, and to others only as far as its own
// address is not public either: it leads nobody into its network. Relayed addresses are
// IPv4. It bounds how many relays, permissions and connections an address may have; it
// does not bound how much they carry.
//
// GET /healthz, beside the rendezvous, answers 200 with the numbers of clients, rooms
// and relays, and 503 once the server drains. It does so on SIGINT and SIGTERM: nobody
// signs on and no relay is opened any more, the clients of the rendezvous are sent away
// over a while, and the program ends when the last client and the last relay are gone,
// or when -drain is over. A second signal ends it at once.
//
// The log goes to standard error, as text or JSON (-log). With -v it has the addresses
// of clients. It has no secret.
//
// Exit codes: 0 after a signal and for -h; 1 if it could not start, or failed; 2 if the
// arguments are wrong.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // before anything else: the second one is not caught
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr))
}

// run is main with its surroundings handed in; it returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	cfg, err := parse(args, getenv, stderr)
	if err != nil {
		return cli.Exit("server", cli.Usage(err), stderr)
	}
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if cfg.verbose {
		options.Level = slog.LevelDebug
	}
	var handler slog.Handler = slog.NewTextHandler(stderr, options)
	if cfg.json {
		handler = slog.NewJSONHandler(stderr, options)
	}
	log := slog.New(handler)
	if err := serve(ctx, cfg, log); err != nil {
		log.Error("failed", "error", err)
		return cli.Failed
	}
	return cli.Done
}
