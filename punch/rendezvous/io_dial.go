package rendezvous

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// Dial connects to the rendezvous at rawURL (ws://HOST[:PORT]/PATH or wss://;
// http and https mean the same), signs on, and returns a Client that the caller
// must Close. ctx bounds Dial alone.
//
// The error is a *ConfigError for a URL or a config of the wrong form, else an
// *OpError around the network's error, a *NotRendezvousError, ErrUnavailable, a
// *CloseError (what the server closed the connection with), a *ProtocolError, a
// *TimeoutError or the context's cause.
func Dial(ctx context.Context, rawURL string, cfg ClientConfig) (*Client, error) {
	target, host, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	named := redacted(rawURL)
	m, err := NewClientMachine(cfg, host)
	if err != nil {
		return nil, err
	}
	if d := m.cfg.DialTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, &TimeoutError{Op: "welcome", After: d})
		defer cancel()
	}
	conn, err := connect(ctx, target, m.cfg)
	if err != nil {
		return nil, &OpError{Op: "dial", URL: named, Err: err}
	}
	c, err := run(m, conn, named)
	if err != nil {
		conn.kill()
		<-conn.gone
		return nil, &OpError{Op: "dial", URL: named, Err: err}
	}
	select {
	case w := <-c.welcome:
		c.address = w.Address
		return c, nil
	case <-c.events.ended:
		err = c.events.cause()
	case <-ctx.Done():
		err = context.Cause(ctx)
		conn.kill() // the server is not owed a farewell within closeGrace
	}
	_ = c.Close()
	return nil, &OpError{Op: "sign on", URL: named, Err: err}
}

const urlForm = "give ws://HOST[:PORT]/PATH, or wss:// for TLS"

// parseURL returns the URL as the WebSocket library takes it, and the host that
// the proof names: in lower case, without the scheme's default port.
func parseURL(rawURL string) (target *url.URL, host string, err error) {
	wrong := func(reason string) (*url.URL, string, error) {
		return nil, "", badConfig("URL", redacted(rawURL), reason)
	}
	u, err := url.Parse(rawURL)
	if err != nil || rawURL == "" {
		return wrong("is no URL; " + urlForm)
	}
	port := ""
	switch u.Scheme {
	case "ws", "http":
		u.Scheme, port = "ws", "80"
	case "wss", "https":
		u.Scheme, port = "wss", "443"
	default:
		return wrong("has an unknown scheme; " + urlForm)
	}
	if u.Hostname() == "" {
		return wrong("names no host; " + urlForm)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return wrong("names no port from 1 to 65535; " + urlForm)
		}
	}
	if u.Fragment != "" { // RFC 6455 section 3
		return wrong("has a fragment, which means nothing to a server; leave out what begins with #")
	}
	host = strings.TrimSuffix(strings.ToLower(u.Host), ":")
	if u.Port() == port {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u, host, nil
}

// redacted is a URL without its password, for errors.
func redacted(rawURL string) string {
	if u, err := url.Parse(rawURL); err == nil && u.User != nil {
		return u.Redacted()
	}
	return rawURL
}

// connect opens the WebSocket. When it fails nothing stays open.
func connect(ctx context.Context, target *url.URL, cfg ClientConfig) (*wsConn, error) {
	// The transport's own context outlives a request that was given up; ours
	// ends what the transport has started when this call ends.
	dialCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	dial := cfg.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var dialed dialedConns
	transport := &http.Transport{
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(dialCtx, network, address)
			if err != nil {
				return nil, err
			}
			return dialed.add(dialCtx, conn)
		},
		TLSClientConfig:   cfg.TLSConfig.Clone(), // nil stays nil
		DisableKeepAlives: true,
	}
	if cfg.DialContext == nil {
		transport.Proxy = http.ProxyFromEnvironment
	}
	client := &http.Client{
		Transport: transport,
		// The proof names the host that was asked for, so another will not do.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ws, resp, err := websocket.Dial(ctx, target.String(), &websocket.DialOptions{
		HTTPClient:   client,
		Subprotocols: []string{subprotocol},
	})
	if err == nil && ws.Subprotocol() != subprotocol {
		_ = ws.CloseNow()
		err = errors.New("it speaks WebSocket, but not " + subprotocol)
	}
	if err != nil {
		cancel() // first, so that nothing is added any more
		dialed.closeAll()
		return nil, dialCause(ctx, resp, err, dialed.last() != nil)
	}
	conn := newConn(ws, dialed.last(), clientQueueFrames, clientQueueBytes)
	conn.space = make(chan struct{}, 1)
	return conn, nil
}

// dialCause finds out what a failed handshake means.
func dialCause(ctx context.Context, resp *http.Response, err error, connected bool) error {
	var (
		tlsErr  *tls.CertificateVerificationError
		tlsRec  tls.RecordHeaderError
		wrapped *url.Error
	)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the URL is named once, by OpError
	}
	switch {
	case resp != nil && resp.StatusCode == http.StatusServiceUnavailable:
		return ErrUnavailable
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return &NotRendezvousError{Status: resp.StatusCode}
	case resp != nil:
		return &NotRendezvousError{Status: resp.StatusCode, Err: err}
	case connected && !errors.As(err, &tlsErr):
		if errors.As(err, &tlsRec) {
			err = errors.New("it does not speak TLS; use ws://")
		}
		return &NotRendezvousError{Err: err}
	}
	if !connected {
		err = fmt.Errorf("%w; see that a rendezvous runs there, and that the URL names it", err)
	}
	return err
}

// dialedConns remembers what was dialled, for the WebSocket needs deadlines on
// it.
type dialedConns struct {
	mu    sync.Mutex
	conns []net.Conn
}

// add closes conn instead when ctx has ended: nobody else would.
func (d *dialedConns) add(ctx context.Context, conn net.Conn) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		_ = conn.Close()
		return nil, context.Cause(ctx)
	}
	d.conns = append(d.conns, conn)
	return conn, nil
}

func (d *dialedConns) last() net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.conns) == 0 {
		return nil
	}
	return d.conns[len(d.conns)-1]
}

func (d *dialedConns) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close()
	}
}
