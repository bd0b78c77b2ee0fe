package bradawl

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/internal/tap"
)

// The tests here are about what a session's readers do with data, beside the loop.

var fromPeer = ice.Route{Socket: 1, Remote: netip.MustParseAddrPort("192.0.2.9:4000")}

// taker is a connection whose reader wants what is there and no more.
type taker struct {
	*Conn
	reads uint64
}

// taking is a session with one connection, without a loop, and what seals for it.
func taking(t *testing.T, cfg Config) (s *Session, taken *taker, peer *seal.Keys) {
	t.Helper()
	ours, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	offer, message, err := seal.NewOffer(theirs, ours.ID(), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	received, err := seal.Receive(ours, message, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	answer, keys, err := received.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, peer, err = offer.Finish(answer); err != nil {
		t.Fatal(err)
	}
	cfg.ReadBuffer = 10
	s = &Session{cfg: cfg, byIndex: make(map[uint32]*Conn), plain: make(map[ice.Route]*Conn)}
	c := s.newConn(note{conn: 1, keys: keys, ours: 0x010203})
	c.heard.Store(true)
	c.known.Store(&[]ice.Route{fromPeer})
	s.byIndex[c.ours] = c
	if cfg.Plaintext {
		s.plain[fromPeer] = c
	}
	return s, &taker{Conn: c}, peer
}

// next is what is to be read next; nil: nothing is.
func (c *taker) next(t *testing.T) []byte {
	t.Helper()
	if c.Stats().In == c.reads {
		return nil
	}
	c.reads++
	b := make([]byte, 2000)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// TestTakePlain: in plaintext data is handed on as it came, whatever it begins with, and what is
// sealed for the connection is opened.
func TestTakePlain(t *testing.T) {
	s, c, peer := taking(t, Config{Plaintext: true})
	sealed := peer.Seal(nil, seal.Data, c.ours, []byte("sealed"))
	alike := bytes.Clone(sealed)
	alike[len(alike)-1]++
	for _, what := range []struct{ came, read []byte }{
		{[]byte("no more than text"), []byte("no more than text")},
		{bytes.Clone(alike), alike}, // as if it were sealed for this connection
		{peer.Seal(nil, seal.Data, c.ours+1, []byte("another's")), nil},
		{sealed, []byte("sealed")},
	} {
		want := what.read
		if want == nil {
			want = bytes.Clone(what.came)
		}
		if taken := s.take(what.came, machine.Datagram{}, fromPeer); !taken {
			t.Errorf("%x is not taken", what.came)
		}
		if got := c.next(t); !bytes.Equal(got, want) {
			t.Errorf("%x is read, want %x", got, want)
		}
	}
	elsewhere := ice.Route{Socket: 1, Remote: netip.MustParseAddrPort("192.0.2.66:4000")}
	if s.take([]byte("of nobody that is known"), machine.Datagram{}, elsewhere) || s.take(alike, machine.Datagram{}, elsewhere) || c.next(t) != nil {
		t.Error("data is taken from anywhere")
	}
}

// TestTakeForged: what is not the peer's is counted, and nothing more.
func TestTakeForged(t *testing.T) {
	s, c, peer := taking(t, Config{})
	sealed := peer.Seal(nil, seal.Data, c.ours, []byte("once"))
	again, forged := bytes.Clone(sealed), bytes.Clone(sealed)
	forged[len(forged)-1]++
	if !s.take(sealed, machine.Datagram{}, fromPeer) || string(c.next(t)) != "once" {
		t.Error("it is not taken")
	}
	for i, b := range [][]byte{forged, again} {
		if !s.take(b, machine.Datagram{}, fromPeer) || c.next(t) != nil || c.Stats().Rejected != uint64(i+1) || c.Stats().In != 1 {
			t.Errorf("%d: %+v", i, c.Stats())
		}
	}
	framed := peer.Seal(nil, seal.Data, c.ours, []byte("framed"))
	if !s.takeData(bytes.Clone(framed)) || string(c.next(t)) != "framed" || !s.takeData(framed) || c.next(t) != nil || c.Stats().Rejected != 3 {
		t.Errorf("framed: %+v", c.Stats())
	}
	if s.take(peer.Seal(nil, seal.Data, c.ours+1, nil), machine.Datagram{}, fromPeer) || s.takeData([]byte("text")) {
		t.Error("what is for nobody is taken")
	}
}

// wired carries signalling between sessions of one process.
type wired map[PeerID]*wiring

type wiring struct {
	all wired
	id  PeerID
	box chan func() (PeerID, []byte)
}

func (w *wiring) SignOn(context.Context, *Identity) (Signals, error) { return w, nil }

func (w *wiring) Send(_ context.Context, to PeerID, message []byte) error {
	message = bytes.Clone(message)
	w.all[to].box <- func() (PeerID, []byte) { return w.id, message }
	return nil
}

func (w *wiring) Receive(ctx context.Context) (PeerID, []byte, error) {
	select {
	case next := <-w.box:
		from, message := next()
		return from, message, nil
	case <-ctx.Done():
		return PeerID{}, nil, ctx.Err()
	}
}

func (w *wiring) Close() error { return nil }

// onWire opens a session on loopback.
func onWire(t *testing.T, all wired) *Session {
	t.Helper()
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	w := &wiring{all: all, id: id.ID(), box: make(chan func() (PeerID, []byte), 100)}
	all[id.ID()] = w
	s, err := New(t.Context(), Config{
		Signaler: w, Identity: id, Loopback: true, WatchInterval: -1, Networks: []string{"udp4"}, NoNATProbe: true,
		Addrs: func() ([]ice.HostAddr, error) {
			return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestDataFromElsewhere: sealed data that comes from where none of the paths is tells that the
// peer may be there now: it is checked. What comes by a path is no news.
func TestDataFromElsewhere(t *testing.T) {
	all := make(wired)
	a, b := onWire(t, all), onWire(t, all)
	ours, err := a.Dial(t.Context(), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := b.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if n, err := theirs.Read(make([]byte, 100)); err != nil || n != 5 {
		t.Fatal(n, err)
	}
	known := (*theirs.known.Load())[0]
	silent, err := netio.ListenUDP(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	elsewhere := netio.AddrPortOf(silent.LocalAddr())
	for _, remote := range []netip.AddrPort{known.Remote, elsewhere} {
		sealed := ours.keys.Seal(nil, seal.Data, ours.index, []byte("again"))
		local := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), b.sockets[known.Socket].LocalAddrPort().Port())
		if !b.take(sealed, machine.Datagram{Socket: known.Socket, Local: local, Remote: remote}, ice.Route{Socket: known.Socket, Remote: remote}) {
			t.Error("it is not taken")
		}
		checked := false
		if err := b.loop.Do(func(time.Time) {
			checked = slices.ContainsFunc(b.c.ice.Pairs(b.c.conns[theirs.number].agent), func(p ice.Pair) bool { return p.Route.Remote == elsewhere })
		}); err != nil {
			t.Fatal(err)
		}
		if checked != (remote == elsewhere) {
			t.Errorf("from %v: checked elsewhere: %v", remote, checked)
		}
	}
}

// TestSocketClosedWhileOpening: a socket that is not wanted any more when it is open is closed,
// and nobody is told; nor is it kept where the loop does not take it.
func TestSocketClosedWhileOpening(t *testing.T) {
	s := onWire(t, make(wired))
	opening, may, closed := make(chan bool), make(chan bool), make(chan bool, 1)
	s.cfg.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
		close(opening)
		<-may
		pc, err := netio.ListenUDP(ctx, network, address)
		return closeTold{pc, closed}, err
	}
	const id = firstLane + 7
	at := netip.MustParseAddrPort("127.0.0.1:0")
	if err := s.loop.Do(func(time.Time) { s.effect(machine.Transmit{Op: machine.OpenSocket, Socket: id, Local: at}) }); err != nil {
		t.Fatal(err)
	}
	<-opening
	if err := s.loop.Do(func(time.Time) { s.effect(machine.Transmit{Op: machine.CloseSocket, Socket: id}) }); err != nil {
		t.Fatal(err)
	}
	close(may)
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("it is left open")
	}
	if err := s.loop.Do(func(time.Time) {
		if len(s.opening) != 0 {
			t.Errorf("%v are being opened", s.opening)
		}
	}); err != nil {
		t.Fatal(err)
	}

	s.cfg.ListenPacket = netio.ListenUDP
	const taken = 0 // by the session's own
	if _, err := s.openAs(taken, at); err == nil {
		t.Fatal("the loop has two sockets of one number")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.sockets[taken] != nil {
		t.Error("a socket that the loop did not take is kept")
	}
}

// closeTold is a socket that tells when it is closed.
type closeTold struct {
	net.PacketConn
	closed chan bool
}

func (c closeTold) Close() error {
	err := c.PacketConn.Close()
	select {
	case c.closed <- true:
	default: // it has been told
	}
	return err
}

// piped is a connection between two addresses.
type piped struct {
	net.Conn
	local, remote net.Addr
}

func (p piped) LocalAddr() net.Addr  { return p.local }
func (p piped) RemoteAddr() net.Addr { return p.remote }

// TestStreamsOfOneKey: when a connection ends whose addresses another one has by now, as a dial
// that is repeated, that one stays.
func TestStreamsOfOneKey(t *testing.T) {
	s := &Session{streams: make(map[streamKey]*tap.Stream)}
	local, remote := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("192.0.2.2:5000")
	route := []ice.Route{{Stream: 1, Local: local, Remote: remote}}
	var streams []*tap.Stream
	for range 2 {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = far.Close() })
		streams = append(streams, s.tapStream(piped{near, net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(remote)}))
	}
	for i, want := range []*tap.Stream{streams[1], nil} {
		if err := streams[i].Close(); err != nil {
			t.Fatal(err)
		}
		if out := s.outlets(route); want == nil && len(out) != 0 || want != nil && (len(out) != 1 || out[0].Stream != want) {
			t.Errorf("after %d have ended data leaves by %+v", i+1, out)
		}
	}
}

// TestOutletSource: data leaves from the address that the path is of, where a socket has several.
func TestOutletSource(t *testing.T) {
	socket := new(tap.Socket)
	s := &Session{sockets: map[machine.SocketID]*tap.Socket{1: socket}}
	local, remote := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("192.0.2.2:5000")
	out := s.outlets([]ice.Route{{Socket: 1, Local: local, Remote: remote}, {Socket: 2, Remote: remote}})
	if len(out) != 1 || out[0].Socket != socket || out[0].Remote != remote || out[0].Source.Source != local.Addr() {
		t.Errorf("%+v", out)
	}
}

// TestSystemDialFromListener: connections are opened from the port that is listened at, and a
// port that is in use otherwise is no reason to fail for those from any port.
func TestSystemDialFromListener(t *testing.T) {
	_, _, listen, dial := systemSockets(Config{Loopback: true})
	var at [2]netip.AddrPort
	for i := range at {
		ln, err := listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		at[i] = netio.AddrPortOf(ln.Addr())
	}
	for _, local := range []netip.AddrPort{at[0], netip.AddrPortFrom(at[0].Addr(), 0)} {
		c, err := dial(t.Context(), "tcp4", local, at[1].String())
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := netio.AddrPortOf(c.LocalAddr()); got.Addr() != local.Addr() || local.Port() != 0 && got != local {
			t.Errorf("from %v, want %v", got, local)
		}
		_ = c.Close()
	}
}
