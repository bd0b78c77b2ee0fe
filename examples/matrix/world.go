package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
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
	access    = 20 * time.Millisecond // between each peer and the internet, one way
	roundTrip = 4 * access            // between the peers
	knowLimit = 5 * time.Second       // for the peers to find out what their NATs do; where no UDP gets out they never do
	signLimit = 20 * time.Second      // for them to sign on to the rendezvous
	dialLimit = 10 * time.Second      // for the first path
	// believe is how long a connection must have called itself impossible to make direct
	// until it is believed.
	believe = time.Second
	// typical is what a connection takes with all around it, on average and roughly.
	typical = 4500 * time.Millisecond
)

// job is one connection to try.
type job struct {
	pair [2]string
	run  int
}

// jobs are those of all pairs, the first run of each before the second of any, so that what
// there is after an interruption is of all kinds.
func (o options) jobs() []job {
	var all []job
	for run := range o.runs {
		for i, a := range o.nats {
			for _, b := range o.nats[i:] {
				all = append(all, job{[2]string{a, b}, run})
			}
		}
	}
	return all
}

// seed is a job's own: what else is measured does not change it.
func (j job) seed(base uint64) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, base, j.pair, j.run)
	return h.Sum64()
}

// outcome is what became of one connection.
type outcome struct {
	job
	usable  time.Duration // from the dial to the first path; 0: there was none
	direct  time.Duration // from the dial to the first direct path; 0: there was none
	way     string        // of that: see wayOf
	packets [2]int        // that each peer sent from the dial on, but to the rendezvous
	why     string        // it is not direct
	took    time.Duration // with all around it

	err         error // it could not be tried
	interrupted bool
}

