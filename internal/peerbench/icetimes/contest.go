package icetimes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Kind is what stands between two agents, all of them on 127.0.0.1.
type Kind int

// The kinds of meetings.
const (
	Host      Kind = iota // both have host candidates and know each other's
	SrflxOnly             // both have server-reflexive candidates alone
	// Prflx: both have host candidates, but the controlling agent is not told the
	// other's, and learns of them by its checks.
	Prflx
	RelayOnly // both have relayed candidates alone
)

// Kinds are all kinds.
var Kinds = []Kind{Host, SrflxOnly, Prflx, RelayOnly}

// String returns the kind in a word.
func (k Kind) String() string {
	return [...]string{"host", "srflx-only", "prflx", "relay-only"}[k]
}

// Contestant is an implementation of ICE.
type Contestant interface {
	// Name is what tables call it.
	Name() string
	// Connect makes two agents and has them meet. It returns the time from when each
	// has the other's credentials, and its candidates as far as the kind lets it, to
	// when both can send; gathering is not part of it. It returns after a message has
	// gone both ways and both agents are closed. It ends early when ctx does.
	Connect(ctx context.Context, kind Kind, servers *Servers) (time.Duration, error)
}

// Contestants are the implementations that are compared. The first is what the others
// are measured by.
var Contestants = []Contestant{bradawl{}, pion{"pion-v2", newPion2}, pion{"pion-v4", newPion4}}

// agent is what meet needs of an agent.
type agent interface {
	// gather returns its candidates as text when it has all.
	gather(ctx context.Context) ([]string, error)
	credentials() (ufrag, pwd string, err error)
	// add returns when the candidate of the peer's counts.
	add(candidate string) error
	// connect returns when it can send.
	connect(ctx context.Context, controlling bool, ufrag, pwd string) (net.Conn, error)
	close() error
}

// meet is a Contestant's Connect for agents of that shape. It closes them.
func meet(ctx context.Context, kind Kind, controlling, controlled agent) (took time.Duration, err error) {
	defer func() { err = errors.Join(err, controlling.close(), controlled.close()) }()
	if err := introduce(ctx, controlling, controlled); err != nil {
		return 0, err
	}
	if kind != Prflx {
		if err := introduce(ctx, controlled, controlling); err != nil {
			return 0, err
		}
	} else if _, err := controlled.gather(ctx); err != nil {
		return 0, err
	}
	ufrag1, pwd1, err := controlling.credentials()
	if err != nil {
		return 0, err
	}
	ufrag2, pwd2, err := controlled.credentials()
	if err != nil {
		return 0, err
	}
	type side struct {
		conn net.Conn
		took time.Duration
		err  error
	}
	other := make(chan side, 1)
	began := time.Now()
	go func() {
		conn, err := controlled.connect(ctx, false, ufrag1, pwd1)
		other <- side{conn, time.Since(began), err}
	}()
	conn, err := controlling.connect(ctx, true, ufrag2, pwd2)
	took = time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("the controlling agent: %w", err)
	}
	peer := <-other
	if peer.err != nil {
		return 0, fmt.Errorf("the controlled agent: %w", peer.err)
	}
	return max(took, peer.took), errors.Join(talk(ctx, conn, peer.conn), talk(ctx, peer.conn, conn))
}

// introduce has one gather and tells the other its candidates.
func introduce(ctx context.Context, one, other agent) error {
	found, err := one.gather(ctx)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("an agent found no candidate")
	}
	for _, c := range found {
		if err := other.add(c); err != nil {
			return fmt.Errorf("adding %q: %w", c, err)
		}
	}
	return nil
}

// talk sends a message from one side to the other. Reading ends with ctx at the latest, when
// the agents are closed.
func talk(ctx context.Context, from, to net.Conn) error {
	const message = "not STUN"
	if _, err := from.Write([]byte(message)); err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() {
		buf := make([]byte, 100)
		n, err := to.Read(buf)
		if err == nil && string(buf[:n]) != message {
			err = fmt.Errorf("got %q, want %q", buf[:n], message)
		}
		read <- err
	}()
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
