package loopback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// Pair is two sessions that have a rendezvous.
type Pair struct {
	Ends [2]*bradawl.Session

	closers []func()
}

// Open starts a rendezvous and two sessions that speak protocol, and waits until both can be
// dialled. Close the pair.
func Open(ctx context.Context, protocol string) (*Pair, error) {
	p := new(Pair)
	if err := p.open(ctx, protocol); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Pair) open(ctx context.Context, protocol string) error {
	url, err := p.serve()
	if err != nil {
		return err
	}
	for i := range p.Ends {
		if p.Ends[i], err = bradawl.New(ctx, bradawl.Config{Signaler: &rendezvous.Signaler{URL: url}, Loopback: true, Protocol: protocol}); err != nil {
			return err
		}
		p.closers = append(p.closers, func() { _ = p.Ends[i].Close() })
	}
	for _, s := range p.Ends {
		if err := s.WaitSignedOn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// serve runs a rendezvous, and returns its URL.
func (p *Pair) serve() (url string, err error) {
	handler, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", errors.Join(err, handler.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // ends by Close
	}()
	p.closers = append(p.closers, func() {
		_ = handler.Close()
		_ = server.Close()
		<-done
	})
	return fmt.Sprintf("ws://%v/", ln.Addr()), nil
}

// Close ends what Open began, in the other order.
func (p *Pair) Close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
}
