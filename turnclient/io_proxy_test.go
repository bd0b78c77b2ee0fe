package turnclient_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// proxy is an HTTP proxy that answers as a test says. What it connects to is what comes
// out of its Accept.
type proxy struct {
	answer string // after each request; "": none
	secure *tls.Config

	mu       sync.Mutex
	dialled  []string   // guarded by mu: where the client connected to
	requests [][]string // guarded by mu: lines
	after    []byte     // guarded by mu: what came behind a request that was refused
	conns    chan net.Conn
	done     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
}

func newProxy(answer string) *proxy {
	return &proxy{answer: answer, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (p *proxy) dial(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialled = append(p.dialled, network+" "+address)
	if p.secure == nil {
		ours, theirs := net.Pipe()
		p.wg.Go(func() { p.serve(ours) })
		return theirs, nil
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0") // TLS needs more room than a pipe has
	if err != nil {
		return nil, err
	}
	p.wg.Go(func() {
		defer ln.Close()
		if conn, err := ln.Accept(); err == nil {
			p.serve(conn)
		}
	})
	return new(net.Dialer).DialContext(ctx, "tcp4", ln.Addr().String())
}

func (p *proxy) serve(conn net.Conn) {
	if p.secure != nil {
		conn = tls.Server(conn, p.secure)
	}
	in := bufio.NewReader(conn)
	r := textproto.NewReader(in)
	var lines []string
	for {
		line, err := r.ReadLine()
		if err != nil || line == "" {
			break
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		conn.Close()
		return
	}
	p.mu.Lock()
	p.requests = append(p.requests, lines)
	p.mu.Unlock()
	if p.answer == "" {
		io.Copy(io.Discard, conn)
		conn.Close()
		return
	}
	io.WriteString(conn, p.answer)
	if strings.Contains(p.answer, " 200 ") {
		select {
		case p.conns <- addressed{conn}:
		case <-p.done:
			conn.Close()
		}
		return
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	rest, _ := io.ReadAll(in)
	p.mu.Lock()
	p.after = append(p.after, rest...)
	p.mu.Unlock()
	conn.Close()
}

// addressed is a pipe with addresses.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1000} }

func (p *proxy) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *proxy) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 3478} }

func (p *proxy) Close() error {
	p.once.Do(func() { close(p.done) })
	p.wg.Wait()
	return nil
}

// byProxy is how a client reaches a server by way of p.
func (p *proxy) config(server, at string) (turnclient.Config, *dns) {
	names := &dns{}
	return turnclient.Config{
		Servers: []string{server}, Credentials: creds, DialContext: p.dial, Resolver: names,
		Proxy: func(context.Context, string) (*url.URL, error) { return url.Parse(at) },
	}, names
}

// behind runs a TURN server that is reached by way of p.
func (p *proxy) behind(t *testing.T, secure *tls.Config) {
	t.Helper()
	cfg := authed()
	cfg.Relay = netip.MustParseAddr("127.0.0.1")
	var ln net.Listener = p
	if secure != nil {
		ln = tls.NewListener(p, secure)
	}
	loop, err := drive.Run[struct{}](turntest.NewServer(cfg, rand.Reader), nil, drive.Options{
		Listeners: []net.Listener{ln},
		ListenPacket: func(ctx context.Context, network, address string) (net.PacketConn, error) {
			return new(net.ListenConfig).ListenPacket(ctx, network, address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close() })
}

const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// TCP and TLS by way of proxies that are reached in the clear and over TLS. The proxy
// gets the host's name, which is not looked up here.
func TestProxy(t *testing.T) {
	turnCert, turnPool := certificate(t, "turn.example.org")
	proxyCert, proxyPool := certificate(t, "proxy.example.org")
	for _, c := range []struct {
		server, proxy, answer, request string
	}{
		{"turn:turn.example.org?transport=tcp", "http://user%40home:pass-canary@proxy.example.org:3128", established, "CONNECT turn.example.org:3478 HTTP/1.1"},
		{"turn:turn.example.org:80?transport=tcp", "http://proxy.example.org", "HTTP/1.0 200 \r\nVia: x\r\n folded\r\n\r\n", "CONNECT turn.example.org:80 HTTP/1.1"},
		{"turn:192.0.2.1:80?transport=tcp", "http://[2001:db8::1]:3128", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "CONNECT 192.0.2.1:80 HTTP/1.1"},
		{"turns:turn.example.org", "http://proxy.example.org", established, "CONNECT turn.example.org:5349 HTTP/1.1"},
		{"turns:turn.example.org:443?transport=tcp", "https://user:@proxy.example.org", established, "CONNECT turn.example.org:443 HTTP/1.1"},
	} {
		t.Run(c.server+" by "+c.proxy, func(t *testing.T) {
			p := newProxy(c.answer)
			defer p.Close()
			cfg, names := p.config(c.server, c.proxy)
			cfg.TLS, cfg.ProxyTLS = &tls.Config{RootCAs: turnPool}, &tls.Config{RootCAs: proxyPool}
			if strings.HasPrefix(c.proxy, "https:") {
				p.secure = &tls.Config{Certificates: []tls.Certificate{proxyCert}}
			}
			var secure *tls.Config
			if strings.HasPrefix(c.server, "turns:") {
				secure = &tls.Config{Certificates: []tls.Certificate{turnCert}}
			}
			p.behind(t, secure)
			client, relay := open(t, cfg)
			pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			pc.SetDeadline(time.Now().Add(time.Minute))
			relay.SetDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 2000)
			for i := range 20 {
				if _, err := relay.WriteTo(buf[:1+i], pc.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				n, from, err := pc.ReadFrom(buf)
				if err != nil || n != 1+i {
					t.Fatal(n, err)
				}
				pc.WriteTo(buf[:n], from)
				if n, _, err := relay.ReadFrom(buf); err != nil || n != 1+i {
					t.Fatal(n, err)
				}
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			host := strings.TrimPrefix(c.request[:strings.LastIndex(c.request, " ")], "CONNECT ")
			want := []string{c.request, "Host: " + host}
			u, _ := url.Parse(c.proxy)
			if u.User != nil {
				password, _ := u.User.Password()
				want = append(want, "Proxy-Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
			}
			if len(p.requests) != 1 || !slices.Equal(p.requests[0], want) {
				t.Errorf("requests %q, want %q", p.requests, want)
			}
			port := u.Port()
			if port == "" {
				port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
			}
			if want := "tcp " + net.JoinHostPort(u.Hostname(), port); len(p.dialled) != 1 || p.dialled[0] != want {
				t.Errorf("dialled %q, want %q", p.dialled, want)
			}
			if len(names.asked) != 0 {
				t.Errorf("looked up %q", names.asked)
			}
		})
	}
}

// Whatever a proxy answers but success ends the attempt with an error that names it and
// what to do, and nothing of TURN was sent.
func TestProxyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		code   int
		want   []string
	}{
		"no credentials":  {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", 407, []string{"does not accept", "USER:PASSWORD@"}},
		"other schemes":   {"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM abc\r\n\r\n", 407, []string{"Negotiate, NTLM", "Basic"}},
		"policy":          {"HTTP/1.1 403 Forbidden\r\n\r\n", 403, []string{"403", "Forbidden", "turns:HOST:443"}},
		"bad gateway":     {"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", 502, []string{"does not reach the server"}},
		"not allowed":     {"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n\r\n", 405, []string{"allows CONNECT"}},
		"redirect":        {"HTTP/1.1 302 Found\r\nLocation: http://elsewhere\r\n\r\n", 302, []string{"302"}},
		"other protocol":  {"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, []string{"101"}},
		"no HTTP":         {"220 mail.example.org ESMTP\r\n", 0, []string{"is it a proxy"}},
		"HTTP/2":          {"HTTP/2 200\r\n\r\n", 0, []string{"is it a proxy"}},
		"no code":         {"HTTP/1.1 OK\r\n\r\n", 0, []string{"is it a proxy"}},
		"long code":       {"HTTP/1.1 2000 OK\r\n\r\n", 0, []string{"is it a proxy"}},
		"negative code":   {"HTTP/1.1 -20 OK\r\n\r\n", 0, []string{"is it a proxy"}},
		"bad header":      {"HTTP/1.1 204 OK\r\nno colon\r\n\r\n", 0, []string{"malformed"}},
		"cut header":      {"HTTP/1.1 204 OK\r\nVia: ", 0, []string{"closed the connection"}},
		"endless line":    {"HTTP/1.1 204 " + strings.Repeat("x", 40000), 0, []string{"16384 bytes"}},
		"endless header":  {"HTTP/1.1 204 OK\r\n" + strings.Repeat("Via: x\r\n", 4000), 0, []string{"16384 bytes"}},
		"endless interim": {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), 100, []string{"100"}},
		"escape sequence": {"HTTP/1.1 500 \x1b[31mred\x07\r\n\r\n", 500, []string{`"[31mred"`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProxy(c.answer)
				defer p.Close()
				cfg, _ := p.config("turn:turn.example.org?transport=tcp", "http://user:pass-canary@proxy.example.org:3128")
				err := p.allocate(t, cfg)
				var one *turnclient.ServerError
				var proxied *turnclient.ProxyError
				if !errors.As(err, &one) || one.Server.Host != "turn.example.org:3478" || one.Server.Transport != turnclient.TCP ||
					!errors.As(err, &proxied) || proxied.Code != c.code || proxied.Proxy != "http://proxy.example.org:3128" || proxied.Server != "turn.example.org:3478" {
					t.Fatalf("%#v", err)
				}
				for _, want := range append(c.want, "turn.example.org:3478 over tcp", "proxy http://proxy.example.org:3128") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q lacks %q", err, want)
					}
				}
				if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, "canary") {
					t.Errorf("a secret in %s", s)
				}
				p.Close()
				if len(p.requests) != 1 || len(p.after) != 0 {
					t.Errorf("requests %q, then %q", p.requests, p.after)
				}
			})
		})
	}
}

