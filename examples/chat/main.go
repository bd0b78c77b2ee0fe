// Chat is a conversation between two terminals, wherever they are.
//
//	chat -rendezvous ws://HOST:PORT/ [-id FILE] [-json] [PEERID]
//	chat -rendezvous ws://HOST:PORT/ -room WORD [-json]
//
// Without a PEERID it prints its own and waits for somebody who dials it. With -room, two
// that name the same word meet: that is for trying it out, for whoever knows the word can
// be the one who is met.
//
// Each line that is typed goes to the peer, sealed to its key. What path it takes is shown
// as it changes; "/why" explains it, "/quit" or the end of the input ends.
//
// With -json, standard output is one JSON object a line, as it happens; what is typed stays
// text. event is self (peer: who we are), no_rendezvous (error; it is tried again), waiting (room,
// if there is one), dialling (peer), talking (peer), path (path, which is direct, relay or, for
// the time being, none; proto, local, remote), said (peer, text), why (text), not_sent (error)
// or left (peer).
//
// Exit codes: 0, the conversation was ended by one of the two; 1, it could not be had, and
// a line on standard error says why; 2, the flags are wrong.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

func main() {
	cli.Main("chat", func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return run(ctx, args, os.Stdin, stdout, stderr)
	})
}

type options struct {
	rendezvous, room, id string
	stun                 string
	peer                 bradawl.PeerID
	timeout              time.Duration
	json                 bool
}

const usage = `usage: chat -rendezvous ws://HOST:PORT/ [-id FILE] [-json] [PEERID]
       chat -rendezvous ws://HOST:PORT/ -room WORD [-json]

examples:
  chat -rendezvous ws://127.0.0.1:8080/ -id me.key
      waits, and prints our PeerID
  chat -rendezvous ws://127.0.0.1:8080/ x5ldc...
      dials it from elsewhere
  chat -rendezvous ws://127.0.0.1:8080/ -room teapot
      twice, on two machines
  chat -rendezvous ws://127.0.0.1:8080/ -room teapot -json
      for a program that talks: lines in, JSON out

exit codes: 0 one of the two ended it, 1 it could not be had, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	flags.StringVar(&o.rendezvous, "rendezvous", "", "`URL` of the rendezvous, ws:// or wss://; examples/rendezvous is one")
	flags.StringVar(&o.room, "room", "", "`word` by which two meet, in place of a PEERID")
	flags.StringVar(&o.id, "id", "", "`file` that keeps who we are; without it we are somebody new each time")
	flags.StringVar(&o.stun, "stun", "", "STUN `servers`, host:port, separated by commas, beside those that the rendezvous hands out")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "`time` to look for a path")
	flags.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, true); err != nil {
		return o, err
	}
	switch {
	case o.rendezvous == "":
		return o, errors.New("-rendezvous is missing; give the URL that examples/rendezvous prints")
	case flags.NArg() > 1:
		return o, fmt.Errorf("%q: want one PEERID at most", flags.Args())
	case o.room != "" && flags.NArg() > 0:
		return o, errors.New("give -room or a PEERID, not both")
	case o.room != "" && !rendezvous.ValidRoom(o.room):
		return o, fmt.Errorf("-room %q: want 1 to %d characters of A-Z a-z 0-9 . _ -", o.room, rendezvous.MaxRoom)
	case o.timeout < time.Second:
		return o, fmt.Errorf("-timeout %v: want at least 1s", o.timeout)
	}
	if flags.NArg() == 1 {
		if o.peer, err = bradawl.ParsePeerID(flags.Arg(0)); err != nil {
			return o, err
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, in io.Reader, out, help io.Writer) error {
	o, err := parse(args, help)
	if err != nil {
		return cli.Usage(err)
	}
	var identity *bradawl.Identity
	if o.id != "" {
		identity, err = bradawl.LoadOrCreateIdentity(o.id)
	} else {
		identity, err = bradawl.NewIdentity()
	}
	if err != nil {
		return err
	}
	signaler := &rendezvous.Signaler{URL: o.rendezvous}
	cfg := bradawl.Config{
		Identity: identity, Signaler: signaler, Protocol: "bradawl examples/chat 1", Timeout: o.timeout,
		Loopback: strings.Contains(o.rendezvous, "//127.0.0.1") || strings.Contains(o.rendezvous, "//localhost"),
	}
	if o.stun != "" {
		cfg.STUN = strings.Split(o.stun, ",")
	}
	s, err := bradawl.New(ctx, cfg)
	if wrong := (*bradawl.ConfigError)(nil); errors.As(err, &wrong) { // what a flag has put into it
		return cli.Usage(err)
	}
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.Close()
	p := printer{&cli.Teller{W: out, JSON: o.json}}
	p.self(s.ID())
	wg.Go(func() { trouble(ctx, s, p) })
	conn, err := meet(ctx, s, signaler, o, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	return talk(ctx, conn, in, p)
}

// trouble tells why nobody can be met yet, the first time, until the session is closed.
func trouble(ctx context.Context, s *bradawl.Session, p printer) {
	for told := false; ; {
		e, err := s.Next(ctx)
		switch {
		case err != nil:
			return
		case e.Kind == bradawl.EventSignalDown && !told:
			told = true
			p.noRendezvous(e.Err)
		case e.Kind == bradawl.EventSignalUp:
			told = false
		}
	}
}

// meet gets a connection, whichever way was asked for.
func meet(ctx context.Context, s *bradawl.Session, signaler *rendezvous.Signaler, o options, p printer) (*bradawl.Conn, error) {
	peer := o.peer
	if o.room != "" {
		p.waiting(o.room)
		var err error
		if peer, err = signaler.Meet(ctx, o.room); err != nil {
			return nil, err
		}
		if s.ID().Compare(peer) > 0 { // one of the two dials
			return accept(ctx, s, peer)
		}
	}
	if peer.IsZero() {
		p.waiting("")
		return s.Accept(ctx)
	}
	p.dialling(peer)
	return s.Dial(ctx, peer)
}

func accept(ctx context.Context, s *bradawl.Session, peer bradawl.PeerID) (*bradawl.Conn, error) {
	for {
		conn, err := s.Accept(ctx)
		if err != nil || conn.Peer() == peer {
			return conn, err
		}
		conn.Close() // a stranger
	}
}

// talk sends lines and prints those of the peer until one side has had enough.
func talk(ctx context.Context, conn *bradawl.Conn, in io.Reader, p printer) error {
	p.talking(conn.Peer())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.Close()
	wg.Go(func() {
		for path := range conn.Paths(ctx) {
			p.path(path)
		}
	})
	over := make(chan error, 1)
	wg.Go(func() {
		buf := make([]byte, bradawl.MaxDatagram)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				over <- err
				return
			}
			p.said(conn.Peer(), buf[:n])
		}
	})
	lines := make(chan string)
	go func() { // a read from a terminal cannot be ended, so nobody waits for this
		defer close(lines)
		for scan := bufio.NewScanner(in); scan.Scan(); {
			select {
			case lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			switch {
			case !ok, line == "/quit":
				return nil
			case line == "/why":
				p.why(conn.Explain())
			case line != "":
				if _, err := conn.Write([]byte(line)); err != nil {
					p.notSent(err)
				}
			}
		case err := <-over:
			if errors.Is(err, io.EOF) {
				p.left(conn.Peer())
				return nil
			}
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
