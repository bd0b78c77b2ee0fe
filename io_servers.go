package bradawl

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/turnclient"
)

// servers are the STUN and TURN servers in use, configured or named by the signalling.
type servers struct {
	s    *Session
	find func(ctx context.Context, network string, names ...string) ([]netip.AddrPort, error) // natprobe.ResolveServers

	mu       sync.Mutex
	stun     []string
	found    []netip.AddrPort // of those, in the order in which they were looked up
	asked    []string         // of those, whose addresses were found: who looks at the NAT asks them
	more     chan struct{}    // closed, and made anew, when asked has more
	prober   *natprobe.Prober // by asked; nil: it is to be made
	surveyed bool
	turn     []string // URIs
	clients  []*turnclient.Client
	relays   []*turnclient.Allocation
	closed   bool
	warned   warned        // has a lock of its own
	changed  chan struct{} // closed, and made anew, when the network has changed and all is tried again: not each time at once
	left     chan struct{} // closed, and made anew, when the host has left a network: each time, and at once
}

// change tells those who wait that the network has changed: what was in vain need not be now.
func (v *servers) change() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.changed)
	v.changed = make(chan struct{})
}

// network returns a channel that is closed when the network is another than now.
func (v *servers) network() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// leave tells that the host has left a network: what was found out of it is of no use.
func (v *servers) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.left)
	v.left = make(chan struct{})
}

// here returns a channel that is closed when the host has left the network that it is in.
func (v *servers) here() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.left
}

// pause waits for d, or until the network is another; false: the session has ended.
func (v *servers) pause(network <-chan struct{}, d time.Duration) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-late.C:
	case <-network:
	case <-v.s.ctx.Done():
	}
	return v.s.ctx.Err() == nil
}

// longer is what to wait next: twice as long, or as at first if the network is another.
func longer(network <-chan struct{}, wait, least, most time.Duration) time.Duration {
	if isClosed(network) {
		return least
	}
	return min(2*wait, most)
}

// insist does something, of a server, until it succeeds, and begins anew when the network
// changes; false: the session has ended. What goes wrong meanwhile it tells.
func (v *servers) insist(of string, try func(context.Context) error, tell func(of string, err error)) bool {
	wait := lookAgainLeast
	for {
		network := v.network()
		ctx, cancel := v.s.within(network)
		err := try(ctx)
		cancel()
		if err == nil {
			return true
		}
		if v.s.ctx.Err() == nil && !isClosed(network) {
			tell(of, err)
		}
		if !v.pause(network, wait) {
			return false
		}
		wait = longer(network, wait, lookAgainLeast, lookAgainMost)
	}
}

// add begins to use servers of the configuration, and STUN servers that the signalling names.
func (v *servers) add(stun []string, turn []TURNServer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	s := v.s
	if s.cfg.Policy != RelayOnly {
		fresh := v.fresh(v.stun, stun, natprobe.MaxServers, natprobe.CheckServer, v.useless)
		v.stun = append(v.stun, fresh...)
		if len(fresh) > 0 {
			s.wg.Go(func() { v.resolve(fresh) })
		}
	}
	if s.cfg.Policy == DirectOnly {
		return
	}
	for _, t := range turn {
		if !slices.Contains(v.turn, t.URI) {
			v.turn = append(v.turn, t.URI)
			s.loop.Post(func(time.Time) { s.c.asksTURN() })
			s.wg.Go(func() {
				v.relay([]string{t.URI}, turnclient.Credentials{Username: t.Username, Password: t.Password}, false)
			})
		}
	}
}

// listed begins to use what the signalling names.
func (v *servers) listed(signals Signals) {
	l, ok := signals.(serverLister)
	if !ok {
		return
	}
	stun, turn, username, password, _ := l.Servers()
	v.add(stun, nil)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.s.cfg.Policy == DirectOnly {
		return
	}
	fresh := v.fresh(v.turn, turn, turnclient.MaxServers, v.s.cfg.TURNClient.CheckServer, v.relayless)
	v.turn = append(v.turn, fresh...)
	if len(fresh) > 0 {
		v.s.loop.Post(func(time.Time) { v.s.c.asksTURN() })
		v.s.wg.Go(func() { v.relay(fresh, turnclient.Credentials{Username: username, Password: password}, true) })
	}
}

// fresh are those of the servers named that are not in use yet and can be. What cannot is told,
// and does not take the others with it. They are never given up, so that they are bounded: who
// runs the rendezvous can name others at each sign-on.
func (v *servers) fresh(used, named []string, most int, check func(string) error, tell func(of string, err error)) (fresh []string) {
	over := 0
	for _, name := range named {
		if slices.Contains(used, name) || slices.Contains(fresh, name) {
			continue
		}
		if err := check(name); err != nil {
			tell(name, err)
		} else if len(used)+len(fresh) >= most {
			over++
		} else {
			fresh = append(fresh, name)
		}
	}
	if over > 0 {
		v.useless("", fmt.Errorf("bradawl: %d servers are passed over: %d are in use already, which is the most", over, most))
	}
	return fresh
}

