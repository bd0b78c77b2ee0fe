package turnclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a proxy may answer before the connection stands.
const (
	maxProxyHeader = 16 << 10 // bytes
	maxInterim     = 8        // responses of class 1xx
)

// proxyTimeout ends before connectTimeout does, so that the proxy is named.
const proxyTimeout = connectTimeout - time.Second

var errProxySilent = fmt.Errorf("no connection within %v", proxyTimeout)

// proxyFor returns the proxy by which a server is reached; nil: none.
func (c *Config) proxyFor(ctx context.Context, remote string) (*url.URL, error) {
	if c.Proxy == nil {
		return nil, nil
	}
	proxy, err := c.Proxy(ctx, remote)
	if err != nil {
		var parsing *url.Error
		if errors.As(err, &parsing) {
			err = parsing.Err // the rest holds the URL, and with it a password
		}
		return nil, &ProxyError{Server: remote, Err: fmt.Errorf("Config.Proxy for %s: %w", remote, err)}
	}
	return proxy, nil
}

// connect makes a TCP connection to a server, by way of a proxy if there is one.
func (c *Client) connect(ctx context.Context, network, remote string, e Endpoint) (net.Conn, error) {
	if e.Host != "" {
		network, remote = "tcp", e.Host // not looked up here
	}
	proxy, err := c.cfg.proxyFor(ctx, remote)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return c.cfg.DialContext(ctx, network, remote)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, proxyTimeout, errProxySilent)
	defer cancel()
	conn, err := c.connectBy(ctx, proxy, remote)
	if err != nil {
		var p *ProxyError
		if !errors.As(err, &p) {
			p = &ProxyError{Err: err}
		}
		if ctx.Err() != nil {
			p.Err = context.Cause(ctx) // what it did to the connection says less
		}
		p.Proxy, p.Server = proxy.Scheme+"://"+proxy.Host, remote
		return nil, p
	}
	return conn, nil
}

