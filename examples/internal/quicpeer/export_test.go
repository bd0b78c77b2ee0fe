package quicpeer

import (
	"context"

	"github.com/bradawl/bradawl"
)

// Greet greets a connection as a listener does that is closed when ctx ends.
func Greet(ctx context.Context, under *bradawl.Conn) {
	l := &Listener{ctx: ctx, conns: make(chan *Conn)}
	l.greet(under)
}