// relay gets a relayed address, from one of several servers, and keeps the session's
// agents told of it. lent says that the signalling has given the credentials, and will give
// others.
func (v *servers) relay(uris []string, credentials turnclient.Credentials, lent bool) {
	s := v.s
	cfg := s.cfg.TURNClient
	cfg.Servers, cfg.Credentials, cfg.Mobility = uris, credentials, true
	if cfg.Keepalive == 0 {
		cfg.Keepalive = s.cfg.Keepalive
	}
	if cfg.ListenPacket == nil {
		cfg.ListenPacket = s.cfg.ListenPacket
	}
	if cfg.DialContext == nil {
		cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.cfg.Dial(ctx, network, netip.AddrPort{}, address)
		}
	}
	if cfg.LoggerFactory == nil {
		cfg.LoggerFactory = s.cfg.LoggerFactory
	}
	if lent {
		cfg.Credentials, cfg.FetchCredentials = turnclient.Credentials{}, v.fetch(credentials)
	}
	var client *turnclient.Client
	name := strings.Join(uris, ", ")
	if !v.insist(name, func(ctx context.Context) (err error) {
		client, err = turnclient.Dial(ctx, cfg)
		return err
	}, v.relayless) {
		return
	}
	v.mu.Lock()
	v.clients = append(v.clients, client)
	closed := v.closed
	v.mu.Unlock()
	if closed {
		_ = client.Close()
		return
	}
	allocation := v.allocate(name, client)
	if allocation == nil {
		return
	}
	l, err := s.tapSocket(allocation, ice.HostAddr{Addr: allocation.RelayedAddr().Addr()})
	if err == nil {
		err = s.use(l)
	}
	if err != nil {
		if s.ctx.Err() == nil {
			v.relayless(name, err)
		}
		return
	}
	v.mu.Lock()
	v.relays = append(v.relays, allocation)
	v.mu.Unlock()
	v.follow(allocation, l)
}

// fetch returns what the signalling gives last.
func (v *servers) fetch(last turnclient.Credentials) func(context.Context, turnclient.CredentialsRequest) (turnclient.Credentials, error) {
	return func(context.Context, turnclient.CredentialsRequest) (turnclient.Credentials, error) {
		if l, ok := v.s.Signals().(serverLister); ok {
			if _, _, username, password, _ := l.Servers(); username != "" {
				return turnclient.Credentials{Username: username, Password: password}, nil
			}
		}
		return last, nil
	}
}

// Times of getting at servers.
const (
	lookAgainLeast = 2 * time.Second
	lookAgainMost  = time.Minute

	allocateFor   = 8 * time.Second
	allocateAgain = 20 * time.Second
)

// allocate tries until there is an address, or the session has ended.
func (v *servers) allocate(name string, client *turnclient.Client) *turnclient.Allocation {
	for {
		network := v.network()
		ctx, cancel := context.WithTimeout(v.s.ctx, allocateFor)
		allocation, err := client.Allocate(ctx)
		cancel()
		if err == nil {
			return allocation
		}
		if v.s.ctx.Err() == nil {
			v.relayless(name, err)
		}
		if !v.pause(network, allocateAgain) {
			return nil
		}
	}
}

// useless tells that a server is of no use: the log warns of each once, for it is asked again
// and again.
func (v *servers) useless(of string, err error) {
	if v.warned.first(of) {
		v.s.log.Warnf("%v", err)
	} else {
		v.s.log.Debugf("%v", err)
	}
	v.s.publish(Event{Kind: EventServer, At: time.Now(), Err: err})
}

// relayless is useless of a TURN server, of which connections without a path tell as well.
func (v *servers) relayless(of string, err error) {
	v.useless(of, err)
	v.s.loop.Post(func(time.Time) { v.s.c.noRelay(err) })
}

// warned are the servers that the log has warned of. They are bounded, for the signalling can
// name others without end.
type warned struct {
	mu    sync.Mutex
	names map[string]bool
}

const maxWarned = 128

// first reports whether to warn of a server.
func (w *warned) first(of string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[of] || len(w.names) >= maxWarned {
		return false
	}
	if w.names == nil {
		w.names = make(map[string]bool)
	}
	w.names[of] = true
	return true
}

// follow tells the agents the relayed address, and each that takes its place.
func (v *servers) follow(allocation *turnclient.Allocation, l *local) {
	s := v.s
	var base ice.BaseID
	use := func() {
		s.loop.Post(func(now time.Time) {
			if base != 0 {
				s.c.removeBase(now, base)
				base = 0
			}
			if addr := allocation.RelayedAddr(); addr.IsValid() {
				s.c.relayBy(l.id, protocolOf(allocation.Server().Transport))
				base, _ = s.c.addBase(now, ice.Base{
					Type: ice.Relay, Socket: l.id, Addr: addr, Mapped: allocation.MappedAddr(), Server: allocation.Server().Addr.Addr(),
				})
			}
		})
	}
	used := allocation.RelayedAddr()
	use()
	for e := range allocation.Events() {
		if addr := allocation.RelayedAddr(); e.Kind == turnclient.EventAllocated && addr != used {
			used = addr
			use()
		}
	}
}

// permit lets the relays' own addresses in: peers' relayed addresses are often there.
func (v *servers) permit() {
	v.mu.Lock()
	relays := slices.Clone(v.relays)
	v.mu.Unlock()
	for _, a := range relays {
		ip := a.RelayedAddr().Addr()
		if ip == (netip.Addr{}) {
			continue
		}
		_ = v.s.pool.Submit(v.s.ctx, func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_ = a.Permit(ctx, ip)
		})
	}
}

// check has the relays look whether their addresses still stand.
func (v *servers) check() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.clients {
		c.NetworkChanged()
	}
}

func (v *servers) close() {
	v.mu.Lock()
	v.closed = true
	clients := v.clients
	v.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() { _ = c.Close() })
	}
	all.Wait()
}
