package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/dtlstransport"
)

// turnServer is a TURN server on loopback that can be killed and started again.
type turnServer interface {
	start(t testing.TB)
	kill()
	config(transport string) turnclient.Config
}

// turnserver is a coturn of the test's own on loopback.
type turnserver struct {
	conf        string // its configuration file
	port, port2 int    // plain, TLS and DTLS
	roots       *x509.CertPool

	cmd  *exec.Cmd
	said output
}

const turnHost = "turn.example.org" // what its certificate is for

var turnUser = turnclient.Credentials{Username: "alice", Password: "wonderland"}

// newTurnserver runs coturn until the test ends, with these lines of configuration
// besides the usual ones, and returns when it serves.
func newTurnserver(t testing.TB, lines ...string) *turnserver {
	t.Helper()
	need(t, "turnserver", "coturn", true)
	dir := t.TempDir()
	s := &turnserver{conf: filepath.Join(dir, "turnserver.conf"), port: freePort(t), port2: freePort(t)}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	s.roots = selfSigned(t, turnHost, cert, key)
	conf := append([]string{
		"listening-ip=127.0.0.1", "relay-ip=127.0.0.1",
		fmt.Sprint("listening-port=", s.port), fmt.Sprint("tls-listening-port=", s.port2),
		"lt-cred-mech", "realm=example.org", "user=" + turnUser.Username + ":" + turnUser.Password,
		"allow-loopback-peers", "no-cli", "relay-threads=1", "verbose",
		"cert=" + cert, "pkey=" + key,
		"userdb=" + filepath.Join(dir, "db"), "pidfile=" + filepath.Join(dir, "pid"), "log-file=stdout",
	}, lines...)
	if err := os.WriteFile(s.conf, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("coturn said:\n%s", s.said.String())
		}
	})
	s.start(t)
	return s
}

// start runs coturn and waits until it answers over UDP and listens for TLS, which is
// what it opens last.
func (s *turnserver) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command("turnserver", "-c", s.conf)
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !s.answers() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("coturn does not answer")
		}
	}
}

func (s *turnserver) answers() bool {
	var b wire.Builder
	id, err := wire.NewTransactionID(rand.Reader)
	if err != nil {
		return false
	}
	b.Reset(wire.BindingRequest, id)
	pc, err := net.Dial("udp4", fmt.Sprint("127.0.0.1:", s.port))
	if err != nil {
		return false
	}
	defer pc.Close()
	pc.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := pc.Write(b.Bytes()); err != nil {
		return false
	}
	if _, err := pc.Read(make([]byte, 1500)); err != nil {
		return false
	}
	for _, port := range []int{s.port, s.port2} {
		c, err := net.Dial("tcp4", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			return false
		}
		c.Close()
	}
	return true
}

// awaitWords waits until coturn has said something, which it does a little late.
func (s *turnserver) awaitWords(t *testing.T, words string) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); !strings.Contains(s.said.String(), words); pause(t) {
		if time.Now().After(late) {
			t.Fatalf("coturn did not say %q", words)
		}
	}
}

// kill ends coturn as a crash does.
func (s *turnserver) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait() // "killed", which it was
		s.cmd = nil
	}
}

// config is that of a client which reaches s over a transport, and binds a channel
// with the first datagram.
func (s *turnserver) config(transport string) turnclient.Config {
	return turnConfig(transport, s.port, s.port2, s.roots)
}

func turnConfig(transport string, plain, secure int, roots *x509.CertPool) turnclient.Config {
	uri := map[string]string{
		"udp":  fmt.Sprintf("turn:127.0.0.1:%d?transport=udp", plain),
		"tcp":  fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", plain),
		"tls":  fmt.Sprintf("turns:%s:%d?transport=tcp", turnHost, secure),
		"dtls": fmt.Sprintf("turns:%s:%d?transport=udp", turnHost, secure),
	}[transport]
	return turnclient.Config{
		Servers: []string{uri}, Credentials: turnUser, ChannelAfter: 1,
		TLS: &tls.Config{RootCAs: roots}, DTLS: dtlstransport.Client, Resolver: localhost{},
	}
}

// turnTransports are all ways to a server: those of the protocol, and TCP and TLS by way
// of an HTTP proxy.
var turnTransports = []string{"udp", "tcp", "tls", "dtls", "tcp by proxy", "tls by proxy"}

// over is the config of server for one of turnTransports.
func over(t *testing.T, server turnServer, transport string) turnclient.Config {
	t.Helper()
	transport, proxied := strings.CutSuffix(transport, " by proxy")
	cfg := server.config(transport)
	if proxied {
		proxy := newConnectProxy(t)
		cfg.Proxy = func(context.Context, string) (*url.URL, error) { return proxy, nil }
	}
	return cfg
}

// localhost is a resolver for which every host is here.
type localhost struct{}

func (localhost) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
}

func (localhost) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, errors.New("no such record")
}

// newConnectProxy runs an HTTP proxy that wants a password and, as a resolver of its own,
// takes every host to be here.
func newConnectProxy(t *testing.T) *url.URL {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { connectFor(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		ln.Close()
		wg.Wait()
	})
	return &url.URL{Scheme: "http", Host: ln.Addr().String(), User: url.UserPassword("proxy", "mirror")}
}

// connectFor serves one connection of a proxy.
func connectFor(ctx context.Context, here net.Conn) {
	defer here.Close()
	defer context.AfterFunc(ctx, func() { here.Close() })()
	r, err := http.ReadRequest(bufio.NewReader(here))
	if err != nil {
		return
	}
	r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
	user, password, _ := r.BasicAuth()
	_, port, err := net.SplitHostPort(r.Host)
	switch {
	case r.Method != http.MethodConnect || err != nil:
		io.WriteString(here, "HTTP/1.1 400 Bad Request\r\n\r\n")
		return
	case user != "proxy" || password != "mirror":
		io.WriteString(here, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\n\r\n")
		return
	}
	there, err := new(net.Dialer).DialContext(ctx, "tcp4", "127.0.0.1:"+port)
	if err != nil {
		io.WriteString(here, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer there.Close()
	defer context.AfterFunc(ctx, func() { there.Close() })()
	io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	var back sync.WaitGroup
	defer back.Wait()
	back.Go(func() {
		io.Copy(here, there)
		here.Close()
	})
	io.Copy(there, here)
	there.Close()
}

// freePort returns a port that is free for UDP and TCP. It lies below those that
// systems give out by themselves, so that nobody takes it while the server is down.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + mathrand.IntN(12000)
		addr := fmt.Sprint("127.0.0.1:", port)
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			continue
		}
		pc, err := net.ListenPacket("udp4", addr)
		l.Close()
		if err == nil {
			pc.Close()
			return port
		}
	}
	t.Fatal("no port from 20000 to 31999 is free")
	return 0
}

// selfSigned writes a certificate for host and its key, and returns the certificate.
func selfSigned(t testing.TB, host, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return roots
}

// output keeps what a program says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// turnPeer is a peer beyond the relay. What the relay sends it comes back.
type turnPeer struct {
	net.PacketConn
	addr netip.AddrPort
}

func newTurnPeer(t *testing.T, ip string) turnPeer {
	t.Helper()
	pc, err := net.ListenPacket("udp4", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[:n], from)
		}
	})
	t.Cleanup(func() {
		pc.Close()
		wg.Wait()
	})
	return turnPeer{pc, pc.LocalAddr().(*net.UDPAddr).AddrPort()}
}
