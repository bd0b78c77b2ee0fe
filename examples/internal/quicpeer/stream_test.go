package quicpeer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/quicpeer"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
)

// world is two sessions behind NATs.
func world(t *testing.T, loss float64) *simworld.World {
	t.Helper()
	w, err := simworld.Open(t.Context(), simworld.Config{
		Seed: 1, NATs: [2]string{"port-restricted-cone", "symmetric-preserving"}, Link: simnet.Link{Delay: time.Millisecond, Loss: loss},
	})
	if err == nil {
		t.Cleanup(w.Close)
		err = w.SignOn(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// pair is a stream's two ends.
func pair(t *testing.T, w *simworld.World) (dialled *quicpeer.Conn, accepted net.Conn) {
	t.Helper()
	ln := quicpeer.Listen(w.Ends[1])
	t.Cleanup(func() { ln.Close() })
	dialled, err := quicpeer.Dial(t.Context(), w.Ends[0], w.Ends[1].ID())
	if err == nil {
		accepted, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	if dialled.RemoteAddr() != ln.Addr() || accepted.RemoteAddr() != (bradawl.Addr{Peer: w.Ends[0].ID()}) {
		t.Errorf("from %v to %v, want PeerIDs", accepted.RemoteAddr(), dialled.RemoteAddr())
	}
	return dialled, accepted
}

// TestNothingIsLostAtTheEnd: who asks ends its side first, and the answer arrives whole
// although it is closed at once.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		question, answer := bytes.Repeat([]byte("?"), 10_000), bytes.Repeat([]byte("!"), 100_000)
		dialled, accepted := pair(t, world(t, 0.05))
		served := make(chan error, 1)
		go func() {
			got, err := io.ReadAll(accepted)
			if err == nil && !bytes.Equal(got, question) {
				err = errors.New("it was another question")
			}
			_, wrong := accepted.Write(answer)
			served <- errors.Join(err, wrong, accepted.Close())
		}()
		if _, err := dialled.Write(question); err != nil {
			t.Fatal(err)
		}
		if err := dialled.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(dialled)
		if err != nil || !bytes.Equal(got, answer) {
			t.Errorf("%d bytes of %d came: %v", len(got), len(answer), err)
		}
		if err := errors.Join(dialled.Close(), dialled.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseBesideReadAndWrite: Close ends a Read and a Write that wait for the peer, which then
// reads what was written, to its end.
func TestCloseBesideReadAndWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled, accepted := pair(t, world(t, 0))
		read, wrote, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		var sent int
		go func() {
			_, err := dialled.Read(make([]byte, 1))
			read <- err
		}()
		go func() {
			var err error
			sent, err = dialled.Write(make([]byte, 64<<20)) // more than is sent without being read
			wrote <- err
		}()
		synctest.Wait()
		began := time.Now()
		go func() { closed <- dialled.Close() }()
		for what, err := range map[string]error{"read": <-read, "write": <-wrote} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v, want %v", what, err, net.ErrClosed)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("they waited for %v", took)
		}
		if _, err := dialled.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("another write: %v", err)
		}
		if err := dialled.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("another deadline: %v", err)
		}
		if got, err := io.Copy(io.Discard, accepted); err != nil || got != int64(sent) || sent == 0 {
			t.Errorf("%d bytes came of %d: %v", got, sent, err)
		}
		if err := errors.Join(accepted.Close(), <-closed); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the end was waited for %v", took)
		}
	})
}

// TestTheOtherSpeaksFirst: a stream is there for the peer before anything is said on it.
func TestTheOtherSpeaksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled, accepted := pair(t, world(t, 0))
		said := make(chan error, 1)
		go func() {
			_, err := io.WriteString(accepted, "welcome")
			said <- errors.Join(err, accepted.Close())
		}()
		got, err := io.ReadAll(dialled)
		if string(got) != "welcome" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if err := errors.Join(dialled.Close(), <-said); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseOfListener ends Accept.
func TestCloseOfListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, 0)
		ln := quicpeer.Listen(w.Ends[1])
		accepted := make(chan error, 1)
		go func() {
			_, err := ln.Accept()
			accepted <- err
		}()
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := quicpeer.Dial(ctx, w.Ends[0], w.Ends[1].ID()); !errors.Is(err, context.Canceled) {
			t.Errorf("dial: %v", err)
		}
	})
}

// TestMute lets go of a peer that has connected without a word.
func TestMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, 0)
		mute, err := w.Ends[0].Dial(t.Context(), w.Ends[1].ID())
		if err != nil {
			t.Fatal(err)
		}
		under, err := w.Ends[1].Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		greeted := make(chan struct{})
		go func() {
			defer close(greeted)
			quicpeer.Greet(ctx, under)
		}()
		cancel()
		<-greeted
		for range mute.Paths(t.Context()) { // until it is over
		}
		if !errors.Is(mute.Err(), bradawl.ErrPeerClosed) {
			t.Error(mute.Err())
		}
	})
}
