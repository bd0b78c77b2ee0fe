package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
)

// end is a bind that is open.
type end struct {
	bind
	receive wgconn.ReceiveFunc
}

func ends(t *testing.T) (w *simworld.World, both [2]*end) {
	t.Helper()
	w, err := simworld.Meet(t.Context(), simworld.Config{Seed: 1, NATs: [2]string{"full-cone", "symmetric-preserving"}, Link: simnet.Link{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	for i := range both {
		both[i] = &end{bind: bind{s: w.Ends[i]}}
		both[i].reopen(t)
	}
	return w, both
}

func (e *end) reopen(t *testing.T) {
	t.Helper()
	funcs, _, err := e.Open(0)
	if err != nil || len(funcs) != 1 {
		t.Fatalf("%d, %v", len(funcs), err)
	}
	e.receive = funcs[0]
	t.Cleanup(func() { e.Close() })
}

// want receives packets until all of these have come, from the peer.
func (e *end) want(t *testing.T, from bradawl.PeerID, all ...string) {
	t.Helper()
	left := make(map[string]bool)
	for _, p := range all {
		left[p] = true
	}
	bufs, sizes, eps := make([][]byte, e.BatchSize()), make([]int, e.BatchSize()), make([]wgconn.Endpoint, e.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, bradawl.MaxDatagram)
	}
	for len(left) > 0 {
		n, err := e.receive(bufs, sizes, eps)
		if err != nil {
			t.Fatalf("%v, with %v to come", err, left)
		}
		for i := range n {
			if eps[i].DstToString() != from.String() {
				t.Errorf("%q from %v", bufs[i][:sizes[i]], eps[i].DstToString())
			}
			delete(left, string(bufs[i][:sizes[i]]))
		}
	}
}

// wantClosed receives what may be left, and then that it is closed.
func (e *end) wantClosed(t *testing.T) {
	t.Helper()
	bufs := [][]byte{make([]byte, bradawl.MaxDatagram)}
	for range queue + 1 {
		_, err := e.receive(bufs, make([]int, 1), make([]wgconn.Endpoint, 1))
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
		}
	}
	t.Error("it is not closed")
}

// TestBothSpeakAtOnce: each dials the other, what waits for the dials is sent, and either of
// the two connections that come of it is read.
func TestBothSpeakAtOnce(t *testing.T) {
	w, both := ends(t)
	a, b := w.Ends[0].ID(), w.Ends[1].ID()
	to, err := both[0].ParseEndpoint(b.String())
	if err != nil {
		t.Fatal(err)
	}
	full := string(bytes.Repeat([]byte("x"), bradawl.MaxDatagram))
	if err := errors.Join(both[0].Send([][]byte{[]byte("one"), []byte(full)}, to), both[1].Send([][]byte{[]byte("two")}, endpoint{a})); err != nil {
		t.Fatal(err)
	}
	both[0].want(t, b, "two")
	both[1].want(t, a, "one", full)
	if !both[0].path(b).IsValid() {
		t.Error("no path")
	}

	// WireGuard closes its socket and opens another where its configuration changes.
	if err := both[0].Close(); err != nil {
		t.Error(err)
	}
	both[0].wantClosed(t)
	if both[0].path(b).IsValid() {
		t.Error("it has a path")
	}
	if err := both[0].Send([][]byte{[]byte("three")}, to); !errors.Is(err, net.ErrClosed) {
		t.Errorf("sent when closed: %v", err)
	}
	both[0].reopen(t)
	if err := both[0].Send([][]byte{[]byte("four")}, to); err != nil {
		t.Fatal(err)
	}
	both[1].want(t, a, "four")
}

var errNobody = errors.New("nobody there")

// TestDialInVain: where nobody answers, dials become rare, whatever there is to send.
func TestDialInVain(t *testing.T) {
	stranger, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		o := newOpened(nil)
		defer o.wg.Wait()
		defer o.cancel()
		dials := 0
		o.call = func(context.Context, bradawl.PeerID) (*bradawl.Conn, error) {
			dials++
			return nil, errNobody
		}
		send := func() int {
			if o.connTo(stranger.ID(), [][]byte{{1}}) != nil {
				t.Fatal("there is a connection")
			}
			synctest.Wait()
			return dials
		}
		for i, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			if n := send(); n != i+1 {
				t.Fatalf("%d dials, want %d", n, i+1)
			}
			time.Sleep(pause*time.Second - 1)
			if n := send(); n != i+1 {
				t.Fatalf("it dialled within %d s, after %d dials in vain", pause, i+1)
			}
			time.Sleep(time.Nanosecond)
		}
		if n := len(o.waiting); n > 0 {
			t.Errorf("packets wait for %d dials that nobody makes", n)
		}
	})
}

// TestDialledMeanwhile: what waits for a dial that fails goes by the connection that the peer
// has made in the meantime, and no pause is left of it.
func TestDialledMeanwhile(t *testing.T) {
	w, both := ends(t)
	a, b := w.Ends[0].ID(), w.Ends[1].ID()
	fail := make(chan struct{})
	o := both[0].open
	o.call = func(ctx context.Context, _ bradawl.PeerID) (*bradawl.Conn, error) {
		select {
		case <-fail:
		case <-ctx.Done():
		}
		return nil, errNobody
	}
	o.failed[b] = pause{long: maxPause} // it is over
	if err := both[0].Send([][]byte{[]byte("one")}, endpoint{b}); err != nil {
		t.Fatal(err)
	}
	if err := both[1].Send([][]byte{[]byte("two")}, endpoint{a}); err != nil {
		t.Fatal(err)
	}
	both[0].want(t, b, "two")
	close(fail)
	both[1].want(t, a, "one")
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failed) > 0 {
		t.Errorf("a pause is left: %v", o.failed)
	}
}

func TestBindRefuses(t *testing.T) {
	_, both := ends(t)
	if _, _, err := both[0].Open(0); !errors.Is(err, wgconn.ErrBindAlreadyOpen) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := both[0].ParseEndpoint("192.0.2.1:51820"); err == nil {
		t.Error("an IP address was taken for a PeerID")
	}
	if err := both[0].Send(nil, &wgconn.StdNetEndpoint{}); !errors.Is(err, wgconn.ErrWrongEndpointType) {
		t.Errorf("another endpoint: %v", err)
	}
	stranger, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	many := make([][]byte, 3*maxWaiting) // for whom nobody can reach: not all of them may wait
	for range 3 {
		if err := both[0].Send(many, endpoint{stranger.ID()}); err != nil {
			t.Error(err)
		}
	}
	both[0].open.mu.Lock()
	if n := len(both[0].open.waiting[stranger.ID()]); n > maxWaiting {
		t.Errorf("%d packets wait", n)
	}
	both[0].open.mu.Unlock()
	if err := both[0].Close(); err != nil {
		t.Error(err)
	}
	both[0].wantClosed(t)
}
