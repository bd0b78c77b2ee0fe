package interop_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/kernellab"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/stats"
)

// TestUpgradeThroughKernelNATs: two sessions behind kernel NATs, with a rendezvous and
// coturn outside. What goes from NAT to NAT is dropped until the sessions have talked by
// the relay; then they move to a direct path. Numbered messages flow both ways all the
// while, and each arrives just once.
func TestUpgradeThroughKernelNATs(t *testing.T) {
	lab := kernellab.New(t)
	need(t, "turnserver", "coturn", true)
	url := serveUpgrade(t, lab)
	publicA, publicB := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")
	private := netip.MustParseAddr("192.168.1.2") // the same on both sides, as it often is at home
	mend := lab.Cut(publicA, publicB)
	var ends [2]*upgradeEnd
	for i, public := range []netip.Addr{publicA, publicB} {
		name := string('a' + rune(i))
		host := lab.NAT(kernellab.NATConfig{Name: "nat-" + name, Public: public}).Host("host-"+name, private)
		ends[i] = newUpgradeEnd(t, host, url)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for _, e := range ends {
		if !e.awaitEvent(ctx, bradawl.EventSignalUp) {
			t.Fatal("not signed on")
		}
	}
	var err error
	if ends[0].conn, err = ends[0].session.Dial(ctx, ends[1].session.ID()); err != nil {
		t.Fatal(err)
	}
	if ends[1].conn, err = ends[1].session.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	for _, e := range ends {
		if p := e.conn.Path(); p.Kind != bradawl.PathRelay {
			t.Fatalf("by %v, though nothing gets from NAT to NAT", p)
		}
	}

	talk, stop := context.WithCancel(ctx)
	var senders, readers sync.WaitGroup
	for _, e := range ends {
		senders.Go(func() { e.send(talk) })
		readers.Go(e.read)
	}
	const some = 50
	for i, e := range ends { // by the relay
		if !e.awaitMessages(ctx, some) {
			t.Fatalf("side %d got %d messages by the relay\n%v", i, e.count(), e.conn.Explain())
		}
		if p := e.conn.Path(); p.Kind != bradawl.PathRelay {
			t.Fatalf("by %v", p)
		}
	}
	mended := time.Now()
	mend()
	for i, e := range ends {
		if !e.awaitDirect(ctx) {
			t.Fatalf("side %d: %v", i, e.conn.Explain())
		}
		if got, want := e.conn.Path().Remote.Addr(), []netip.Addr{publicB, publicA}[i]; got != want {
			t.Errorf("side %d reaches %v, want %v", i, got, want)
		}
	}
	t.Logf("direct %v after it was possible", time.Since(mended).Round(time.Millisecond))
	for i, e := range ends { // by the direct path
		if !e.awaitMessages(ctx, e.count()+some) {
			t.Fatalf("side %d: no messages after the upgrade\n%v", i, e.conn.Explain())
		}
	}
	stop()
	senders.Wait()
	for i, e := range ends {
		sent := ends[1-i].sent
		if !e.awaitMessages(ctx, int(sent)) {
			t.Errorf("side %d got %d of %d messages", i, e.count(), sent)
		}
	}
	for _, e := range ends {
		if err := e.conn.Close(); err != nil {
			t.Error(err)
		}
	}
	readers.Wait()
	for i, e := range ends {
		sent := ends[1-i].sent
		once := 0
		for n, times := range e.got {
			if n >= sent || times != 1 {
				t.Errorf("side %d got message %d of %d %d times", i, n, sent, times)
			}
			once++
		}
		t.Logf("side %d: %d of %d messages, each once", i, once, sent)
		if err := e.session.Close(); err != nil {
			t.Error(err)
		}
		e.checkRecord(t, i)
	}
}

// serveUpgrade runs coturn and a rendezvous on a public host until the test ends, and
// returns the URL of the rendezvous when they serve.
func serveUpgrade(t *testing.T, lab *kernellab.Lab) (url string) {
	t.Helper()
	public := lab.Public("servers", stun1)
	dir := t.TempDir()
	start(t, public.Command("turnserver", "-n", "--listening-ip", stun1.String(), "--relay-ip", stun1.String(),
		"--lt-cred-mech", "--realm", "example.org", "--user", turnUser.Username+":"+turnUser.Password,
		"--no-tls", "--no-dtls", "--no-cli", "--relay-threads", "1",
		"--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db")))
	awaitSTUN(t, public, netip.AddrPortFrom(stun1, 3478))
	meet, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	if err := public.Do(func() (err error) {
		ln, err = net.Listen("tcp4", rendezvousAddr.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: meet}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln) // until it is closed
	}()
	t.Cleanup(func() {
		meet.Close()
		srv.Close()
		<-done
	})
	return fmt.Sprintf("ws://%v/", rendezvousAddr)
}

