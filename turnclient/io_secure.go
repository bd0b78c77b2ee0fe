package turnclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/wire"
)

// tlsFor returns how TLS and DTLS are to be done with the server of a name.
func (c *Client) tlsFor(name string) *tls.Config {
	cfg := c.cfg.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if cfg.ServerName == "" {
		cfg.ServerName = name
	}
	return cfg
}

// secure lays TLS over conn. Nothing of ours is sent before the certificate is known to
// be the server's.
func (c *Client) secure(ctx context.Context, conn net.Conn, name string) (net.Conn, error) {
	cfg := c.tlsFor(name)
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, secureError("TLS", cfg.ServerName, err)
	}
	return secured, nil
}

func secureError(what, name string, err error) error {
	var rejected *tls.CertificateVerificationError
	if errors.As(err, &rejected) {
		return fmt.Errorf("%w: %s with %q: %w", ErrCertificate, what, name, err)
	}
	return fmt.Errorf("%s with %q: %w", what, name, err)
}

// associate opens a socket and has DTLS laid over it (RFC 7350).
func (c *Client) associate(ctx context.Context, id machine.StreamID, e Endpoint) (net.Conn, error) {
	network, address := "udp4", "0.0.0.0:0"
	if e.Addr.Addr().Is6() {
		network, address = "udp6", "[::]:0"
	}
	pc, err := c.cfg.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn, err := netio.Wrap(pc)
	if err != nil {
		_ = pc.Close()
		return nil, err
	}
	f := &flow{Conn: conn, server: e.Addr, unreachable: func(err error) {
		c.loop.Post(func(now time.Time) { c.m.suspect(now, id, err) })
	}}
	cfg := c.tlsFor(e.Name)
	secured, err := c.cfg.DTLS(ctx, f, cfg)
	if err != nil {
		_ = f.Close()
		return nil, secureError("DTLS", cfg.ServerName, err)
	}
	t := &messageTap{Conn: secured, under: f, tap: tap{buf: make([]byte, maxMessage)}}
	t.closed = c.tap(linkKey{stream: id}, t)
	return t, nil
}

// flow is a UDP socket as a connection to one server, for DTLS to be laid over.
type flow struct {
	netio.Conn
	server      netip.AddrPort
	unreachable func(err error)
	broke       atomic.Pointer[error] // why it cannot be read any more
}

// maxReadErrors is how often in a row a read may fail in passing.
const maxReadErrors = 16

// Read reads a datagram of the server.
func (f *flow) Read(b []byte) (int, error) {
	for failed := 0; ; {
		n, m, err := f.ReadMeta(b)
		var unreachable *netio.UnreachableError
		switch {
		case err == nil && m.Remote == f.server:
			return n, nil
		case err == nil:
			failed = 0
		case errors.As(err, &unreachable):
			if unreachable.Remote == f.server {
				f.unreachable(err)
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		case !netio.IsTransient(err), failed == maxReadErrors:
			f.broke.CompareAndSwap(nil, &err)
			return 0, fmt.Errorf("%w: %w", net.ErrClosed, err) // nobody need try again
		default:
			failed++
		}
	}
}

// Write sends a datagram to the server; it may be lost, as datagrams are.
func (f *flow) Write(b []byte) (int, error) {
	_, err := f.WriteOpts(b, f.server, netio.SendOptions{})
	if err != nil && !netio.IsTransient(err) {
		return 0, err
	}
	return len(b), nil
}

func (f *flow) LocalAddr() net.Addr  { return net.UDPAddrFromAddrPort(f.LocalAddrPort()) }
func (f *flow) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(f.server) }

func (f *flow) SetDeadline(t time.Time) error {
	return errors.Join(f.SetReadDeadline(t), f.SetWriteDeadline(t))
}

// messageTap is a DTLS association: what is read and written is one message each.
type messageTap struct {
	net.Conn
	tap
	under *flow
}

// maxRecord is the longest message that one record of DTLS holds (RFC 6347 section 4.1).
const maxRecord = 1 << 14

// Read returns a message for the loop: any but data that the path takes.
func (t *messageTap) Read(b []byte) (int, error) {
	for {
		n, err := t.Conn.Read(t.buf)
		if err != nil {
			if broke := t.under.broke.Load(); broke != nil {
				err = *broke
			}
			return 0, err
		}
		if p := t.path.Load(); n == 0 || n > len(b) || p != nil && p.take(t.buf[:n]) {
			continue
		}
		return copy(b, t.buf[:n]), nil
	}
}

// Write is the loop's, which may give several messages at once.
func (t *messageTap) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n := min(wire.MessageSize(b[sent:]), len(b)-sent)
		if err := t.send(b[sent : sent+n]); err != nil && !errors.Is(err, errTooLong) {
			return sent, err
		}
		sent += n
	}
	return len(b), nil
}

var errTooLong = fmt.Errorf("longer than a DTLS record, which holds %d bytes with what TURN adds", maxRecord)

func (t *messageTap) send(b []byte) error {
	if len(b) > maxRecord {
		return errTooLong
	}
	_, err := t.Conn.Write(b)
	return err
}

func (t *messageTap) isStream() bool { return false }

func (t *messageTap) Close() error {
	err := t.Conn.Close()
	t.gone()
	return err
}
