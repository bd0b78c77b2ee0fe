package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/simworld"
)

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-json", "-n", "4"}, &out, io.Discard); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		var got []string
		for lines := json.NewDecoder(&out); lines.More(); {
			var a answer
			if err := lines.Decode(&a); err != nil {
				t.Fatal(err)
			}
			got = append(got, a.Method+" "+a.Status)
		}
		if want := []string{"Check SERVING", "Watch SERVING", "Watch NOT_SERVING", "Watch SERVING", "Watch NOT_SERVING"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// TestInterrupted: gRPC has a status for who was interrupted, which says less.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) }) // while it calls
		if err := run(ctx, []string{"-n", "1000"}, io.Discard, io.Discard); err != why {
			t.Errorf("%v, want %v", err, why)
		}
	})
}

// TestCallersAreKnown: the server knows who calls, and what they may not call fails by that
// name.
func TestCallersAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := simworld.Meet(t.Context(), simworld.Config{Seed: 1, NATs: [2]string{"full-cone", "open"}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		callers := make(chan bradawl.PeerID, 10)
		defer serve(w.Ends[1], health.NewServer(), func(id bradawl.PeerID, method string) bool {
			callers <- id
			return strings.HasSuffix(method, "/Check")
		})()
		conn, err := dial(w.Ends[0], w.Ends[1].ID())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := healthpb.NewHealthClient(conn)
		if _, err := client.Check(t.Context(), new(healthpb.HealthCheckRequest)); err != nil {
			t.Error(err)
		}
		stream, err := client.Watch(t.Context(), new(healthpb.HealthCheckRequest))
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), w.Ends[0].ID().Short()) {
			t.Errorf("watch: %v", err)
		}
		for range 2 {
			if id := <-callers; id != w.Ends[0].ID() {
				t.Errorf("called by %v, want %v", id, w.Ends[0].ID())
			}
		}
		if _, err := caller(context.Background()); status.Code(err) != codes.Unauthenticated {
			t.Errorf("no peer: %v", err)
		}
	})
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{"-n 0": "1 to 1000", "-n x": "invalid value", "-nat-a none": "-nat-a", "-nat-b none": "-nat-b", "now": "not a flag"} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("grpc", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("grpc", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}
