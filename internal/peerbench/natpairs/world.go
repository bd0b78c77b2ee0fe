package natpairs

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

const (
	access   = 20 * time.Millisecond // between each peer and the internet, one way
	half     = 2 * access            // from one peer to the other, and what signalling takes
	patience = 10 * time.Second      // for a direct path

	username, password = "user", "secret"
)

var (
	stunIPs = []netip.Addr{netip.MustParseAddr("203.0.113.240"), netip.MustParseAddr("203.0.113.241")}
	turnIP  = netip.MustParseAddr("203.0.113.242")
)

// world is an internet with a STUN server of two addresses, a TURN server over UDP and TCP,
// and two hosts behind NATs.
type world struct {
	*simnet.World
	t     testing.TB
	sites [2]*simnet.Site
}

// inWorld runs do in a world of its own in virtual time. That it returns shows that no
// goroutine is left.
func inWorld(t *testing.T, seed uint64, nats [2]string, do func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: simnet.New(seed), t: t}
		for i, nat := range nats {
			site, err := w.AddSite([2]string{"alice", "bob"}[i], nat, simnet.Link{Delay: access})
			w.check(err)
			w.sites[i] = site
		}
		stop := w.Go()
		defer stop()
		defer w.serve()()
		do(w)
	})
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// serve starts the servers.
func (w *world) serve() (stop func()) {
	host := w.AddHost("stun", w.Internet(), simnet.Link{}, stunIPs...)
	stun, err := stunserver.Listen(w.t.Context(), stunserver.Config{
		IP1: stunIPs[0], IP2: stunIPs[1], ListenPacket: host.ListenPacket,
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return host.Listen(ctx, network, address, true)
		},
	})
	w.check(err)
	host = w.AddHost("turn", w.Internet(), simnet.Link{}, turnIP)
	pc, err := host.ListenPacket(w.t.Context(), "udp4", ":3478")
	w.check(err)
	ln, err := host.Listen(w.t.Context(), "tcp4", ":443", false) // which is let out where little is
	w.check(err)
	turn, err := drive.Run[struct{}](turntest.NewServer(turntest.Config{
		Relay: turnIP, Realm: "example.org", Users: map[string]string{username: password},
	}, w.Secrets("turn")), nil, drive.Options{
		Sockets: []net.PacketConn{pc}, ListenPacket: host.ListenPacket, Listeners: []net.Listener{ln},
	})
	w.check(err)
	return func() {
		_ = turn.Close() // simulated sockets
		_ = stun.Close()
	}
}

// outcome is what became of one meeting.
type outcome struct {
	usable time.Duration // from the start until the dialling side can send; 0: it never could
	direct time.Duration // until its path is direct; 0: it never was
}
