package dtlstransport_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/dtlstransport"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// hosts is a resolver that knows one host, which is here.
type hosts string

func (h hosts) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host == string(h) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (h hosts) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// relay runs a TURN server over DTLS.
func relay(t *testing.T, cert tls.Certificate) (*server, *turntest.Server, *drive.Loop) {
	t.Helper()
	s := listen(t, dtls.WithCertificates(cert))
	m, loop := serve(t, s)
	return s, m, loop
}

// serve is TURN over the associations of s.
func serve(t *testing.T, s *server) (*turntest.Server, *drive.Loop) {
	t.Helper()
	m := turntest.NewServer(turntest.Config{
		Realm: "example.org", Users: map[string]string{"user": "canary-password"}, Relay: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
	}, rand.Reader)
	loop, err := drive.Run[struct{}](m, nil, drive.Options{
		Sockets: []net.PacketConn{s},
		ListenPacket: func(ctx context.Context, network, address string) (net.PacketConn, error) {
			return new(net.ListenConfig).ListenPacket(ctx, network, address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close() })
	return m, loop
}

func config(s *server, name string, pool *x509.CertPool) turnclient.Config {
	return turnclient.Config{
		Servers:     []string{fmt.Sprintf("turns:%s:%d?transport=udp", name, s.Addr().(*net.UDPAddr).Port)},
		Credentials: turnclient.Credentials{Username: "user", Password: "canary-password"},
		TLS:         &tls.Config{RootCAs: pool}, DTLS: dtlstransport.Client, Resolver: hosts(name),
		ChannelAfter: 3,
	}
}

// Real sockets on loopback: an allocation, its data both ways, and its end.
func TestTURN(t *testing.T) {
	cert, pool := certificate(t, host)
	s, m, loop := relay(t, cert)
	client, err := turnclient.Dial(t.Context(), config(s, host, pool))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, err := client.Allocate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if e := a.Server(); e.Transport != turnclient.DTLS || e.Name != host {
		t.Errorf("served by %v", e)
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	buf := make([]byte, 1<<16)
	pc.SetDeadline(time.Now().Add(time.Minute))
	a.SetDeadline(time.Now().Add(time.Minute))
	echo := func(size int) {
		t.Helper()
		if _, err := a.WriteTo(buf[:size], pc.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		n, from, err := pc.ReadFrom(buf)
		if err != nil || n != size {
			t.Fatal(n, err)
		}
		if _, err := pc.WriteTo(buf[:n], from); err != nil {
			t.Fatal(err)
		}
		if n, _, err := a.ReadFrom(buf); err != nil || n != size {
			t.Fatal(n, err)
		}
	}
	for range 5 { // by indications, and the third has a channel bound
		echo(99)
	}
	for bound := false; !bound; {
		select {
		case e := <-a.Events():
			bound = e.Kind == turnclient.EventChannel && e.Err == nil
		case <-ctx.Done():
			t.Fatal("no channel was bound")
		}
	}
	const rounds = 40
	for i := range rounds { // by the channel: every remainder of a length by 4
		echo(1 + i*101)
	}
	if _, err := a.WriteTo(buf[:20000], pc.LocalAddr()); err == nil || !strings.Contains(err.Error(), "DTLS record") {
		t.Errorf("what fits into no record: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	loop.Do(func(now time.Time) {
		if n := m.Allocations(now); n != 0 || m.ChannelData < rounds {
			t.Errorf("%d allocations left, %d ChannelData messages", n, m.ChannelData)
		}
	})
}

// With a certificate for another name not a byte of STUN leaves (RFC 8489 section 6.2.3),
// and the error says what to do.
func TestTURNWithACertificateForAnotherName(t *testing.T) {
	cert, pool := certificate(t, host)
	s, m, loop := relay(t, cert)
	client, err := turnclient.Dial(t.Context(), config(s, "other.example.org", pool))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = client.Allocate(ctx)
	var one *turnclient.ServerError
	var name x509.HostnameError
	if !errors.Is(err, turnclient.ErrCertificate) || !errors.As(err, &one) || one.Server.Transport != turnclient.DTLS || !errors.As(err, &name) {
		t.Fatal(err)
	}
	for _, want := range []string{"other.example.org (", "over dtls", "certificate", "name the host"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Error("a secret in", err)
	}
	loop.Do(func(time.Time) {
		if n := m.Requests[wire.Allocate]; n != 0 {
			t.Errorf("%d requests reached the server", n)
		}
	})
}

// The server goes, and comes back with nothing of what it knew: the association is made
// anew, and with it the allocation.
func TestTURNServerComesBack(t *testing.T) {
	cert, pool := certificate(t, host)
	s, _, loop := relay(t, cert)
	client, err := turnclient.Dial(t.Context(), config(s, host, pool))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, err := client.Allocate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	loop.Close() // tells the client, by close_notify
	for e := range a.Events() {
		if e.State == turnclient.Allocating && e.Err != nil {
			break
		}
	}
	s2 := &server{in: make(chan datagram, 64), done: make(chan struct{}), conns: make(map[string]net.Conn)}
	if s2.Listener, err = dtls.ListenWithOptions("udp4", s.Addr().(*net.UDPAddr), dtls.WithCertificates(cert)); err != nil {
		t.Fatal(err)
	}
	s2.run(t)
	serve(t, s2)
	late := time.After(time.Minute)
	for {
		select {
		case e := <-a.Events():
			if e.Kind == turnclient.EventAllocated && e.Lost.Err != nil {
				return
			}
		case <-late:
			t.Fatal(a.State())
		}
	}
}
