// Hello is the least that two programs need to find each other by their keys, and to talk. It
// is for copying: nothing in it is of examples/internal.
//
//	hello [-rendezvous URL] [-id FILE]
//	hello [-rendezvous URL] [-id FILE] PEERID
//
// Without a PEERID it prints its own and answers whoever says hello; with one it says hello to
// that peer. Each needs a FILE of its own, which is made where it is not there.
//
// Exit codes: 0, the answer came; 1, it did not, and a line on standard error says why; 2, the
// flags are wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

func main() {
	url := flag.String("rendezvous", "ws://127.0.0.1:8080/", "`URL` of the rendezvous, where the two meet")
	file := flag.String("id", "hello.key", "`file` that keeps who we are")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, *file, flag.Arg(0), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, file, peer string, out io.Writer) error {
	identity, err := bradawl.LoadOrCreateIdentity(file)
	if err != nil {
		return err
	}
	s, err := bradawl.New(ctx, bradawl.Config{
		Identity: identity,
		Signaler: &rendezvous.Signaler{URL: url},
		Loopback: true, // for a try on one machine; leave it out elsewhere
	})
	if err != nil {
		return err
	}
	defer s.Close()
	if peer == "" {
		return accept(ctx, s, out)
	}
	id, err := bradawl.ParsePeerID(peer)
	if err != nil {
		return err
	}
	return dial(ctx, s, id, out)
}

// accept answers whoever dials us.
func accept(ctx context.Context, s *bradawl.Session, out io.Writer) error {
	if err := s.WaitSignedOn(ctx); err != nil { // from now on we can be dialled
		return err
	}
	fmt.Fprintln(out, s.ID())
	for {
		conn, err := s.Accept(ctx)
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, bradawl.MaxDatagram)
			for {
				n, err := conn.Read(buf)
				if err != nil { // io.EOF: the peer has closed it
					return
				}
				fmt.Fprintf(out, "%s says %q\n", conn.Peer().Short(), buf[:n])
				_, _ = conn.Write([]byte("hello yourself"))
			}
		}()
	}
}

// dial says hello and waits for the answer.
func dial(ctx context.Context, s *bradawl.Session, peer bradawl.PeerID, out io.Writer) error {
	conn, err := s.Dial(ctx, peer)
	if err != nil {
		return err // says what was tried, and what to look at
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	buf := make([]byte, bradawl.MaxDatagram)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // datagrams may be lost
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, by way of %v\n", buf[:n], conn.Path())
	return nil
}
