package dtlstransport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/bradawl/bradawl/turnclient/dtlstransport"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

const host = "turn.example.org"

// certificate makes one for a name, and the pool that trusts it.
func certificate(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, pool, err := turntest.Certificate(name)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pool
}

// server is a DTLS server on loopback, as a socket on which datagrams are what clients
// sent within their associations.
type server struct {
	net.Listener
	in   chan datagram
	done chan struct{}
	once sync.Once

	mu    sync.Mutex
	conns map[string]net.Conn // guarded by mu: by the client's address
	wg    sync.WaitGroup
}

type datagram struct {
	from net.Addr
	data []byte
}

func listen(t testing.TB, options ...dtls.ServerOption) *server {
	t.Helper()
	ln, err := dtls.ListenWithOptions("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, options...)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: ln, in: make(chan datagram, 64), done: make(chan struct{}), conns: make(map[string]net.Conn)}
	s.run(t)
	return s
}

func (s *server) run(t testing.TB) {
	s.wg.Go(func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { s.Close() })
}

func (s *server) serve(conn net.Conn) {
	key := conn.RemoteAddr().String()
	s.mu.Lock()
	s.conns[key] = conn
	s.mu.Unlock()
	defer func() {
		conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, key)
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		select {
		case s.in <- datagram{conn.RemoteAddr(), append([]byte(nil), buf[:n]...)}:
		case <-s.done:
			return
		}
	}
}

func (s *server) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-s.in:
		return copy(b, d.data), d.from, nil
	case <-s.done:
		return 0, nil, net.ErrClosed
	}
}

func (s *server) WriteTo(b []byte, to net.Addr) (int, error) {
	s.mu.Lock()
	conn := s.conns[to.String()]
	s.mu.Unlock()
	if conn == nil {
		return len(b), nil // lost
	}
	return conn.Write(b)
}

func (s *server) Close() error {
	s.once.Do(func() {
		close(s.done)
		s.Listener.Close()
		s.mu.Lock()
		all := make([]net.Conn, 0, len(s.conns))
		for _, c := range s.conns {
			all = append(all, c)
		}
		s.mu.Unlock()
		for _, c := range all {
			c.Close()
		}
		s.wg.Wait()
	})
	return nil
}

func (s *server) LocalAddr() net.Addr              { return s.Addr() }
func (s *server) SetDeadline(time.Time) error      { return nil }
func (s *server) SetReadDeadline(time.Time) error  { return errors.New("none here") }
func (s *server) SetWriteDeadline(time.Time) error { return nil }

// echo answers every datagram with itself.
func (s *server) echo() *server {
	s.wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			s.WriteTo(buf[:n], from)
		}
	})
	return s
}

