package natsbus

import (
	"errors"
	"testing"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

func closeCode(err error) rendezvous.Code {
	if closed := (*rendezvous.CloseError)(nil); errors.As(err, &closed) {
		return closed.Code
	}
	return 0
}

// Peers at two nodes meet in a room, and write to each other.
func TestTwoNodes(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	one, two := runNode(t, dialNATS(t, s.ClientURL()), Config{}), runNode(t, dialNATS(t, s.ClientURL()), Config{})
	a, b := one.dial(identity(t, 1)), two.dial(identity(t, 2))
	a.join("r", "a")
	b.join("r", "b")
	a.paired(b, "b")
	b.paired(a, "a")
	if err := a.Send(within(t), b.ID(), nil); err != nil {
		t.Fatal(err)
	}
	if m, ok := b.recv().(rendezvous.Message); !ok || m.From != a.ID() || !m.Proven || len(m.Message) != 0 {
		t.Errorf("got %+v", m)
	}
	// The third finds it full, the fourth writes to nobody.
	c := two.dial(identity(t, 3))
	err := c.Join(within(t), "r", nil)
	if refused := (*rendezvous.Error)(nil); !errors.As(err, &refused) || refused.Code != rendezvous.CodeRoomFull {
		t.Errorf("the third got %v", err)
	}
	if err := c.Send(within(t), identity(t, 4).ID(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if e, ok := c.recv().(*rendezvous.Error); !ok || e.Code != rendezvous.CodeNoPeer || e.Peer != identity(t, 4).ID() {
		t.Errorf("got %+v", e)
	}
	// The home's own member leaves, and its node too: the room begins anew.
	a.Close()
	if e, ok := b.recv().(rendezvous.PeerLeft); !ok || e.Room != "r" {
		t.Errorf("got %+v", e)
	}
	// A second sign-on of the same peer elsewhere takes its place.
	b2 := one.dial(identity(t, 2))
	b.closedWith(rendezvous.CodeReplaced)
	b2.join("r", "b2")
	c.join("r", "c")
	b2.paired(c, "c")
	c.paired(b2, "b2")
}