// connectBy asks a proxy for a connection to a server (RFC 9110 section 9.3.6).
func (c *Client) connectBy(ctx context.Context, proxy *url.URL, remote string) (net.Conn, error) {
	port := proxy.Port()
	switch {
	case proxy.Hostname() == "":
		return nil, errors.New("its URL names no host; write http://HOST:PORT")
	case proxy.Scheme == "http":
		port = orDefault(port, "80")
	case proxy.Scheme == "https":
		port = orDefault(port, "443")
	default:
		return nil, errors.New("only http:// and https:// proxies are known here; use Config.DialContext for others")
	}
	conn, err := c.cfg.DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		cfg := c.cfg.ProxyTLS.Clone()
		if cfg == nil {
			cfg = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		cfg.ServerName = orDefault(cfg.ServerName, proxy.Hostname())
		secured := tls.Client(conn, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, secureError("TLS", cfg.ServerName, err)
		}
		conn = secured
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	through, err := requestTunnel(conn, remote, proxy.User)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return through, nil
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// requestTunnel has the proxy at the other end of conn connect to remote, and returns
// conn with whatever came behind the proxy's answer.
func requestTunnel(conn net.Conn, remote string, user *url.Userinfo) (net.Conn, error) {
	if strings.ContainsFunc(remote, func(c rune) bool { return c <= ' ' || c >= 127 }) {
		return nil, fmt.Errorf("%q is no host and port to ask a proxy for", remote)
	}
	request := "CONNECT " + remote + " HTTP/1.1\r\nHost: " + remote + "\r\n"
	if user != nil {
		password, _ := user.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxProxyHeader}
	in := bufio.NewReaderSize(limited, 1024)
	code, reason, header, err := readResponse(in)
	for range maxInterim {
		if err == nil && code/100 == 1 && code != 101 {
			code, reason, header, err = readResponse(in)
		}
	}
	var malformed textproto.ProtocolError
	switch {
	case err != nil && limited.N <= 0:
		return nil, fmt.Errorf("its answer does not end within %d bytes; is it a proxy?", maxProxyHeader)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("it closed the connection before it had answered")
	case errors.As(err, &malformed):
		return nil, errors.New("its answer has a malformed header; is it a proxy?") // malformed shows all of it
	case err != nil:
		return nil, err
	case code/100 != 2:
		return nil, &ProxyError{Code: code, Reason: text([]byte(reason)), Err: refusal(code, header, user != nil)}
	}
	if in.Buffered() == 0 {
		return conn, nil
	}
	early, _ := in.Peek(in.Buffered())
	return &earlyConn{Conn: conn, early: early}, nil
}

// readResponse reads status line and header of an HTTP response.
func readResponse(in *bufio.Reader) (code int, reason string, header textproto.MIMEHeader, err error) {
	r := textproto.NewReader(in)
	line, err := r.ReadLine()
	if err != nil {
		return 0, "", nil, err
	}
	version, status, _ := strings.Cut(line, " ")
	digits, reason, _ := strings.Cut(strings.TrimLeft(status, " "), " ")
	code, err = strconv.Atoi(digits)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || len(digits) != 3 || code < 100 {
		return 0, "", nil, errors.New("its answer is not HTTP/1; is it a proxy?")
	}
	header, err = r.ReadMIMEHeader()
	return code, reason, header, err
}

// refusal says more about a refusal than its code does; nil: there is no more.
func refusal(code int, header textproto.MIMEHeader, asked bool) error {
	if code != 407 {
		return nil
	}
	basic := false
	var schemes []string
	for _, challenge := range header["Proxy-Authenticate"] {
		scheme, _, _ := strings.Cut(challenge, " ")
		basic = basic || strings.EqualFold(scheme, "Basic")
		if len(schemes) < 4 {
			schemes = append(schemes, text([]byte(scheme)))
		}
	}
	switch {
	case len(schemes) > 0 && !basic:
		return fmt.Errorf("it knows users by %s only, and this client can do Basic", strings.Join(schemes, ", "))
	case asked:
		return errors.New("it does not accept user and password")
	}
	return errors.New("it wants user and password")
}

// earlyConn is a connection of which something has been read already.
type earlyConn struct {
	net.Conn
	early []byte // the reader's
}

func (e *earlyConn) Read(b []byte) (int, error) {
	if len(e.early) > 0 {
		n := copy(b, e.early)
		e.early = e.early[n:]
		return n, nil
	}
	return e.Conn.Read(b)
}

// ProxyError says why there is no connection by way of an HTTP proxy.
type ProxyError struct {
	Proxy  string // its URL, without user and password; "": none was named
	Server string // host and port that it was asked for
	Code   int    // HTTP status that it answered with; 0: none
	Reason string // its own words
	Err    error  // what else is known; may be nil
}

// Error names proxy, server, status and a remedy.
func (e *ProxyError) Error() string {
	var b strings.Builder
	b.WriteString("turnclient: ")
	if e.Proxy != "" {
		fmt.Fprintf(&b, "proxy %s for %s: ", e.Proxy, e.Server)
	}
	if e.Code != 0 {
		fmt.Fprintf(&b, "refused with %d", e.Code)
		if e.Reason != "" {
			fmt.Fprintf(&b, " %q", e.Reason)
		}
		if e.Err != nil {
			b.WriteString(": ")
		}
	}
	if e.Err != nil {
		fmt.Fprint(&b, e.Err)
	}
	if r := e.remedy(); r != "" {
		b.WriteString("; " + r)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *ProxyError) Unwrap() error { return e.Err }

func (e *ProxyError) remedy() string {
	switch {
	case errors.Is(e.Err, ErrCertificate):
		return "name the host that the certificate is for, or trust its issuer by Config.ProxyTLS"
	case e.Code == 407:
		return "give those it knows in its URL, http://USER:PASSWORD@HOST:PORT"
	case e.Code == 403:
		return "its policy refuses this host or port; many allow 443 only, so try turns:HOST:443"
	case e.Code == 502, e.Code == 503, e.Code == 504:
		return "it does not reach the server; check host and port"
	case e.Code != 0:
		return "check that this is a proxy that allows CONNECT"
	}
	return ""
}
