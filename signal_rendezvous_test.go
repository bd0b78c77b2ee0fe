package bradawl_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// The rendezvous package does not import this one, and fits all the same.
var _ bradawl.Signaler = (*rendezvous.Signaler)(nil)

// Everything that a session uses of a Signaler, by a real rendezvous on loopback.
func TestRendezvousSignaler(t *testing.T) {
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{
		ICEServers: []string{"stun:s.example", "turn:t.example"},
		TURNSecret: "hush-hush",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	web := httptest.NewServer(server)
	defer web.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	var peers [3]bradawl.PeerID
	var signals [2]bradawl.Signals
	for i := range peers {
		id, err := bradawl.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		peers[i] = id.ID()
		if i < len(signals) {
			var signaler bradawl.Signaler = &rendezvous.Signaler{URL: web.URL}
			if signals[i], err = signaler.SignOn(ctx, id); err != nil {
				t.Fatal(err)
			}
			defer signals[i].Close()
		}
	}
	if err := signals[0].Send(ctx, peers[1], []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if from, message, err := signals[1].Receive(ctx); err != nil || from != peers[0] || string(message) != "hello" {
		t.Errorf("received %q of %v, %v", message, from, err)
	}
	// A peer that is not there is no end of the connection.
	if err := signals[0].Send(ctx, peers[2], []byte("hello")); err != nil {
		t.Fatal(err)
	}
	var undeliverable interface {
		Undeliverable() (bradawl.PeerID, bool)
	}
	_, _, err = signals[0].Receive(ctx)
	if !errors.As(err, &undeliverable) {
		t.Fatalf("sending to nobody: %v", err)
	}
	if peer, ok := undeliverable.Undeliverable(); !ok || peer != peers[2] {
		t.Errorf("undeliverable: %v, %t", peer, ok)
	}
	if err := signals[1].Send(ctx, peers[0], []byte("still there")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := signals[0].Receive(ctx); err != nil || string(message) != "still there" {
		t.Errorf("received %q, %v", message, err)
	}

	lister, ok := signals[0].(interface {
		Servers() (stun, turn []string, username, password string, expires time.Time)
	})
	if !ok {
		t.Fatal("the signals list no servers")
	}
	stun, turn, username, password, expires := lister.Servers()
	if len(stun) != 1 || stun[0] != "stun:s.example" || len(turn) != 1 || turn[0] != "turn:t.example" || username == "" || password == "" || time.Until(expires) < time.Minute {
		t.Errorf("servers %v, %v as %q until %v", stun, turn, username, expires)
	}

	if err := signals[0].Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := signals[0].Receive(ctx); err == nil || errors.As(err, &undeliverable) {
		t.Errorf("received after Close: %v", err)
	}
}
