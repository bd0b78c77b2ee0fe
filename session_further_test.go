package bradawl_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
)

// TestFurtherConnections: a Dial of a connected peer takes a round trip and makes another
// Conn on the same paths, which has datagrams, statistics and an end of its own.
func TestFurtherConnections(t *testing.T) {
	var asked atomic.Int32
	allow := func(cfg *bradawl.Config) {
		cfg.AllowPeer = func(context.Context, bradawl.PeerID) bool { asked.Add(1); return true }
	}
	simulate(t, "port-restricted-cone", "port-restricted-cone", allow, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		pass(30 * time.Second) // all is quiet
		began := time.Now()
		a2, b2 := w.meet(t)
		if took := time.Since(began); took > 160*time.Millisecond {
			t.Errorf("both have it after %v, want a round trip and a half of 100 ms", took)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("AllowPeer was asked %d times, want once for each", n)
		}
		e := a2.Explain()
		if e.Shared != 1 || a2.Path() != a.Path() || !a2.Dialled() || b2.Dialled() {
			t.Errorf("%v\n%v", a2.Path(), e)
		}
		say := func(from, to *bradawl.Conn, text string) {
			t.Helper()
			_, err := from.Write([]byte(text))
			check(t, err)
			check(t, to.SetReadDeadline(time.Now().Add(time.Second)))
			buf := make([]byte, 100)
			n, err := to.Read(buf)
			check(t, err)
			if string(buf[:n]) != text {
				t.Errorf("%q came for %q", buf[:n], text)
			}
		}
		both := func() {
			t.Helper()
			say(a, b, "first there")
			say(a2, b2, "second there")
			say(b2, a2, "second back")
			say(b, a, "first back")
		}
		both()
		w.sites[0].NAT.Reboot(time.Second)
		pass(10 * time.Second) // quiet, so that nobody has noticed
		for range 50 {         // the first one's traffic finds out for both
			_, _ = a.Write([]byte("?"))
			pass(100 * time.Millisecond)
		}
		for b.Stats().In > 0 { // what came of them is read
			check(t, b.SetReadDeadline(time.Now().Add(time.Second)))
			if _, err := b.Read(make([]byte, 100)); err != nil {
				break
			}
		}
		both()
		if one, two := a.Stats(), a2.Stats(); one.In != 2 || two.In != 2 || two.Out != 2 {
			t.Errorf("%+v, %+v", one, two)
		}
		paths := make(chan int)
		go func() {
			n := 0
			for range b2.Paths(t.Context()) {
				n++
			}
			paths <- n
		}()
		check(t, a.Close())
		if _, err := b.Read(make([]byte, 100)); !errors.Is(err, io.EOF) {
			t.Errorf("the first, closed by the peer: %v", err)
		}
		pass(time.Minute)
		say(a2, b2, "alone")
		say(b2, a2, "alone")
		if e := b2.Explain(); e.Shared != 0 {
			t.Errorf("%v", e)
		}
		check(t, b2.Close())
		if _, err := a2.Read(make([]byte, 100)); !errors.Is(err, io.EOF) {
			t.Errorf("the second, closed by the peer: %v", err)
		}
		if n := <-paths; n == 0 {
			t.Error("Paths has told none")
		}
	})
}

// TestPlaintextFurtherConnections: in plaintext a further connection has paths of its own.
func TestPlaintextFurtherConnections(t *testing.T) {
	simulate(t, "open", "open", func(cfg *bradawl.Config) { cfg.Plaintext = true }, func(t *testing.T, w *internet) {
		w.meet(t)
		if second, _ := w.meet(t); second.Explain().Shared != 0 {
			t.Errorf("%v", second.Explain())
		}
	})
}
