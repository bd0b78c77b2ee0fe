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
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(cli.Exit("quic", run(ctx, os.Args[1:], os.Stdout, os.Stderr), os.Stderr))
}

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
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return cli.Usage(err)
	case *count < 1 || *count > 1<<30:
		return cli.Usage(fmt.Errorf("-bytes %d: want 1 to 1073741824", *count))
	}
	sending := cli.Wait(stderr, fmt.Sprintf("sending %d bytes there and back", *count))
	took, path, err := meet(ctx, *count)
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
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // the session has set its sockets' already
	url, stop, err := serveRendezvous()
	if err != nil {
		return 0, path, err
	}
	defer stop()
	var peers [2]*bradawl.Session
	for i := range peers {
		peers[i], err = bradawl.New(ctx, bradawl.Config{Signaler: &rendezvous.Signaler{URL: url}, Loopback: true, Protocol: "bradawl examples/quic 1"})
		if err != nil {
			return 0, path, err
		}
		defer peers[i].Close()
	}
	if err := peers[1].WaitSignedOn(ctx); err != nil {
		return 0, path, err
	}
	served := make(chan error, 1)
	go func() { served <- echo(ctx, peers[1]) }()
	took, path, err = send(ctx, peers[0], peers[1].ID(), count)
	return took, path, errors.Join(err, <-served)
}

// config fits QUIC into the datagrams of a connection.
func config() *quic.Config {
	return &quic.Config{InitialPacketSize: bradawl.MaxDatagram, DisablePathMTUDiscovery: true, KeepAlivePeriod: 10 * time.Second}
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
	transport := quic.Transport{Conn: conn.PacketConn()}
	defer transport.Close()
	q, err := transport.Dial(ctx, conn.RemoteAddr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, config())
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
	cert, err := certificate()
	if err != nil {
		return err
	}
	transport := quic.Transport{Conn: conn.PacketConn()}
	defer transport.Close()
	listener, err := transport.Listen(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{protocol}}, config())
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

// certificate makes one that says nothing.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// serveRendezvous runs a rendezvous on loopback.
func serveRendezvous() (url string, stop func(), err error) {
	handler, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		return "", nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // ends by Close
	}()
	return fmt.Sprintf("ws://%v/", ln.Addr()), func() {
		handler.Close()
		server.Close()
		<-done
	}, nil
}