func connect(t testing.TB, to net.Addr) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, to.(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func handshake(t testing.TB, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return dtlstransport.Client(ctx, conn, cfg)
}

func TestClient(t *testing.T) {
	cert, pool := certificate(t, host)
	s := listen(t, dtls.WithCertificates(cert), dtls.WithSupportedProtocols("stun.turn")).echo()
	seen := 0
	a, err := handshake(t, connect(t, s.Addr()), &tls.Config{
		ServerName: host, RootCAs: pool, NextProtos: []string{"stun.turn"},
		VerifyPeerCertificate: func(_ [][]byte, chains [][]*x509.Certificate) error {
			seen += len(chains)
			return nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.ServerName != host || s.Version != dtls.VersionDTLS12 || len(s.PeerCertificates) != 1 || len(s.VerifiedChains) != 1 || s.NegotiatedProtocol != "stun.turn" || s.CipherSuite == 0 {
				t.Errorf("%+v", s)
			}
			seen++
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != 2 {
		t.Errorf("%d of 2 checks of the caller's", seen)
	}
	a.SetDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 1<<16)
	for _, size := range []int{1, 1200, 8000, 1} {
		want := strings.Repeat("x", size)
		if _, err := a.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if n, err := a.Read(buf); err != nil || string(buf[:n]) != want {
			t.Fatalf("%d bytes came back as %d, %v", size, n, err)
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.Read(buf); err == nil {
		t.Error("read of a closed association")
	}
}

// What is not for the server is not sent to it: nothing is ever read within an association.
func TestCertificateIsChecked(t *testing.T) {
	cert, pool := certificate(t, host)
	_, stranger := certificate(t, host)
	s := listen(t, dtls.WithCertificates(cert))
	refused := errors.New("refused by the caller")
	for name, c := range map[string]struct {
		cfg  *tls.Config
		want any
	}{
		"another name":                   {&tls.Config{ServerName: "other.example.org", RootCAs: pool}, new(x509.HostnameError)},
		"an IP address as name":          {&tls.Config{ServerName: "127.0.0.1", RootCAs: pool}, new(x509.HostnameError)},
		"another issuer":                 {&tls.Config{ServerName: host, RootCAs: stranger}, new(x509.UnknownAuthorityError)},
		"expired":                        {&tls.Config{ServerName: host, RootCAs: pool, Time: func() time.Time { return time.Now().Add(48 * time.Hour) }}, new(x509.CertificateInvalidError)},
		"the caller's check of the peer": {&tls.Config{ServerName: host, RootCAs: pool, VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { return refused }}, refused},
		"the caller's last check":        {&tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return refused }}, refused},
	} {
		a, err := handshake(t, connect(t, s.Addr()), c.cfg)
		if err == nil {
			a.Close()
			t.Errorf("%s: accepted", name)
			continue
		}
		var rejected *tls.CertificateVerificationError
		if c.want == refused {
			if !errors.Is(err, refused) {
				t.Errorf("%s: %v", name, err)
			}
		} else if !errors.As(err, c.want) || !errors.As(err, &rejected) || len(rejected.UnverifiedCertificates) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, err := handshake(t, connect(t, s.Addr()), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}

func TestConfigThatCannotBeHad(t *testing.T) {
	c1, c2 := net.Pipe()
	defer c2.Close()
	for name, cfg := range map[string]*tls.Config{
		"none":                 nil,
		"no name":              {},
		"DTLS 1.3":             {ServerName: host, MinVersion: tls.VersionTLS13},
		"DTLS 1.0":             {ServerName: host, MaxVersion: tls.VersionTLS11},
		"unknown suites":       {ServerName: host, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}},
		"unknown curves":       {ServerName: host, CurvePreferences: []tls.CurveID{tls.CurveP521}},
		"certificate callback": {ServerName: host, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, nil }},
		"ECH":                  {ServerName: host, EncryptedClientHelloConfigList: []byte{0}},
	} {
		if _, err := handshake(t, c1, cfg); err == nil || !strings.HasPrefix(err.Error(), "dtlstransport: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c1.SetDeadline(time.Time{}); err != nil {
		t.Errorf("the connection is not the caller's any more: %v", err)
	}
}

// A server that says nothing is waited for as long as the caller says.
func TestHandshakeEndsWithItsContext(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	conn := connect(t, pc.LocalAddr())
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	buf := make([]byte, 2000)
	go func() {
		pc.ReadFrom(buf)
		cancel(why)
	}()
	if _, err := dtlstransport.Client(ctx, conn, &tls.Config{ServerName: host}); !errors.Is(err, why) {
		t.Error(err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Errorf("the connection is not the caller's any more: %v", err)
	}
}

// spoof lets a test put datagrams among those of the server.
type spoof struct {
	net.Conn
	in chan []byte
}

func (s *spoof) Read(b []byte) (int, error) {
	select {
	case forged := <-s.in:
		if forged == nil {
			return 0, syscall.ECONNREFUSED // as after an ICMP error
		}
		return copy(b, forged), nil
	default:
		return s.Conn.Read(b)
	}
}

// Whoever knows the addresses can send datagrams as if from the server. None of them may
// end the association, or come out of it.
func TestForgedRecords(t *testing.T) {
	cert, pool := certificate(t, host)
	s := listen(t, dtls.WithCertificates(cert)).echo()
	forged := make(chan []byte, 16)
	a, err := handshake(t, &spoof{connect(t, s.Addr()), forged}, &tls.Config{ServerName: host, RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	record := func(kind, epoch byte, content ...byte) {
		forged <- append([]byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 9, 9, 0, byte(len(content))}, content...)
	}
	const changeCipherSpec, alert, handshakeMessage, data = 20, 21, 22, 23
	record(alert, 0, 2, 40)                        // handshake_failure
	record(alert, 0, 1, 0)                         // close_notify
	record(data, 0, []byte("forged")...)           // nobody encrypted it
	record(data, 1, make([]byte, 40)...)           // nobody with the key did
	record(alert, 1, make([]byte, 26)...)          //
	record(handshakeMessage, 0, 0, 0, 0, 0)        // hello_request
	record(changeCipherSpec, 0, 1)                 //
	forged <- []byte{}                             //
	forged <- nil                                  //
	forged <- []byte("no record at all, but text") //
	record(99, 1, 0)
	a.SetDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 2000)
	for range 20 {
		if _, err := a.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := a.Read(buf); err != nil || string(buf[:n]) != "x" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	if len(forged) > 0 {
		t.Errorf("%d forged records were not read", len(forged))
	}
}

// The other side's orderly end is told.
func TestServerCloses(t *testing.T) {
	cert, pool := certificate(t, host)
	s := listen(t, dtls.WithCertificates(cert))
	a, err := handshake(t, connect(t, s.Addr()), &tls.Config{ServerName: host, RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.Write([]byte("x"))
	if _, _, err := s.ReadFrom(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	a.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := a.Read(make([]byte, 10)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// A client certificate, for servers that want one.
func TestClientCertificate(t *testing.T) {
	cert, pool := certificate(t, host)
	ours, theirPool := certificate(t, "client.example.org")
	s := listen(t, dtls.WithCertificates(cert), dtls.WithClientAuth(dtls.RequireAndVerifyClientCert), dtls.WithClientCAs(theirPool)).echo()
	for _, c := range []*tls.Config{{ServerName: host, RootCAs: pool}, {ServerName: host, RootCAs: pool, Certificates: []tls.Certificate{ours}}} {
		a, err := handshake(t, connect(t, s.Addr()), c)
		if (err == nil) != (len(c.Certificates) > 0) {
			t.Errorf("%d certificates: %v", len(c.Certificates), err)
		}
		if err == nil {
			a.Close()
		}
	}
}

// BenchmarkDTLS sends a datagram of 1,200 bytes to a server that sends it back, over plain
// UDP and over DTLS. The allocations are those of both sides.
func BenchmarkDTLS(b *testing.B) {
	cert, pool := certificate(b, host)
	s := listen(b, dtls.WithCertificates(cert)).echo()
	secured, err := handshake(b, connect(b, s.Addr()), &tls.Config{ServerName: host, RootCAs: pool})
	if err != nil {
		b.Fatal(err)
	}
	defer secured.Close()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := pc.(*net.UDPConn).ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			pc.(*net.UDPConn).WriteToUDPAddrPort(buf[:n], from)
		}
	})
	defer wg.Wait()
	defer pc.Close()
	for _, c := range []struct {
		name string
		conn net.Conn
	}{{"udp", connect(b, pc.LocalAddr())}, {"dtls", secured}} {
		b.Run(c.name, func(b *testing.B) {
			data, buf := make([]byte, 1200), make([]byte, 2000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.conn.Write(data); err != nil {
					b.Fatal(err)
				}
				if _, err := c.conn.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// scripted is a connection on which a server says what is known already.
type scripted struct {
	net.Conn // for its addresses
	in       [][]byte
}

func (s *scripted) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.in[0])
	s.in = s.in[1:]
	return n, nil
}

func (s *scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }

// Whoever answers in place of a server can end the handshake, and no more.
func FuzzServer(f *testing.F) {
	record := func(kind byte, content ...byte) []byte {
		return append([]byte{kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(content))}, content...)
	}
	f.Add(record(22, append([]byte{3, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 7}, 0xfe, 0xfd, 4, 1, 2, 3, 4)...), []byte{}, []byte{}) // hello_verify_request
	f.Add(record(21, 2, 40), record(20, 1), record(23, 1, 2, 3))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		if _, err := handshake(t, &scripted{ours, [][]byte{a, b, c}}, &tls.Config{ServerName: host}); err == nil {
			t.Error("a server without a certificate was accepted")
		}
	})
}
