package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/bradawl/bradawl/examples/internal/talk"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

const (
	access   = 20 * time.Millisecond // between each side and the internet, one way
	rounds   = 5
	downtime = time.Second
	patience = 20 * time.Second // for one answer, the server's restart included
)

var demoUser = turnclient.Credentials{Username: "demo", Password: "only in the demo"}

// demo runs both sides and the server.
func demo(ctx context.Context, o options, p *talk.Printer) (err error) {
	w := simnet.New(o.seed)
	defer w.Go()()
	if o.verbose {
		w.OnTrace(func(e simnet.TraceEvent) { p.Line("net", "%v", e) })
	}
	server := &turnServer{host: w.AddHost("server", w.Internet(), simnet.Link{})}
	server.machine = turntest.NewServer(turntest.Config{
		Realm: "demo", Users: map[string]string{demoUser.Username: demoUser.Password}, Relay: server.host.Addr(),
	}, w.Secrets("server"))
	if err := server.start(ctx); err != nil {
		return err
	}
	defer func() { server.stop() }()
	p.Line("world", "a TURN server at %v, for UDP and TCP, %v from each side", server.host.Addr(), access)

	// The two are told each other's address here. Over the internet that is for what
	// brought them together: see punch/rendezvous.
	var (
		sides [2]*side
		wg    sync.WaitGroup
		errs  [2]error
		where = [2]chan netip.AddrPort{make(chan netip.AddrPort, 8), make(chan netip.AddrPort, 8)}
	)
	nats := [2]string{"symmetric-random", "udp-blocked"}
	for i, name := range []string{"alice", "bob"} {
		site, err := w.AddSite(name, nats[i], simnet.Link{Delay: access})
		if err != nil {
			return err
		}
		p.Line("world", "%s is %v behind a NAT: %s", name, site.Addr(), nats[i])
		cfg := turnclient.Config{
			Servers:     []string{fmt.Sprintf("turn:%v?transport=udp", server.host.Addr()), fmt.Sprintf("turn:%v?transport=tcp", server.host.Addr())},
			Credentials: demoUser, ListenPacket: site.ListenPacket, DialContext: site.DialContext,
		}
		note := func(format string, args ...any) { p.Line(name, format, args...) }
		wg.Go(func() {
			sides[i], errs[i] = open(ctx, 10*time.Second, cfg, note, func(a netip.AddrPort) { where[i] <- a })
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, s := range sides {
			if s != nil {
				err = errors.Join(err, s.close())
			}
		}
		wg.Wait()
	}()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	for i := range sides {
		wg.Go(func() { find(ctx, sides[i], where[1-i]) })
	}
	wg.Go(func() { answer(ctx, sides[1]) })

	for n := range rounds {
		trip, err := ask(ctx, sides[0], fmt.Sprint("message ", n+1))
		if err != nil {
			return err
		}
		p.Line("alice", "message %d came back from bob in %v", n+1, trip.Round(time.Millisecond))
	}
	p.Line("world", "the server is killed, and started again after %v: it knows nobody any more", downtime)
	server.stop()
	server.machine.Restart()
	started := make(chan error, 1)
	time.AfterFunc(downtime, func() { started <- server.start(ctx) })
	trip, err := ask(ctx, sides[0], "are you still there?")
	if err := errors.Join(<-started, err); err != nil {
		return err
	}
	p.Line("world", "done: alice and bob talk again %v after the server came back", (trip - downtime).Round(100*time.Millisecond))
	return nil
}

// find learns where the other side is, and where it is next.
func find(ctx context.Context, s *side, where <-chan netip.AddrPort) {
	for {
		select {
		case a := <-where:
			_ = s.meet(ctx, a) // events tell what came of it
		case <-ctx.Done():
			return
		}
	}
}

// answer sends back whatever comes.
func answer(ctx context.Context, s *side) {
	for {
		select {
		case text := <-s.heard:
			_ = s.send(text) // the other side asks again
		case <-ctx.Done():
			return
		}
	}
}

// ask sends text until it comes back, and returns how long that took.
func ask(ctx context.Context, s *side, text string) (time.Duration, error) {
	start := time.Now()
	for again := time.NewTicker(200 * time.Millisecond); ; {
		err := s.send(text)
		select {
		case got := <-s.heard:
			if got == text {
				return time.Since(start), nil
			}
		case <-again.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if time.Since(start) > patience {
			return 0, errors.Join(fmt.Errorf("%q did not come back within %v", text, patience), err)
		}
	}
}

// turnServer is the TURN server of the demo: a machine that is run on a simulated host.
type turnServer struct {
	host    *simnet.Host
	machine *turntest.Server
	mu      sync.Mutex
	loop    *drive.Loop
}

func (s *turnServer) start(ctx context.Context) error {
	pc, err := s.host.ListenPacket(ctx, "udp4", ":3478")
	if err != nil {
		return err
	}
	ln, err := s.host.Listen(ctx, "tcp4", ":3478", false)
	if err != nil {
		return errors.Join(err, pc.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loop, err = drive.Run[struct{}](s.machine, nil, drive.Options{
		Sockets: []net.PacketConn{pc}, ListenPacket: s.host.ListenPacket, Listeners: []net.Listener{ln},
	})
	return err
}

func (s *turnServer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loop != nil {
		_ = s.loop.Close() // simulated sockets
	}
}
