package dtlstransport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
)

// flightInterval is how long the handshake waits for an answer before it repeats itself;
// the time doubles. It is what turnclient waits for an answer from a server that it does
// not know yet (RFC 8489 section 6.2.1); RFC 6347 section 4.2.4.1 wants a second where
// nothing else is known.
const flightInterval = 500 * time.Millisecond

// maxErrors is how many errors in a row Read passes over.
const maxErrors = 1000

// Client does a DTLS 1.2 handshake as the client over conn, which carries datagrams to
// and from one server, and returns the association once the server's certificate has been
// found to be for cfg.ServerName (RFC 8489 section 6.2.3). Each Read and Write of it is one
// datagram, of at most 8,000 and 16,384 bytes; writes may come from any goroutine, and
// Close tells the server. It owns conn then, which remains the caller's if there is an
// error.
//
// Of cfg count ServerName, RootCAs, InsecureSkipVerify, VerifyPeerCertificate,
// VerifyConnection, Certificates, NextProtos, CipherSuites, CurvePreferences, KeyLogWriter
// and Time. MinVersion and MaxVersion must leave room for 1.2, and what it asks for beyond
// that and cannot be had is an error. A certificate that is not accepted is a
// *tls.CertificateVerificationError.
func Client(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	options, err := clientOptions(cfg)
	if err != nil {
		return nil, fmt.Errorf("dtlstransport: %w", err)
	}
	g := &guarded{Conn: conn}
	a, err := dtls.ClientWithOptions(dtlsnet.PacketConnFromConn(g), conn.RemoteAddr(), options...)
	if err != nil {
		return nil, fmt.Errorf("dtlstransport: %w", err)
	}
	if err := a.HandshakeContext(ctx); err != nil {
		_ = a.Close()
		_ = conn.SetDeadline(time.Time{})
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("dtlstransport: %w", err)
	}
	g.up.Store(true)
	return association{a}, nil
}

// guarded is the connection under an association.
type guarded struct {
	net.Conn
	up atomic.Bool // the handshake is done
}

// Read drops datagrams that nobody has encrypted once the handshake is done: the server
// has nothing more to say in the clear, and the library would let anybody end the
// association by an alert (RFC 6347 section 4.1.2.7 wants it resilient).
func (g *guarded) Read(b []byte) (int, error) {
	for {
		n, err := g.Conn.Read(b)
		if err == nil && g.up.Load() && n >= 5 && b[3] == 0 && b[4] == 0 { // the epoch
			continue
		}
		return n, err
	}
}

// Close leaves the connection to the caller as long as it is the caller's.
func (g *guarded) Close() error {
	if !g.up.Load() {
		return nil
	}
	return g.Conn.Close()
}

// association is one that stands.
type association struct{ *dtls.Conn }

// Read reads one datagram. What the library tells of single datagrams that it did not
// understand is passed over: the association goes on.
func (a association) Read(b []byte) (n int, err error) {
	for range maxErrors {
		n, err = a.Conn.Read(b)
		var timeout net.Error
		if err == nil || errors.Is(err, io.EOF) || errors.As(err, &timeout) && timeout.Timeout() {
			break
		}
	}
	return n, err
}
