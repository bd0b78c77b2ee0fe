package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/bradawl/bradawl/turnclient"
)

// side is one of the two programs: an address on a TURN server, and the other side's.
type side struct {
	client *turnclient.Client
	relay  *turnclient.Allocation
	peer   atomic.Pointer[netip.AddrPort] // nil: not known yet
	heard  chan string                    // what the other side said
	closed chan struct{}
	wg     sync.WaitGroup
}

// open gets an address on a server. here is told the address, at first and whenever the
// server has lost it and given another; note, what happens.
func open(ctx context.Context, timeout time.Duration, cfg turnclient.Config, note func(format string, args ...any), here func(netip.AddrPort)) (*side, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("-timeout %v", timeout))
	defer cancel()
	client, err := turnclient.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	relay, err := client.Allocate(ctx)
	if err != nil {
		_ = client.Close() // there is no allocation to lose
		return nil, err
	}
	s := &side{client: client, relay: relay, heard: make(chan string), closed: make(chan struct{})}
	follow := func(until turnclient.EventKind) {
		for e := range relay.Events() {
			note("%s", describe(e))
			if e.Kind == turnclient.EventAllocated {
				here(e.Relayed[0])
			}
			if e.Kind == until {
				return
			}
		}
	}
	follow(turnclient.EventAllocated) // the first of them is there
	s.wg.Go(func() { follow(turnclient.EventReleased) })
	s.wg.Go(s.listen)
	return s, nil
}

// meet makes peer the other side, and has the server let it through.
func (s *side) meet(ctx context.Context, peer netip.AddrPort) error {
	s.peer.Store(&peer)
	return s.relay.Permit(ctx, peer.Addr())
}

// send sends text to the other side. It does not wait: what the server does not take now
// is kept for a moment, or is an error.
func (s *side) send(text string) error {
	peer := s.peer.Load()
	if peer == nil {
		return errors.New("nobody to send this to: type /peer and the other side's address")
	}
	_, err := s.relay.WriteToUDPAddrPort([]byte(text), *peer)
	return err
}

// listen hands on what the other side says.
func (s *side) listen() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.relay.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // it was closed
		}
		// A permission is for an IP, and others may have addresses on that server.
		if peer := s.peer.Load(); peer == nil || from != *peer {
			continue
		}
		select {
		case s.heard <- printable(string(buf[:n])):
		case <-s.closed:
			return
		}
	}
}

// close gives the address back.
func (s *side) close() error {
	close(s.closed)
	err := s.client.Close()
	s.wg.Wait()
	return err
}

// printable is text without what would move the cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// describe is an event as a line for people; "" for one that is not told.
func describe(e turnclient.Event) string {
	because := ""
	if e.Err != nil {
		because = ": " + strings.TrimPrefix(e.Err.Error(), "turnclient: ")
	}
	switch e.Kind {
	case turnclient.EventState:
		return fmt.Sprintf("%v -> %v%s", e.From, e.State, because)
	case turnclient.EventAllocated:
		text := fmt.Sprintf("%v on %v, for %v; it sees us at %v", e.Relayed[0], e.Server, e.Lifetime, e.Mapped)
		if lost := e.Lost; lost.Err != nil {
			text += fmt.Sprintf("; lost before: %v, %d permissions, %d channels, %d datagrams", lost.Relayed[0], lost.Permissions, lost.Channels, lost.Datagrams)
		}
		return text
	case turnclient.EventPermission:
		if e.Err == nil {
			return fmt.Sprintf("%v is let through", e.Peer.Addr())
		}
		return strings.TrimPrefix(because, ": ")
	case turnclient.EventChannel:
		if e.Channel != 0 {
			return fmt.Sprintf("channel %#x stands for %v", e.Channel, e.Peer)
		}
		return fmt.Sprintf("no channel for %v any more%s", e.Peer, because)
	case turnclient.EventDropped:
		return fmt.Sprintf("%d datagrams to %v were dropped%s", e.Lost.Datagrams, e.Peer, because)
	case turnclient.EventServer, turnclient.EventUnreachable:
		return strings.TrimPrefix(because, ": ")
	}
	return ""
}
