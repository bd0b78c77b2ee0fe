package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/turnclient"
)

const secret = "hush-hush"

// program is the server, running in this process.
type program struct {
	logged
	url       string             // of the rendezvous
	interrupt context.CancelFunc // what a signal does
	code      int                // valid once the log is closed
}

type record map[string]any

// logged is the program's log.
type logged struct {
	mu      sync.Mutex
	more    sync.Cond
	text    strings.Builder
	records []record
	taken   int // how many of them await has passed
	closed  bool
}

// Write takes in one record: slog writes them one by one.
func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(line)
	r := record{}
	if err := json.Unmarshal(line, &r); err != nil {
		r["text"] = string(line)
	}
	l.records = append(l.records, r)
	l.more.Broadcast()
	return len(line), nil
}

// said returns the log so far. pion/turn's goroutines may end later than the program.
func (l *logged) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.more.Broadcast()
}

// await returns the next record that fits.
func (l *logged) await(t *testing.T, fits func(r record) bool) record {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for l.taken < len(l.records) {
			l.taken++
			if r := l.records[l.taken-1]; fits(r) {
				return r
			}
		}
		if l.closed {
			t.Fatalf("it has ended; the log: %s", l.text.String())
		}
		l.more.Wait()
	}
}

// start runs the program on free ports of loopback and waits until it serves.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	p := &program{interrupt: interrupt}
	p.more.L = &p.mu
	args = append([]string{"-http-port", "0", "-stun-port", "0", "-stun-port2", "0", "-turn-port", "0", "-turns-port", "0", "-log", "json"}, args...)
	go func() {
		p.code = run(ctx, args, func(string) string { return "" }, &p.logged)
		p.close()
	}()
	t.Cleanup(func() {
		interrupt()
		p.end()
	})
	p.url = p.await(t, func(r record) bool { return r["service"] == "rendezvous" })["url"].(string)
	return p
}

// end waits for the program to end, and returns its code and the rest of its log.
func (p *program) end() (code int, rest []record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed {
		p.more.Wait()
	}
	return p.code, slices.Clone(p.records[p.taken:])
}

// health asks /healthz.
func (p *program) health(t *testing.T, client *http.Client) (status int, body record) {
	t.Helper()
	resp, err := client.Get("http" + strings.TrimPrefix(p.url, "ws") + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// servers is what a session learns when it signs on.
type servers struct {
	stun, turn []string
	turnclient.Credentials
}

// signOn signs a new identity on, as a session does.
func (p *program) signOn(t *testing.T, cfg rendezvous.ClientConfig) (rendezvous.Signals, servers) {
	t.Helper()
	id, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	on, err := (&rendezvous.Signaler{URL: p.url, Client: cfg}).SignOn(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { on.Close() })
	var s servers
	s.stun, s.turn, s.Username, s.Password, _ = on.(interface {
		Servers() (stun, turn []string, username, password string, expires time.Time)
	}).Servers()
	return on, s
}

// allocate opens a relay at one of the servers.
func allocate(t *testing.T, cfg turnclient.Config) (*turnclient.Allocation, error) {
	t.Helper()
	client, err := turnclient.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return client.Allocate(ctx)
}

// password is that of a user, made as the TURN REST API has it.
func password(secret, user string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(user))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// refusedWith checks that a server refused with a code, which pion/turn does not sign: over
// UDP, where anybody could have sent that, the client would try for seconds.
func refusedWith(t *testing.T, code int, err error) {
	t.Helper()
	var unsigned *turnclient.UnsignedError
	if !errors.As(err, &unsigned) || unsigned.Code != code {
		t.Errorf("refused by %v, want %d", err, code)
	}
}

// relays sends a message to a peer on this machine by a relay, and the answer back.
func relays(t *testing.T, relay *turnclient.Allocation) {
	t.Helper()
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	limit := time.Now().Add(20 * time.Second)
	peer.SetDeadline(limit)
	relay.SetDeadline(limit)
	at := peer.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := relay.WriteToUDPAddrPort([]byte("a message there"), at); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := peer.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "a message there" || from != relay.RelayedAddr() {
		t.Fatalf("the peer got %q from %v, %v; want the relay at %v", buf[:n], from, err, relay.RelayedAddr())
	}
	if _, err := peer.WriteToUDPAddrPort([]byte("a message back"), from); err != nil {
		t.Fatal(err)
	}
	for from != at && err == nil { // others may have written to the relay, too
		n, from, err = relay.ReadFromUDPAddrPort(buf)
	}
	if err != nil || string(buf[:n]) != "a message back" || from != at {
		t.Fatalf("the relay got %q from %v, %v; want the peer at %v", buf[:n], from, err, at)
	}
}
