package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/turnclient"
)

func TestMayReach(t *testing.T) {
	const public, private, loopback, linkLocal = "192.0.2.1 8.8.8.8", "10.1.2.3 192.168.1.1 100.64.0.1", "127.0.0.1 127.9.9.9", "169.254.169.254"
	for _, test := range []struct{ own, yes, no string }{
		{"192.0.2.5", public + " 192.0.2.5", private + " " + loopback + " " + linkLocal},
		{"10.0.0.5", public + " " + private, loopback + " " + linkLocal},
		{"100.64.0.5", public + " " + private, loopback + " " + linkLocal},
		{"127.0.0.1", public + " " + private + " " + loopback + " " + linkLocal, ""},
	} {
		own := netip.MustParseAddr(test.own)
		for _, peer := range strings.Fields(test.yes) {
			if !mayReach(own, netip.MustParseAddr(peer)) {
				t.Errorf("%v does not relay to %s", own, peer)
			}
		}
		for _, peer := range strings.Fields(test.no + " 0.0.0.0 224.0.0.1 255.255.255.255 ff02::1 ::") {
			if mayReach(own, netip.MustParseAddr(peer)) {
				t.Errorf("%v relays to %s", own, peer)
			}
		}
		if mayReach(own, netip.Addr{}) {
			t.Errorf("%v relays to no address", own)
		}
	}
}

// A server that is on the internet leads nobody into its network, and bounds what one
// address may have.
func TestRelayLimits(t *testing.T) {
	t.Parallel()
	p := start(t, "-public", "192.0.2.5", "-max-relays-per-address", "1", "-relay-ports", "40000-40099", "-drain", "0s")
	_, got := p.signOn(t, rendezvous.ClientConfig{})
	over := strings.Replace(got.turn[1], "192.0.2.5", "127.0.0.1", 1)
	if over == got.turn[1] {
		t.Fatalf("handed out: %v", got.turn)
	}
	relay, err := allocate(t, turnclient.Config{Servers: []string{over}, Credentials: got.Credentials})
	if err != nil {
		t.Fatal(err)
	}
	if a := relay.RelayedAddr(); a.Addr().String() != "192.0.2.5" || a.Port() < 40000 || a.Port() > 40099 {
		t.Errorf("the relay is at %v", a)
	}
	if err := relay.Permit(t.Context(), netip.MustParseAddr("127.0.0.1")); !errors.Is(err, turnclient.ErrNotPermitted) {
		t.Errorf("a peer in its network: %v", err)
	}
	if err := relay.Permit(t.Context(), netip.MustParseAddr("192.0.2.77")); err != nil {
		t.Errorf("a peer on the internet: %v", err)
	}
	_, err = allocate(t, turnclient.Config{Servers: []string{over}, Credentials: got.Credentials})
	refusedWith(t, 486, err)
}

// A length at which pion/turn would read the same bytes for ever.
func TestEndlessMessage(t *testing.T) {
	t.Parallel()
	p := start(t)
	_, got := p.signOn(t, rendezvous.ClientConfig{})
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(got.turn[1], "turn:"), "?transport=tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(append(stun(65516), stun(0)...)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 20)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 1 || answer[1] != 1 {
		t.Errorf("a Binding request behind it: %x, %v", answer, err)
	}
	if _, err := conn.Write([]byte("SSH-2.0-somebody\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("something else than TURN does not end the connection: %v", err)
	}
	// Strangers do not fill the log.
	p.interrupt()
	if _, rest := p.end(); len(rest) != 2 || rest[0]["msg"] != "draining" || rest[1]["msg"] != "drained" {
		t.Errorf("logged: %v", rest)
	}
}

// failing is a socket whose reads end as they are told.
type failing struct {
	net.PacketConn
	errs []error
}

func (f *failing) ReadFrom([]byte) (int, net.Addr, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return 0, nil, err
}

// What concerns one datagram is no end of a socket.
func TestSteady(t *testing.T) {
	f := &failing{errs: []error{new(netio.UnreachableError), new(netio.UnreachableError), nil, new(netio.UnreachableError), net.ErrClosed}}
	if _, _, err := (steady{f}).ReadFrom(nil); err != nil || len(f.errs) != 2 {
		t.Errorf("%v, %d reads to go", err, len(f.errs))
	}
	if _, _, err := (steady{f}).ReadFrom(nil); err != net.ErrClosed {
		t.Errorf("%v", err)
	}
}

const tlsName = "meet.test"

// certificate writes one for tlsName into files, and returns who trusts it.
func certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{tlsName}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return filepath.Join(dir, "cert"), filepath.Join(dir, "key"), roots
}

// By its name everything is reached over TLS too.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key, roots := certificate(t)
	p := start(t, "-name", tlsName, "-tls-cert", cert, "-tls-key", key, "-drain", "0s")
	address, ok := strings.CutPrefix(strings.TrimSuffix(p.url, "/"), "wss://")
	if !ok {
		t.Fatalf("the rendezvous is at %s", p.url)
	}
	p.url = "wss://" + tlsName + "/"
	trusting := &tls.Config{RootCAs: roots}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	_, got := p.signOn(t, rendezvous.ClientConfig{TLSConfig: trusting, DialContext: dial})
	if len(got.turn) != 3 || !strings.HasPrefix(got.turn[2], "turns:"+tlsName+":") {
		t.Fatalf("handed out: %v", got.turn)
	}
	for _, uri := range got.turn {
		relay, err := allocate(t, turnclient.Config{
			Servers: []string{uri}, Credentials: got.Credentials, TLS: trusting,
			Resolver: loopback{},
		})
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		relays(t, relay)
	}
	transport := &http.Transport{TLSClientConfig: trusting, DialContext: dial}
	defer transport.CloseIdleConnections()
	if status, body := p.health(t, &http.Client{Transport: transport}); status != http.StatusOK || body["relays"] != 3.0 {
		t.Errorf("healthz: %d %v", status, body)
	}
}

// loopback is a resolver that knows every name on the loopback, and no services.
type loopback struct{}

func (loopback) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func (loopback) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}