// allocate tries to, and returns why it does not work.
func (p *proxy) allocate(t *testing.T, cfg turnclient.Config) error {
	t.Helper()
	client, err := turnclient.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Allocate(t.Context())
	if err == nil {
		t.Fatal("it gave an allocation")
	}
	return err
}

// A proxy that says nothing is named as the reason, after nine seconds.
func TestSilentProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy("")
		defer p.Close()
		cfg, _ := p.config("turn:turn.example.org?transport=tcp", "http://proxy.example.org:3128")
		start := time.Now()
		err := p.allocate(t, cfg)
		var proxied *turnclient.ProxyError
		if !errors.As(err, &proxied) || proxied.Code != 0 || !strings.Contains(err.Error(), "no connection within 9s") || time.Since(start) != 9*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// What Config.Proxy gives may be of no use.
func TestProxyThatCannotBeUsed(t *testing.T) {
	refused := errors.New("no proxy today")
	for name, c := range map[string]struct {
		proxy func(context.Context, string) (*url.URL, error)
		want  string
	}{
		"another scheme": {func(context.Context, string) (*url.URL, error) {
			return url.Parse("socks5://user:pass-canary@127.0.0.1:1")
		}, "only http:// and https://"},
		"no host":  {func(context.Context, string) (*url.URL, error) { return &url.URL{Scheme: "http"}, nil }, "names no host"},
		"an error": {func(context.Context, string) (*url.URL, error) { return nil, refused }, "no proxy today"},
		"an error that holds the URL": {func(context.Context, string) (*url.URL, error) {
			return url.Parse(fmt.Sprint("http://user:pass-canary@proxy:", "port"))
		}, "invalid port"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProxy("")
				defer p.Close()
				for _, server := range []string{"turn:192.0.2.1?transport=tcp", "turn:turn.example.org?transport=tcp"} {
					cfg, _ := p.config(server, "")
					cfg.Proxy = c.proxy
					client, err := turnclient.Dial(t.Context(), cfg)
					if err == nil {
						_, err = client.Allocate(t.Context())
						client.Close()
					}
					var proxied *turnclient.ProxyError
					if !errors.As(err, &proxied) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
						t.Errorf("%s: %v", server, err)
					}
				}
			})
		})
	}
}

