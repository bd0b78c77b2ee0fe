// Quic runs QUIC streams over a connection between two peers.
//
//	go run ./examples/quic [-bytes N] [-json]
//
// Both peers and their rendezvous are in this one program, on loopback: one dials the other
// by its PeerID, lays QUIC (quic-go) over the connection, and sends N bytes on a stream; the
// other sends them back. The connection is sealed and proves the peer already, so the
// certificate within QUIC proves nothing more: it is made on the spot and not checked.
//
// With -json the result is one object: bytes, ms (how long they took), path.
//
// Exit codes: 0, every byte came back as it was sent; 1, something failed, and a line on
// standard error says what; 2, the flags are wrong.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/loopback"
	"github.com/bradawl/bradawl/examples/internal/quicpeer"
)

func main() { cli.Main("quic", run) }

const usage = `usage: quic [-bytes N] [-json]

examples:
  quic
      1 MiB there and back
  quic -bytes 100000000
      100 MB
  quic -json
      for programs

exit codes: 0 all came back, 1 something failed, 2 the flags are wrong
`

func run(ctx context.Context, args []string, out, stderr io.Writer) error {
	flags := flag.NewFlagSet("quic", flag.ContinueOnError)
	count := flags.Int64("bytes", 1<<20, "`number` of bytes to send there and back, 1 to 2^30")
	asJSON := flags.Bool("json", false, "print JSON")
	switch err := cli.Parse(flags, args, stderr, usage, false); {
	case err != nil:
		return cli.Usage(err)
	case *count < 1 || *count > 1<<30:
		return cli.Usage(fmt.Errorf("-bytes %d: want 1 to 1073741824", *count))
	}
	sending := cli.Wait(stderr, fmt.Sprintf("sending %d bytes there and back", *count))
	var took time.Duration
	var path bradawl.Path
	err := cli.Within(ctx, 2*time.Minute, func(ctx context.Context) (err error) {
		took, path, err = meet(ctx, *count)
		return err
	})
	sending()
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(out).Encode(struct {
			Bytes int64   `json:"bytes"`
			Time  float64 `json:"ms"`
			Path  string  `json:"path"`
		}{*count, float64(took.Microseconds()) / 1000, path.String()})
	}
	_, err = fmt.Fprintf(out, "%d bytes there and back in %v, by %v\n", *count, took.Round(time.Millisecond), path)
	return err
}

// meet makes two peers of which one sends. It returns how long the bytes took, and their way.
func meet(ctx context.Context, count int64) (took time.Duration, path bradawl.Path, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peers, err := loopback.Open(ctx, "bradawl examples/quic 1")
	if err != nil {
		return 0, path, err
	}
	defer peers.Close()
	served := make(chan error, 1)
	go func() { served <- echo(ctx, peers.Ends[1]) }()
	took, path, err = send(ctx, peers.Ends[0], peers.Ends[1].ID(), count)
	if err != nil {
		cancel() // the other side may wait for somebody who does not come
	}
	other := <-served
	if err != nil && errors.Is(other, context.Canceled) {
		other = nil // by us
	}
	return took, path, errors.Join(err, other)
}

const protocol = "bradawl-quic-example"

// send sends count bytes to the peer and checks what comes back. It returns how long that
// took, and by which path.
func send(ctx context.Context, s *bradawl.Session, peer bradawl.PeerID, count int64) (took time.Duration, path bradawl.Path, err error) {
	conn, err := s.Dial(ctx, peer)
	if err != nil {
		return 0, path, err
	}
	defer conn.Close()
	transport := quic.Transport{Conn: quicpeer.PacketConn(conn)}
	defer transport.Close()
	q, err := transport.Dial(ctx, conn.RemoteAddr(), quicpeer.ClientTLS(protocol), quicpeer.Config())
	if err != nil {
		return 0, path, fmt.Errorf("QUIC: %w", err)
	}
	stream, err := q.OpenStreamSync(ctx)
	if err != nil {
		return 0, path, fmt.Errorf("QUIC: %w", err)
	}
	began := time.Now()
	sent, got := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(stream, sent), rand.Reader, count)
		failed <- errors.Join(err, stream.Close())
	}()
	n, err := io.Copy(got, stream)
	if err = errors.Join(err, <-failed); err != nil {
		return 0, path, fmt.Errorf("stream: %w", err)
	}
	if n != count || string(sent.Sum(nil)) != string(got.Sum(nil)) {
		return 0, path, fmt.Errorf("%d bytes came back for %d, or other ones", n, count)
	}
	took, path = time.Since(began), conn.Path()
	return took, path, q.CloseWithError(0, "done")
}

// echo sends back what comes on the streams of one connection.
func echo(ctx context.Context, s *bradawl.Session) error {
	conn, err := s.Accept(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tls, err := quicpeer.ServerTLS(protocol)
	if err != nil {
		return err
	}
	transport := quic.Transport{Conn: quicpeer.PacketConn(conn)}
	defer transport.Close()
	listener, err := transport.Listen(tls, quicpeer.Config())
	if err != nil {
		return fmt.Errorf("QUIC: %w", err)
	}
	q, err := listener.Accept(ctx)
	if err != nil {
		return fmt.Errorf("QUIC: %w", err)
	}
	stream, err := q.AcceptStream(ctx)
	if err != nil {
		return fmt.Errorf("QUIC: %w", err)
	}
	if _, err := io.Copy(stream, stream); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if err := stream.Close(); err != nil {
		return err
	}
	<-q.Context().Done() // the other side has what it wanted
	return nil
}
