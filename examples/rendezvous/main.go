// Command rendezvous runs a rendezvous server, where peers find each other.
//
//	rendezvous -addr 0.0.0.0:8080
//
// Clients connect to ws://HOST:PORT/. GET /healthz answers 200 with the numbers
// of clients and rooms. SIGINT or SIGTERM tells every client that the server is
// shutting down, and ends the program once they have gone.
//
// It speaks no TLS: put it behind a proxy that does and that keeps client
// addresses, or use rendezvous.Server as the handler of your own http.Server.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with everything from outside handed in; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("rendezvous", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:8080", "`HOST:PORT` to listen on; port 0 picks a free one")
	name := flags.String("name", "", "the `HOST[:PORT]` that clients dial; proofs for any other server are then refused")
	open := flags.Bool("open", false, "admit clients without a proof of their key, to rooms alone")
	verbose := flags.Bool("v", false, "log every sign-on, end of a connection and pairing")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "rendezvous: unexpected argument %q; the address is given by -addr HOST:PORT\n", flags.Arg(0))
		return 2
	}
	cfg := rendezvous.ServerConfig{Name: *name, AllowUnproven: *open}
	if *verbose {
		factory := logging.NewDefaultLoggerFactory()
		factory.Writer, factory.DefaultLogLevel = stderr, logging.LogLevelDebug
		cfg.LoggerFactory = factory
	}
	if err := serve(ctx, *addr, cfg, stdout); err != nil {
		fmt.Fprintf(stderr, "rendezvous: %v\n", err)
		return 1
	}
	return 0
}

// serve runs the server until ctx ends.
func serve(ctx context.Context, addr string, cfg rendezvous.ServerConfig, stdout io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -addr HOST:PORT", err)
	}
	defer listener.Close()
	server, err := rendezvous.NewServer(cfg)
	if err != nil {
		return err
	}
	defer server.Close()

	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		stats := server.Stats()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "ok", "clients": stats.Clients, "rooms": stats.Rooms})
	})
	web := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	fmt.Fprintf(stdout, "listening on ws://%s/\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	_ = listener.Close() // nobody new, then goodbye to those who are here
	_ = server.Close()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := web.Shutdown(drain); err != nil {
		_ = web.Close()
	}
	<-served
	return nil
}