// A proxy whose certificate is for another name gets nothing, not even the request.
func TestProxyWithACertificateForAnotherName(t *testing.T) {
	cert, pool := certificate(t, "other.example.org")
	p := newProxy(established)
	p.secure = &tls.Config{Certificates: []tls.Certificate{cert}}
	defer p.Close()
	cfg, _ := p.config("turn:turn.example.org?transport=tcp", "https://user:pass-canary@proxy.example.org")
	cfg.ProxyTLS = &tls.Config{RootCAs: pool}
	err := p.allocate(t, cfg)
	var proxied *turnclient.ProxyError
	if !errors.Is(err, turnclient.ErrCertificate) || !errors.As(err, &proxied) || !strings.Contains(err.Error(), "Config.ProxyTLS") {
		t.Error(err)
	}
	if p.Close(); len(p.requests) != 0 {
		t.Errorf("it got %q", p.requests)
	}
}

// Only streams go by a proxy, and not where Config.Proxy gives none.
func TestWhatGoesByNoProxy(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		for _, uri := range []string{"turn:192.0.2.1", "turn:192.0.2.1?transport=tcp"} {
			cfg := w.config(uri)
			asked := 0
			cfg.Proxy = func(_ context.Context, server string) (*url.URL, error) {
				if asked++; server != "192.0.2.1:3478" {
					t.Errorf("asked about %q", server)
				}
				return nil, nil
			}
			client, relay := open(t, cfg)
			if stream := relay.Server().Transport == turnclient.TCP; stream != (asked > 0) {
				t.Errorf("%v, asked %d times", relay.Server(), asked)
			}
			client.Close()
		}
	})
}

// Bytes that come behind the header in one packet with it are the server's.
func TestBytesBehindTheProxysHeader(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		bufio.NewReader(theirs).ReadString('\n')
		io.WriteString(theirs, established+"early")
		io.WriteString(theirs, " and late")
		theirs.Close()
	}()
	conn, err := turnclient.RequestTunnel(ours, "turn.example.org:3478", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "early and late" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, remote := range []string{"a b:1", "a\r\nX: y:1", "a\x00:1", "\u00fc:1"} {
		if _, err := turnclient.RequestTunnel(ours, remote, nil); err == nil {
			t.Errorf("%q was asked for", remote)
		}
	}
}
