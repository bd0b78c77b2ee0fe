package simworld

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

const (
	knowLimit = 5 * time.Second  // for the peers to find out what their NATs do; where no UDP gets out they never do
	signLimit = 20 * time.Second // for them to sign on to the rendezvous
)

// Config is what a world is like.
type Config struct {
	Seed uint64      // of what happens by chance in it, but for the sessions' keys and waits
	NATs [2]string   // presets of simnet that the peers are behind; "": the peer is not there
	Link simnet.Link // between each peer and the internet
	// Session may change what each session is made with. nil: nothing.
	Session func(end int, cfg *bradawl.Config)
}

// World is an internet with a STUN server of two addresses, a TURN server, a rendezvous and
// two sessions behind NATs, or as many as join. It runs in the time that its user has: real, or a bubble's.
type World struct {
	*simnet.World
	Meet  netip.Addr // of the rendezvous
	Ends  [2]*bradawl.Session
	Sites [2]*simnet.Site // that they are on

	link     simnet.Link
	url      string // of the rendezvous
	stun     string
	turn     []bradawl.TURNServer
	names    []string // of all hosts with sessions, as they joined
	sessions []*bradawl.Session
	closers  []func()
}

// Open makes a world. Close it, whether it is used or not.
func Open(ctx context.Context, cfg Config) (*World, error) {
	w := &World{World: simnet.New(cfg.Seed), link: cfg.Link}
	if err := w.open(ctx, cfg); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Meet is Open, and waits until the two sessions can be dialled.
func Meet(ctx context.Context, cfg Config) (*World, error) {
	w, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := w.SignOn(ctx); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close ends what Open began, in the other order.
func (w *World) Close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}

// RoundTrip is how long a packet takes from one peer to the other and back.
func (w *World) RoundTrip() time.Duration { return 4 * w.link.Delay }

func (w *World) open(ctx context.Context, c Config) error {
	w.closers = append(w.closers, w.Go())
	stun, err := w.serveSTUN(ctx)
	if err != nil {
		return err
	}
	turn, err := w.serveTURN(ctx)
	if err != nil {
		return err
	}
	url, err := w.serveRendezvous(ctx)
	if err != nil {
		return err
	}
	w.url, w.stun, w.turn = url, stun, turn
	for i, nat := range c.NATs {
		if nat == "" {
			continue
		}
		if w.Ends[i], w.Sites[i], err = w.Join(ctx, Peers[i], nat, c.Link, func(cfg *bradawl.Config) {
			if c.Session != nil {
				c.Session(i, cfg)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// Join adds a host behind a NAT, and a session on it that the world closes. session may change
// what it is made with; nil: nothing.
func (w *World) Join(ctx context.Context, name, nat string, link simnet.Link, session func(*bradawl.Config)) (*bradawl.Session, *simnet.Site, error) {
	site, err := w.AddSite(name, nat, link)
	if err != nil {
		return nil, nil, err
	}
	cfg := bradawl.Config{
		Signaler: &rendezvous.Signaler{URL: w.url, Client: rendezvous.ClientConfig{DialContext: site.DialContext}},
		STUN:     []string{w.stun}, TURN: w.turn,
		ListenPacket: site.ListenPacket, Dial: site.DialFrom,
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return site.Listen(ctx, network, address, true)
		},
		Addrs: func() (all []ice.HostAddr, err error) {
			for _, a := range site.Addrs() {
				all = append(all, ice.HostAddr{Addr: a})
			}
			return all, nil
		},
	}
	if session != nil {
		session(&cfg)
	}
	s, err := bradawl.New(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	w.names, w.sessions = append(w.names, name), append(w.sessions, s)
	w.closers = append(w.closers, func() { _ = s.Close() }) // simulated sockets
	return s, site, nil
}

// Peers are the names of the two hosts.
var Peers = [2]string{"alice", "bob"}

// serveSTUN starts a STUN server with two addresses, for a NAT is told by how it treats two.
func (w *World) serveSTUN(ctx context.Context) (address string, err error) {
	ips := [2]netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, 240}), netip.AddrFrom4([4]byte{203, 0, 113, 241})}
	host := w.AddHost("stun", w.Internet(), simnet.Link{}, ips[:]...)
	s, err := stunserver.Listen(ctx, stunserver.Config{
		IP1: ips[0], IP2: ips[1], ListenPacket: host.ListenPacket,
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return host.Listen(ctx, network, address, true)
		},
	})
	if err != nil {
		return "", err
	}
	w.closers = append(w.closers, func() { _ = s.Close() })
	return s.Addrs()[0].String(), nil
}

// serveTURN starts a TURN server for UDP and TCP.
func (w *World) serveTURN(ctx context.Context) ([]bradawl.TURNServer, error) {
	host := w.AddHost("turn", w.Internet(), simnet.Link{})
	pc, err := host.ListenPacket(ctx, "udp4", ":3478")
	if err != nil {
		return nil, err
	}
	ln, err := host.Listen(ctx, "tcp4", ":443", false) // which is let out where little is
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	loop, err := drive.Run[struct{}](turntest.NewServer(turntest.Config{Relay: host.Addr()}, w.Secrets("turn")), nil, drive.Options{
		Sockets: []net.PacketConn{pc}, ListenPacket: host.ListenPacket, Listeners: []net.Listener{ln},
	})
	if err != nil {
		return nil, errors.Join(err, pc.Close(), ln.Close())
	}
	w.closers = append(w.closers, func() { _ = loop.Close() })
	return []bradawl.TURNServer{
		{URI: fmt.Sprintf("turn:%v:3478?transport=udp", host.Addr())},
		{URI: fmt.Sprintf("turn:%v:443?transport=tcp", host.Addr())},
	}, nil
}

// serveRendezvous starts a rendezvous, and returns its URL.
func (w *World) serveRendezvous(ctx context.Context) (url string, err error) {
	host := w.AddHost("rendezvous", w.Internet(), simnet.Link{})
	ln, err := host.Listen(ctx, "tcp", ":443", false)
	if err != nil {
		return "", err
	}
	handler, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		return "", errors.Join(err, ln.Close())
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends by Close
	}()
	w.closers = append(w.closers, func() {
		_ = handler.Close()
		_ = srv.Close()
		<-done
	})
	w.Meet = host.Addr()
	return fmt.Sprintf("ws://%v:443/", host.Addr()), nil
}

// Settle waits until all sessions can be dialled and, but not for ever, until they know
// their NATs.
func (w *World) Settle(ctx context.Context) error {
	know, cancel := context.WithTimeout(ctx, knowLimit)
	defer cancel()
	for _, s := range w.sessions {
		Await(know, s, func() bool { _, known := s.NAT(); return known })
	}
	if err := w.SignOn(ctx); err != nil {
		return err
	}
	select { // the sessions tell it before they make use of it
	case <-time.After(w.RoundTrip()):
	case <-ctx.Done():
	}
	return nil
}

// SignOn waits until all sessions can be dialled.
func (w *World) SignOn(ctx context.Context) error {
	sign, stop := context.WithTimeout(ctx, signLimit)
	defer stop()
	for i, s := range w.sessions {
		if !Await(sign, s, s.SignedOn) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s could not sign on to the rendezvous within %v", w.names[i], signLimit)
		}
	}
	return nil
}

// Await waits until something holds of a session, and reports whether it does.
func Await(ctx context.Context, s *bradawl.Session, holds func() bool) bool {
	if holds() {
		return true
	}
	for range s.Events(ctx) {
		if holds() {
			return true
		}
	}
	return holds()
}