// sweep runs the jobs, so many at a time, until ctx ends.
func sweep(ctx context.Context, o options, jobs []job, results chan<- outcome) {
	next := make(chan job)
	var wg sync.WaitGroup
	for range min(o.parallel, len(jobs)) {
		wg.Go(func() {
			for j := range next {
				began := time.Now()
				r := o.try(ctx, j)
				r.interrupted = ctx.Err() != nil
				r.took = time.Since(began)
				results <- r
			}
		})
	}
	for _, j := range jobs {
		select {
		case next <- j:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
}

// try makes a world for a job, and has its peers connect.
func (o options) try(ctx context.Context, j job) outcome {
	r := outcome{job: j}
	w := &world{World: simnet.New(j.seed(o.seed))}
	defer w.close()
	if r.err = w.open(ctx, j.pair, simnet.Link{Delay: access, Loss: 1 - math.Sqrt(1-o.loss)}); r.err != nil {
		return r
	}
	if r.err = w.settle(ctx); r.err != nil {
		return r
	}
	from := j.run % 2 // each side dials every other time
	w.count()
	w.connect(ctx, from, o.timeout, &r)
	r.packets = w.counted()
	return r
}

// world is an internet with all that two sessions need, and these.
type world struct {
	*simnet.World
	meet    netip.Addr // of the rendezvous
	ends    [2]*bradawl.Session
	sent    [2]int // guarded by the world's lock
	closers []func()
}

// close ends what open began, in the other order.
func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}

func (w *world) open(ctx context.Context, nats [2]string, link simnet.Link) error {
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
	for i, nat := range nats {
		site, err := w.AddSite(peers[i], nat, link)
		if err != nil {
			return err
		}
		cfg := bradawl.Config{
			Signaler: &rendezvous.Signaler{URL: url, Client: rendezvous.ClientConfig{DialContext: site.DialContext}},
			STUN:     []string{stun}, TURN: turn, Timeout: dialLimit,
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
		if w.ends[i], err = bradawl.New(ctx, cfg); err != nil {
			return err
		}
		w.closers = append(w.closers, func() { _ = w.ends[i].Close() }) // simulated sockets
	}
	return nil
}

// peers are the names of the two hosts.
var peers = [2]string{"alice", "bob"}

// serveSTUN starts a STUN server with two addresses, for a NAT is told by how it treats two.
func (w *world) serveSTUN(ctx context.Context) (address string, err error) {
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
func (w *world) serveTURN(ctx context.Context) ([]bradawl.TURNServer, error) {
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
func (w *world) serveRendezvous(ctx context.Context) (url string, err error) {
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
	w.meet = host.Addr()
	return fmt.Sprintf("ws://%v:443/", host.Addr()), nil
}

// settle waits until both sessions can be dialled and, but not for ever, until they know
// their NATs.
func (w *world) settle(ctx context.Context) error {
	know, cancel := context.WithTimeout(ctx, knowLimit)
	defer cancel()
	for _, s := range w.ends {
		await(know, s, func() bool { _, known := s.NAT(); return known })
	}
	sign, stop := context.WithTimeout(ctx, signLimit)
	defer stop()
	for i, s := range w.ends {
		if !await(sign, s, s.SignedOn) {
			return fmt.Errorf("%s could not sign on to the rendezvous within %v", peers[i], signLimit)
		}
	}
	select { // the sessions tell it before they make use of it
	case <-time.After(roundTrip):
	case <-ctx.Done():
	}
	return nil
}

// await waits until something holds of a session, and reports whether it does.
func await(ctx context.Context, s *bradawl.Session, holds func() bool) bool {
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

// count counts packets from now on.
func (w *world) count() {
	w.OnTrace(func(e simnet.TraceEvent) {
		if e.What != "send" || e.Packet.Dst.Addr() == w.meet {
			return
		}
		for i, name := range peers {
			if e.Where == name {
				w.sent[i]++
			}
		}
	})
}

// counted ends that.
func (w *world) counted() [2]int {
	w.OnTrace(nil)
	return w.sent
}

// connect has one end dial the other, and sees what comes of it.
func (w *world) connect(ctx context.Context, from int, patience time.Duration, r *outcome) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	conn, err := w.ends[from].Dial(ctx, w.ends[1-from].ID())
	if err != nil {
		// That there is no path is an outcome; anything else is not.
		if tried, ok := errors.AsType[*bradawl.PathsError](err); ok {
			r.why = tried.Why
		} else {
			r.err = err
		}
		return
	}
	r.usable = time.Since(began)
	direct := make(chan time.Time, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range conn.Paths(ctx) {
			if p.Kind == bradawl.PathDirect {
				direct <- time.Now()
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	enough := time.NewTimer(patience - r.usable)
	defer enough.Stop()
	ask := time.NewTicker(believe / 4)
	defer ask.Stop()
	var hopeless time.Time // since when it is
	for {
		select {
		case at := <-direct:
			r.direct = at.Sub(began)
			r.way = wayOf(conn.Explain(), w.answered(ctx, 1-from))
			return
		case now := <-ask.C:
			if !conn.Explain().Infeasible {
				hopeless = time.Time{}
			} else if hopeless.IsZero() {
				hopeless = now
			}
			if conn.Err() == nil && (hopeless.IsZero() || now.Sub(hopeless) < believe) {
				continue
			}
		case <-enough.C:
		case <-ctx.Done():
		}
		r.why = conn.Explain().Why
		if err := conn.Err(); err != nil {
			r.why = err.Error()
		}
		return
	}
}

// answered is what the side that was dialled says of the connection; the zero value if that
// has none yet.
func (w *world) answered(ctx context.Context, end int) bradawl.Explanation {
	ctx, cancel := context.WithTimeout(ctx, roundTrip)
	defer cancel()
	conn, err := w.ends[end].Accept(ctx)
	if err != nil {
		return bradawl.Explanation{}
	}
	return conn.Explain()
}

// wayOf is in a word how a direct path came about: "tcp", the lane by which either side
// opened the way between NATs that ordinary checks do not get through, else "udp". ours is
// of the side whose path it is.
func wayOf(ours, theirs bradawl.Explanation) string {
	if ours.Path.Protocol != "udp" {
		return ours.Path.Protocol
	}
	way := ours.Path.Protocol
	for _, s := range slices.Concat(theirs.Story, ours.Story) {
		if lane, found := strings.CutPrefix(s.What, "lane "); found {
			if lane, _, opened := strings.Cut(lane, " opened the way"); opened {
				way = lane
			}
		}
	}
	return way
}
