package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// Signaler is what a session reaches its peers by, through a rendezvous: it is a
// bradawl.Signaler. A pointer to one that has its URL works:
//
//	bradawl.Config{Signaler: &rendezvous.Signaler{URL: "wss://rendezvous.example/"}}
//
// The fields are not changed once it is in use. All methods are safe for concurrent use.
type Signaler struct {
	// URL is the rendezvous, as [Dial] takes it. There is no default.
	URL string

	// Client says how to connect. The zero value works; Identity is not used, for
	// SignOn is told who signs on.
	Client ClientConfig

	mu     sync.Mutex
	client *Client       // of the last sign-on; nil: there was none
	failed error         // of the last try; nil: it signed on
	next   chan struct{} // closed by the next sign-on; nil: nobody waits for it
}

// Signals is one sign-on of a [Signaler]: the same type as bradawl.Signals, which says
// what its methods are for.
type Signals = interface {
	// Send is Client.Send.
	Send(ctx context.Context, to ident.PeerID, message []byte) error
	// Receive waits for a Message as Client.Next does.
	Receive(ctx context.Context) (from ident.PeerID, message []byte, err error)
	// Close is Client.Close.
	Close() error
}

// Check returns a *ConfigError where URL or Client can be seen to be wrong, as SignOn
// would. It sends nothing.
func (s *Signaler) Check() error {
	if s == nil {
		return &ConfigError{Field: "Signaler", Reason: "is nil; give one with a URL"}
	}
	if _, _, err := parseURL(s.URL); err != nil {
		return err
	}
	_, err := s.Client.withDefaults()
	return err
}

// SignOn connects to the rendezvous, and proves that id is who signs on. Whatever was
// signed on under the same id is replaced. ctx bounds SignOn alone; the errors are those
// of [Dial]. The caller closes what it returns.
//
// Beside its methods that has a method Servers, as bradawl.Signals describes it: the
// servers of [Client.ICEServers]. Of the TURN servers they are those that take the
// credentials of the first one.
//
// Receive returns an [*Error] for which Undeliverable is true when a peer that was sent
// a message is not signed on; the connection goes on then.
func (s *Signaler) SignOn(ctx context.Context, id *ident.Identity) (Signals, error) {
	if id == nil {
		return nil, &ConfigError{Field: "Identity", Reason: "is nil; give the one that signs on"}
	}
	cfg := s.Client
	cfg.Identity = id
	if cfg.Rand != nil { // the last sign-on's client may still use it
		s.mu.Lock()
		cfg.Rand = rand.New(rand.NewPCG(s.Client.Rand.Uint64(), s.Client.Rand.Uint64()))
		s.mu.Unlock()
	}
	client, err := Dial(ctx, s.URL, cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	if err != nil {
		return nil, err
	}
	s.client = client
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
	return &signals{client}, nil
}

// Meet waits in room (see [ValidRoom]) for another member, who must be in Meet too, and
// returns its PeerID: so two peers that have agreed on nothing but a word learn whom to
// dial. Whoever knows the word can be the one who is met, so it is for demonstrations.
// The room is left when Meet returns.
//
// It uses the sign-on of whoever has called SignOn, a session as a rule; while there is
// none, or it is lost, Meet waits for the next one. To meet before there is a session,
// call SignOn, then Meet, then make the session with the same identity, and close what
// SignOn returned: the session's sign-on takes its place.
//
// The error is one of [Client.Meet]. It is none that the connection was lost.
func (s *Signaler) Meet(ctx context.Context, room string) (ident.PeerID, error) {
	lost := errors.New("nobody has signed on; make a session with this Signaler, or call SignOn")
	for {
		client, next := s.current()
		if client != nil {
			peer, err := client.Meet(ctx, room)
			if err == nil || ctx.Err() != nil || !client.lost() {
				return peer, err
			}
			lost = client.events.cause()
		}
		select {
		case <-next:
		case <-ctx.Done():
			s.mu.Lock()
			if s.failed != nil {
				lost = s.failed
			}
			s.mu.Unlock()
			return ident.PeerID{}, &OpError{Op: "meet", URL: redacted(s.URL), Err: fmt.Errorf("%w; not signed on: %w", context.Cause(ctx), lost)}
		}
	}
}

// current returns the last sign-on's client, and a channel that the next one closes.
func (s *Signaler) current() (*Client, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.client, s.next
}

// signals is a client in the shape of Signals.
type signals struct{ client *Client }

func (s *signals) Send(ctx context.Context, to ident.PeerID, message []byte) error {
	return s.client.opError("send", s.client.Send(ctx, to, message))
}

// Receive passes over what a session has no use for. That a peer is busy is no more to
// it than a message lost, for it repeats them.
func (s *signals) Receive(ctx context.Context) (ident.PeerID, []byte, error) {
	for {
		event, err := s.client.Next(ctx)
		if err != nil {
			return ident.PeerID{}, nil, s.client.opError("receive", err)
		}
		switch e := event.(type) {
		case Message:
			return e.From, e.Message, nil
		case *Error:
			if _, ok := e.Undeliverable(); ok {
				return ident.PeerID{}, nil, e
			}
		}
		if ctx.Err() != nil { // Next would go on as long as there are events
			return ident.PeerID{}, nil, s.client.opError("receive", context.Cause(ctx))
		}
	}
}

// NetworkChanged has it found out at once whether the connection still stands.
func (s *signals) NetworkChanged() { s.client.NetworkChanged() }

func (s *signals) Close() error { return s.client.Close() }

func (s *signals) Servers() (stun, turn []string, username, password string, expires time.Time) {
	for _, server := range s.client.ICEServers() {
		for _, uri := range server.URIs {
			if !isTURN(uri) {
				stun = append(stun, uri)
				continue
			}
			if turn == nil {
				username, password = server.Username, server.Credential
			}
			if server.Username == username && server.Credential == password {
				turn = append(turn, uri)
				expires = machine.Earliest(expires, server.Expires)
			}
		}
	}
	return stun, turn, username, password, expires
}
