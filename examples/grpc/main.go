// Grpc makes gRPC calls to a server that is reached by its PeerID.
//
//	go run ./examples/grpc [-n MESSAGES] [-nat-a PRESET] [-nat-b PRESET] [-json]
//
// Two peers behind NATs, on a simulated internet: bob serves, alice makes a unary call and a
// streaming one, over a QUIC stream between the sessions. The service is gRPC's own health
// service, so that nothing has to be generated; others are registered in the same way. The
// server knows each caller by its PeerID.
//
// With -json, standard output is one JSON object for each answer: method, status, ms.
//
// Exit codes: 0, all was answered; 1, something failed, and a line on standard error says
// what; 2, the flags are wrong.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/quicpeer"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
)

func main() { cli.Main("grpc", run) }

const usage = `usage: grpc [-n MESSAGES] [-nat-a PRESET] [-nat-b PRESET] [-json]

examples:
  grpc
      a call, and a stream of three messages
  grpc -nat-a symmetric-sequential -n 100
      behind a harder NAT, and a longer stream

exit codes: 0 all was answered, 1 something failed, 2 the flags are wrong
`

type options struct {
	messages int
	nats     [2]string
	json     bool
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("grpc", flag.ContinueOnError)
	flags.IntVar(&o.messages, "n", 3, "`number` of messages on the stream, 1 to 1000")
	simworld.NATFlags(flags, &o.nats)
	flags.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	if o.messages < 1 || o.messages > 1000 {
		return o, fmt.Errorf("-n %d: want 1 to 1000", o.messages)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not done within 2m"))
	defer cancel()
	stop := cli.Wait(stderr, "connecting")
	defer stop()
	w, err := simworld.Meet(ctx, simworld.Config{Seed: 1, NATs: o.nats, Link: simnet.Link{Delay: access}})
	if err != nil {
		return err
	}
	defer w.Close()
	alice, bob := w.Ends[0], w.Ends[1]
	service := health.NewServer()
	defer serve(bob, service, func(caller bradawl.PeerID, _ string) bool { return caller == alice.ID() })()
	err = call(ctx, alice, bob.ID(), service, o, func(a answer) {
		stop()
		if o.json {
			_ = json.NewEncoder(stdout).Encode(a) // who closed our output does not want it
		} else {
			fmt.Fprintf(stdout, "%-5s %s, after %d ms\n", a.Method, a.Status, a.MS)
		}
	})
	if err != nil && ctx.Err() != nil { // which gRPC tells as a status of its own
		return context.Cause(ctx)
	}
	return err
}

// access is the delay between each peer and the internet, one way.
const access = 5 * time.Millisecond

// serve serves a health service on a session.
func serve(s *bradawl.Session, service *health.Server, may func(bradawl.PeerID, string) bool) (stop func()) {
	server := newServer(may)
	healthpb.RegisterHealthServer(server, service)
	done := make(chan struct{})
	ln := quicpeer.Listen(s)
	go func() {
		defer close(done)
		_ = server.Serve(ln) // ends by Stop
	}()
	return func() {
		server.Stop()
		<-done
	}
}

// answer is one message of the server's.
type answer struct {
	Method string `json:"method"`
	Status string `json:"status"`
	MS     int64  `json:"ms"` // since it was asked for
}

// call asks once how the service is, and then watches it while it changes.
func call(ctx context.Context, s *bradawl.Session, id bradawl.PeerID, service *health.Server, o options, tell func(answer)) error {
	conn, err := dial(s, id)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	began := time.Now()
	got, err := client.Check(ctx, new(healthpb.HealthCheckRequest))
	if err != nil {
		return err
	}
	tell(answer{"Check", got.Status.String(), time.Since(began).Milliseconds()})

	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which ends the stream
	began = time.Now()
	stream, err := client.Watch(ctx, new(healthpb.HealthCheckRequest))
	if err != nil {
		return err
	}
	states := []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING}
	for i := range o.messages {
		got, err := stream.Recv()
		if err != nil {
			return err
		}
		tell(answer{"Watch", got.Status.String(), time.Since(began).Milliseconds()})
		began = time.Now()
		service.SetServingStatus("", states[i%2])
	}
	return nil
}