// upgradeEnd is one of two sessions, with what it sent and got.
type upgradeEnd struct {
	session *bradawl.Session
	conn    *bradawl.Conn
	sent    uint64 // of the goroutine that sends

	mu      sync.Mutex
	got     map[uint64]int
	changed chan struct{} // closed, and made anew, with each message
	record  []stats.Event
}

func newUpgradeEnd(t *testing.T, host *kernellab.Namespace, url string) *upgradeEnd {
	t.Helper()
	e := &upgradeEnd{got: make(map[uint64]int), changed: make(chan struct{})}
	dial := func(ctx context.Context, network string, local netip.AddrPort, remote string) (c net.Conn, err error) {
		d := net.Dialer{}
		if local.IsValid() {
			d.LocalAddr, d.Control = net.TCPAddrFromAddrPort(local), netio.ReusePort
		}
		err = host.Do(func() (err error) {
			c, err = d.DialContext(ctx, network, remote)
			return err
		})
		return c, err
	}
	var err error
	e.session, err = bradawl.New(t.Context(), bradawl.Config{
		Signaler: &rendezvous.Signaler{URL: url, Client: rendezvous.ClientConfig{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return dial(ctx, network, netip.AddrPort{}, address)
			},
		}},
		STUN:     []string{netip.AddrPortFrom(stun1, 3478).String()},
		TURN:     []bradawl.TURNServer{{URI: fmt.Sprintf("turn:%v:3478?transport=udp", stun1), Username: turnUser.Username, Password: turnUser.Password}},
		Networks: []string{"udp4"},
		ListenPacket: func(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
			err = host.Do(func() (err error) {
				pc, err = netio.ListenUDP(ctx, network, address)
				return err
			})
			return pc, err
		},
		Dial: dial,
		Addrs: func() (all []ice.HostAddr, err error) {
			err = host.Do(func() (err error) {
				all, err = ice.SystemAddrs(false)
				return err
			})
			return all, err
		},
		ReadBuffer: 4096, // so that a slow reader loses nothing
		Record: func(event stats.Event) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.record = append(e.record, event)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.session.Close() })
	return e
}

func (e *upgradeEnd) awaitEvent(ctx context.Context, kind bradawl.EventKind) bool {
	for event := range e.session.Events(ctx) {
		if event.Kind == kind {
			return true
		}
	}
	return false
}

// send sends numbered messages until ctx ends.
func (e *upgradeEnd) send(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := e.conn.Write(binary.BigEndian.AppendUint64(nil, e.sent)); err != nil {
				return // what is missing then shows
			}
			e.sent++
		case <-ctx.Done():
			return
		}
	}
}

// read counts messages until the connection is over.
func (e *upgradeEnd) read() {
	buf := make([]byte, bradawl.MaxDatagram)
	for {
		n, err := e.conn.Read(buf)
		if err != nil {
			return
		}
		number := ^uint64(0)
		if n == 8 {
			number = binary.BigEndian.Uint64(buf)
		}
		e.mu.Lock()
		e.got[number]++
		close(e.changed)
		e.changed = make(chan struct{})
		e.mu.Unlock()
	}
}

func (e *upgradeEnd) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.got)
}

// awaitMessages returns when so many have come, whichever.
func (e *upgradeEnd) awaitMessages(ctx context.Context, count int) bool {
	for {
		e.mu.Lock()
		enough, changed := len(e.got) >= count, e.changed
		e.mu.Unlock()
		if enough {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (e *upgradeEnd) awaitDirect(ctx context.Context) bool {
	for p := range e.conn.Paths(ctx) {
		if p.Kind == bradawl.PathDirect {
			return true
		}
	}
	return false
}

// checkRecord holds what was recorded against what happened.
func (e *upgradeEnd) checkRecord(t *testing.T, side int) {
	t.Helper()
	last := make(map[stats.Stage]stats.Event)
	for _, event := range e.record {
		t.Logf("side %d: %v", side, event)
		if err := event.Validate(); err != nil {
			t.Error(err)
		}
		last[event.Stage] = event
	}
	for stage, pair := range map[stats.Stage]bool{stats.StageSignal: false, stats.StageRelay: true, stats.StageConnect: true, stats.StageUpgrade: true} {
		event := last[stage]
		relayed := event.Pair == stats.PairRelay
		if event.Status != stats.StatusSuccess || pair && (relayed == (stage == stats.StageUpgrade) || event.Protocol != stats.ProtocolUDP || event.IPVersion != 4) {
			t.Errorf("side %d: %v: %+v", side, stage, event)
		}
	}
	if connect, upgrade := last[stats.StageConnect], last[stats.StageUpgrade]; upgrade.Time.Before(connect.Time) {
		t.Errorf("side %d: upgraded %v, connected %v", side, upgrade.Time, connect.Time)
	}
}
