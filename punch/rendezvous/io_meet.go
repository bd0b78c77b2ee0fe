package rendezvous

import (
	"context"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
)

// Meet joins room with an empty message, returns who the other member is as soon as
// there is one, and leaves. The other member must be there by Meet, or have given a
// message. Next does not return this pairing; somebody must call it, though, if more than
// QueueEvents other messages come meanwhile. Do not use Meet for a room that the client is
// a member of: it would leave that.
//
// Where the room's node is lost, as it may happen to a service of several, Meet joins
// the room again.
//
// The error is that of [Client.Join].
func (c *Client) Meet(ctx context.Context, room string) (ident.PeerID, error) {
	met := &meetWait{peer: make(chan ident.PeerID, 1), lost: make(chan struct{}, 1)}
	taken := false
	_ = c.loop.Do(func(time.Time) {
		if taken = c.meeting[room] != nil; !taken {
			c.meeting[room] = met
		}
	})
	if taken {
		return ident.PeerID{}, badConfig("room", room, "is where another call of Meet waits; wait for that one")
	}
	defer func() {
		_ = c.loop.Do(func(time.Time) {
			if c.meeting[room] == met {
				delete(c.meeting, room)
			}
		})
	}()
	if err := c.Join(ctx, room, []byte{}); err != nil {
		return ident.PeerID{}, err
	}
	defer func() { _ = c.loop.Do(func(time.Time) { _ = c.m.Leave(room) }) }()
	var cause error
	for cause == nil {
		select {
		case peer := <-met.peer:
			return peer, nil
		case <-met.lost:
			if err := c.Join(ctx, room, []byte{}); err != nil {
				return ident.PeerID{}, err
			}
		case <-c.events.ended:
			cause = c.events.cause()
		case <-ctx.Done():
			cause = fmt.Errorf("nobody else came to room %q: %w; see that the other program runs and uses the same name", room, context.Cause(ctx))
		}
	}
	select {
	case peer := <-met.peer: // it came after all
		return peer, nil
	default:
		return ident.PeerID{}, c.opError("meet", cause)
	}
}

// meetWait is what a Meet waits for.
type meetWait struct {
	peer chan ident.PeerID // capacity 1
	lost chan struct{}     // capacity 1: the room is to be joined again
}

// meets hands a pairing to the Meet that waits for it; false if none does.
func (c *Client) meets(e Paired) bool {
	waiting, ok := c.meeting[e.Room]
	if ok {
		delete(c.meeting, e.Room)
		waiting.peer <- e.Peer
	}
	return ok
}

// expelled tells the Meet that waits in a room whose node is lost; false if none
// does, or the error is another one.
func (c *Client) expelled(e *Error) bool {
	waiting, ok := c.meeting[e.Room]
	if !ok || e.Code != CodeUnreachable {
		return false
	}
	signal(waiting.lost)
	return true
}

// lost reports whether the connection has ended.
func (c *Client) lost() bool {
	select {
	case <-c.events.ended:
		return true
	default:
		return false
	}
}
