package bradawl_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
)

// says checks that an error matches what it is, and names what it is about.
func says(t *testing.T, what string, err error, match error, parts ...string) {
	t.Helper()
	if !errors.Is(err, match) {
		t.Errorf("%s: %v does not match %v", what, err, match)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %q does not say %q", what, err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: more than a line: %q", what, err)
	}
}

// TestWordsWithoutSignalling: whoever waits for a signalling that is down is told that it is.
func TestWordsWithoutSignalling(t *testing.T) {
	simulate(t, "open", "open", nil, func(t *testing.T, w *internet) {
		a, b := w.ends[0], w.ends[1]
		check(t, a.WaitSignedOn(t.Context()))
		w.hub.cut(true)
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		down := "not signed on: the hub is down"
		_, err := a.Dial(ctx, b.ID())
		says(t, "a dial whose context ends", err, context.DeadlineExceeded, b.ID().Short(), "after 5s", down)
		says(t, "a dial whose context ends", err, bradawl.ErrNotSignedOn)
		_, err = a.Dial(ctx, b.ID())
		says(t, "a dial whose context has ended", err, context.DeadlineExceeded, b.ID().Short())
		_, err = a.Accept(ctx)
		says(t, "accept", err, context.DeadlineExceeded, "nobody dialled", down)
		says(t, "accept", err, bradawl.ErrNotSignedOn)
		says(t, "waiting", a.WaitSignedOn(ctx), context.DeadlineExceeded, down)
		says(t, "waiting", a.WaitSignedOn(ctx), bradawl.ErrNotSignedOn)
		// That the peer did not answer would be true, and send whoever reads it to the peer.
		_, err = a.Dial(t.Context(), b.ID())
		says(t, "a dial", err, bradawl.ErrNotSignedOn, b.ID().Short(), "this session is not signed on after 30s: the hub is down")
		if errors.Is(err, bradawl.ErrNoAnswer) || !strings.HasSuffix(err.Error(), "the hub is down") { // what would help is for the Signaler to say
			t.Errorf("a dial: %v", err)
		}

		w.hub.cut(false)
		check(t, a.WaitSignedOn(t.Context()))
		check(t, b.WaitSignedOn(t.Context()))
		gone, stop := context.WithCancelCause(t.Context())
		stop(errors.New("enough"))
		if _, err := a.Accept(gone); err == nil || err.Error() != "bradawl: nobody dialled: enough" {
			t.Errorf("accept of a session that is signed on: %v", err)
		}
		w.meet(t)
	})
}

// TestWordsOfAPeerThatHangs: the signalling works and nobody answers.
func TestWordsOfAPeerThatHangs(t *testing.T) {
	simulate(t, "open", "open", func(cfg *bradawl.Config) {
		cfg.AllowPeer = func(ctx context.Context, _ bradawl.PeerID) bool { <-ctx.Done(); return false }
	}, func(t *testing.T, w *internet) {
		_, err := w.ends[0].Dial(t.Context(), w.ends[1].ID())
		says(t, "a dial", err, bradawl.ErrNoAnswer, w.ends[1].ID().Short(), "AllowPeer")
	})
}

// TestWordsWhereUDPIsBlocked: a session that may do no other finds no path, and says why.
func TestWordsWhereUDPIsBlocked(t *testing.T) {
	simulate(t, "udp-blocked", "port-restricted-cone", func(cfg *bradawl.Config) {
		cfg.Policy, cfg.Networks = bradawl.DirectOnly, []string{"udp4"}
	}, func(t *testing.T, w *internet) {
		pass(10 * time.Second) // the servers have been waited for
		_, err := w.ends[0].Dial(t.Context(), w.ends[1].ID())
		says(t, "a dial", err, bradawl.ErrNoPath, w.ends[1].ID().Short(), "no STUN server has answered", "UDP", "within 30s")
	})
}

// TestWordsWithNothingInCommon: of two sides without a family in common, either is told which
// fields say so.
func TestWordsWithNothingInCommon(t *testing.T) {
	networks := []string{"udp4", "udp6"}
	simulate(t, "open", "open", func(cfg *bradawl.Config) {
		cfg.Policy, cfg.Networks, networks = bradawl.DirectOnly, networks[:1], networks[1:]
	}, func(t *testing.T, w *internet) {
		_, err := w.ends[0].Dial(t.Context(), w.ends[1].ID())
		says(t, "a dial", err, bradawl.ErrNoPath, "no family", "Config.Networks", "Config.Addrs", "Policy")
	})
}

// TestWordsAfterTheEnd: both ends of a connection say who closed it, in the words of package
// net too.
func TestWordsAfterTheEnd(t *testing.T) {
	simulate(t, "open", "open", nil, func(t *testing.T, w *internet) {
		a, b := w.meet(t)
		check(t, a.Close())
		check(t, a.Close())
		pass(2 * time.Second)
		buf := make([]byte, 10)
		for _, end := range []struct {
			name string
			conn *bradawl.Conn
			why  error
			says string
		}{{"who closed", a, bradawl.ErrClosed, "on this side"}, {"the other", b, bradawl.ErrPeerClosed, "the peer closed the connection"}} {
			says(t, end.name+", Err", end.conn.Err(), end.why, end.says)
			_, err := end.conn.Write(buf)
			says(t, end.name+", Write", err, end.why, "write", end.conn.Peer().String(), end.says)
			says(t, end.name+", Write", err, net.ErrClosed)
			if e := end.conn.Explain(); e.Peer != end.conn.Peer() || e.State != "over" || !strings.Contains(e.Why, end.says) {
				t.Errorf("%s, Explain: %v", end.name, e)
			}
		}
		_, err := a.Read(buf)
		says(t, "who closed, Read", err, bradawl.ErrClosed, "read", "on this side")
		says(t, "who closed, SetDeadline", a.SetDeadline(time.Now()), bradawl.ErrClosed, "on this side")
		if _, err := b.Read(buf); err != io.EOF {
			t.Errorf("the other, Read: %v", err)
		}
		check(t, w.ends[0].Close())
		for what, f := range map[string]func() error{
			"Dial":         func() error { _, err := w.ends[0].Dial(t.Context(), b.Peer()); return err },
			"Accept":       func() error { _, err := w.ends[0].Accept(t.Context()); return err },
			"WaitSignedOn": func() error { return w.ends[0].WaitSignedOn(t.Context()) },
		} {
			says(t, what+" after Close", f(), bradawl.ErrClosed)
		}
	})
}

// TestWordsOfEvents: an event is a line for a log.
func TestWordsOfEvents(t *testing.T) {
	id, err := bradawl.NewIdentity()
	check(t, err)
	for want, e := range map[string]bradawl.Event{
		"signal-up":                          {Kind: bradawl.EventSignalUp},
		"signal-down: no such host":          {Kind: bradawl.EventSignalDown, Err: errors.New("no such host")},
		"lost " + id.ID().Short() + ": dead": {Kind: bradawl.EventLost, Peer: id.ID(), Reason: "dead"},
	} {
		if e.String() != want {
			t.Errorf("%q, want %q", e, want)
		}
	}
}
