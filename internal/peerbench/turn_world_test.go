package peerbench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

const turnSeed = 1

var (
	serverIP   = netip.MustParseAddr("192.0.2.1")
	serverAddr = netip.AddrPortFrom(serverIP, 3478)
	access     = simnet.Link{Delay: 20 * time.Millisecond}
)

// world is a TURN server, pion/turn's, so that nobody can say that ours favours us; a
// host for either client; and hosts for peers. All are 20 ms from the internet and have
// public addresses. Time is virtual.
type world struct {
	*simnet.World
	t      *testing.T
	host   *simnet.Host // the server's
	sites  [2]*simnet.Host
	server *turn.Server
	began  time.Time

	mu     sync.Mutex
	denied netip.Addr // guarded by mu: a peer that the server refuses
	mute   netip.Addr // guarded by mu: a peer for which permissions are asked for in vain
	stale  [2]int     // guarded by mu: nonces that the server rejected, for each client
}

// inWorld runs test in a world. That it returns shows that no goroutine is left.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: simnet.New(turnSeed), t: t}
		w.host = w.AddHost("turn", w.Internet(), access, serverIP)
		for i, name := range []string{"ours", "pion"} {
			w.sites[i] = w.AddHost(name, w.Internet(), access)
		}
		stop := w.Go()
		defer stop()
		w.serve()
		defer func() { w.stop() }()
		w.began = time.Now()
		test(t, w)
	})
}

func (w *world) elapsed() time.Duration { return time.Since(w.began) }

// serve starts the server, which knows nothing of what was.
func (w *world) serve() {
	pc, err := w.host.ListenPacket(w.t.Context(), "udp4", serverAddr.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.server, err = turn.NewServer(turn.ServerConfig{
		Realm: "example.org",
		AuthHandler: func(name, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(name, realm, turnCreds.Password), name == turnCreds.Username
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: plain{pc}, RelayAddressGenerator: relays{w.host}, PermissionHandler: w.permits,
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// stop ends the server as a crash does.
func (w *world) stop() {
	if w.server != nil {
		if err := w.server.Close(); err != nil {
			w.t.Error(err)
		}
		w.server = nil
	}
}

// unplug cuts the server off, and joins it again.
func (w *world) unplug(off bool) {
	link := access
	link.Down = off
	w.host.Iface().SetLink(link, link)
}

// set says how a peer is treated from now on.
func (w *world) set(which *netip.Addr, ip netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*which = ip
}

func (w *world) permits(_ net.Addr, peer net.IP) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return peer.String() != w.denied.String()
}

// listen opens a client's socket. What it sends for a permission of the peer that is
// mute gets lost; stale nonces are counted.
func (w *world) listen(who int, network, address string) (net.PacketConn, error) {
	pc, err := w.sites[who].ListenPacket(context.Background(), network, address)
	return watched{plain{pc}, w, who}, err
}

type watched struct {
	plain
	w   *world
	who int
}

func (l watched) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := l.plain.ReadFrom(b)
	var m wire.Message
	if err == nil && m.Decode(b[:n]) == nil {
		if code, _, _ := m.ErrorCode(); code == wire.CodeStaleNonce {
			l.w.mu.Lock()
			l.w.stale[l.who]++
			l.w.mu.Unlock()
		}
	}
	return n, from, err
}

func (l watched) WriteTo(b []byte, to net.Addr) (int, error) {
	l.w.mu.Lock()
	mute := l.w.mute
	l.w.mu.Unlock()
	var m wire.Message
	if mute.IsValid() && m.Decode(b) == nil && m.Class() == wire.Request {
		peers, _ := m.AppendXORAddresses(nil, wire.AttrXORPeerAddress, 64)
		if slices.ContainsFunc(peers, func(p netip.AddrPort) bool { return p.Addr() == mute }) {
			return len(b), nil
		}
	}
	return l.plain.WriteTo(b, to)
}

// plain is a simulated socket as a real one is that did not ask for more: an ICMP error
// is no error of a read. pion's loops end at the first one that they get.
type plain struct{ net.PacketConn }

func (p plain) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err == nil || !netio.IsTransient(err) {
			return n, from, err
		}
	}
}

// relays opens relayed addresses on a simulated host.
type relays struct{ *simnet.Host }

func (relays) Validate() error { return nil }

func (r relays) AllocatePacketConn(network string, port int) (net.PacketConn, net.Addr, error) {
	pc, err := r.ListenPacket(context.Background(), network, netip.AddrPortFrom(serverIP, uint16(port)).String())
	if err != nil {
		return nil, nil, err
	}
	return plain{pc}, pc.LocalAddr(), nil
}

func (relays) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.ErrUnsupported
}

// echo is a peer that sends back what it gets until the test ends.
func (w *world) echo(name string) (at netip.AddrPort, stop func()) {
	host := w.AddHost(name, w.Internet(), access)
	pc, err := host.ListenPacket(w.t.Context(), "udp4", ":7")
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := plain{pc}.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[:n], from)
		}
	}()
	return netip.AddrPortFrom(host.Addr(), 7), func() { pc.Close() }
}

// diary is what happened to somebody, in order.
type diary struct {
	w *world

	mu    sync.Mutex
	lines []line         // guarded by mu
	said  map[string]int // guarded by mu: the line of each warning
	over  bool           // guarded by mu: nothing else is noted
}

type line struct {
	at    time.Duration
	text  string
	times int
}

func (w *world) diary() *diary { return &diary{w: w, said: make(map[string]int)} }

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.over {
		d.lines = append(d.lines, line{d.w.elapsed(), fmt.Sprintf(format, args...), 1})
	}
}

// end notes a last line.
func (d *diary) end(format string, args ...any) {
	d.note(format, args...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
}

// warn notes a warning once, and how often it came, whatever numbers and transaction
// IDs are in it.
func (d *diary) warn(text string) {
	text = numbers.ReplaceAllString(transactionID.ReplaceAllString(text, ""), "#")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return
	}
	if i, ok := d.said[text]; ok {
		d.lines[i].times++
		return
	}
	d.said[text] = len(d.lines)
	d.lines = append(d.lines, line{d.w.elapsed(), text, 1})
}

var (
	numbers       = regexp.MustCompile("[0-9]+")
	transactionID = regexp.MustCompile(" for [A-Za-z0-9+/]{16}$")
)

// sideBySide merges diaries into the rows of a table.
func sideBySide(diaries ...*diary) string {
	type row struct {
		line
		column int
	}
	var rows []row
	for i, d := range diaries {
		for _, l := range d.lines {
			rows = append(rows, row{l, i})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	var out strings.Builder
	for _, r := range rows {
		if r.times > 1 {
			r.text += fmt.Sprintf(" (%d times)", r.times)
		}
		fmt.Fprintf(&out, "%.1f s%s%s%s\n", r.at.Seconds(), strings.Repeat("\t", r.column+1), r.text, strings.Repeat("\t", len(diaries)-1-r.column))
	}
	return out.String()
}

// open gets an allocation by our client, 0, or pion's, 1, and has d kept.
func (w *world) open(who int, d *diary) (relay net.PacketConn, stop func()) {
	if who == 0 {
		return w.openOurs(d)
	}
	return w.openPions(d)
}

// openOurs gets an allocation by our client, and has its events noted.
func (w *world) openOurs(d *diary) (net.PacketConn, func()) {
	client, err := turnclient.Dial(w.t.Context(), turnclient.Config{
		Servers: []string{"turn:" + serverAddr.String() + "?transport=udp"}, Credentials: turnCreds,
		ListenPacket: func(_ context.Context, network, address string) (net.PacketConn, error) {
			return w.listen(0, network, address)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	relay, err := client.Allocate(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		for e := range relay.Events() {
			switch e.Kind {
			case turnclient.EventState:
				d.note("state %v", e.State)
			case turnclient.EventAllocated:
				d.note("relayed address %v", e.Relayed[0])
			}
		}
	}()
	return relay, func() { _ = client.Close() } // the server may be gone
}

// openPions gets an allocation by pion's client, and has its warnings noted.
func (w *world) openPions(d *diary) (relay net.PacketConn, stop func()) {
	pc, err := w.listen(1, "udp4", ":0")
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: serverAddr.String(), Conn: pc, LoggerFactory: d,
		Username: turnCreds.Username, Password: turnCreds.Password,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		w.t.Fatal(err)
	}
	if relay, err = client.Allocate(); err != nil {
		w.t.Fatal(err)
	}
	d.note("relayed address %v", relay.LocalAddr())
	return relay, func() {
		_ = relay.Close() // says that it could not tell the server
		client.Close()
		pc.Close()
	}
}

// NewLogger implements logging.LoggerFactory.
func (d *diary) NewLogger(string) logging.LeveledLogger { return words{d} }

// words has warnings noted, of which errors are repeated, and what ends its reading.
type words struct{ d *diary }

func (words) Trace(string)          {}
func (words) Tracef(string, ...any) {}
func (words) Debug(string)          {}
func (w words) Debugf(format string, args ...any) {
	if strings.Contains(format, "Exiting loop") {
		w.Warnf(format, args...)
	}
}
func (words) Info(string)                        {}
func (words) Infof(string, ...any)               {}
func (w words) Warn(msg string)                  { w.d.warn(msg) }
func (w words) Warnf(format string, args ...any) { w.d.warn(fmt.Sprintf(format, args...)) }
func (words) Error(string)                       {}
func (words) Errorf(string, ...any)              {}
