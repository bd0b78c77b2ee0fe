package bradawl

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/turnclient"
)

// servers are the STUN and TURN servers in use, configured or named by the signalling.
type servers struct {
	s *Session

	mu      sync.Mutex
	stun    []string
	turn    []string // URIs
	clients []*turnclient.Client
	relays  []*turnclient.Allocation
	probing bool
	closed  bool
}

// add begins to use servers that are not in use yet.
func (v *servers) add(stun []string, turn []TURNServer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	var fresh []string
	for _, name := range stun {
		if !slices.Contains(v.stun, name) {
			v.stun = append(v.stun, name)
			fresh = append(fresh, name)
		}
	}
	s := v.s
	if len(fresh) > 0 && s.cfg.Policy != RelayOnly {
		s.wg.Go(func() { v.resolve(fresh) })
	}
	if len(fresh) > 0 && !s.cfg.NoNATProbe && s.cfg.Policy != RelayOnly && !v.probing {
		v.probing = true
		s.wg.Go(v.probe)
	}
	if s.cfg.Policy == DirectOnly {
		return
	}
	for _, t := range turn {
		if !slices.Contains(v.turn, t.URI) {
			v.turn = append(v.turn, t.URI)
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
	var fresh []string
	for _, uri := range turn {
		if slices.Contains(v.turn, uri) {
			continue
		}
		v.turn = append(v.turn, uri)
		if err := new(turnclient.Config).CheckServer(uri); err != nil {
			v.useless(err) // it must not take the others with it
		} else if len(fresh) < turnclient.MaxServers {
			fresh = append(fresh, uri)
		}
	}
	if len(fresh) > 0 && v.s.cfg.Policy != DirectOnly && !v.closed {
		v.s.wg.Go(func() { v.relay(fresh, turnclient.Credentials{Username: username, Password: password}, true) })
	}
}

// resolve looks up STUN servers and has them asked.
func (v *servers) resolve(names []string) {
	s := v.s
	addrs, err := natprobe.ResolveServers(s.ctx, "ip", names...)
	for wait := lookAgainLeast; err != nil && len(addrs) == 0; wait = min(2*wait, lookAgainMost) {
		v.useless(err) // a host that was just switched on often has no DNS yet
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
			return
		}
		addrs, err = natprobe.ResolveServers(s.ctx, "ip", names...)
	}
	if err != nil {
		v.useless(err)
	}
	s.loop.Post(func(now time.Time) {
		for _, a := range addrs {
			s.c.ice.AddServer(now, a)
		}
		s.c.pump(now)
	})
	for _, l := range s.tcp {
		for _, a := range addrs {
			if a.Addr().Is4() == l.addr.Addr().Is4() && !l.addr.Addr().IsLoopback() {
				s.wg.Go(func() { s.mapTCP(l, a) })
				break // one tells
			}
		}
	}
}

// probe finds out what the NAT does, as soon as there is a server that helps.
func (v *servers) probe() {
	s := v.s
	report, err := v.discover()
	for wait := lookAgainLeast; err != nil; wait = min(2*wait, lookAgainMost) {
		if silent := new(natprobe.NoAnswersError); errors.As(err, &silent) && s.ctx.Err() == nil {
			v.useless(err) // of others, resolve tells
			s.loop.Post(func(time.Time) { s.c.mute = true })
		}
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
			return
		}
		report, err = v.discover()
	}
	s.info.Lock()
	s.nat, s.natOK = report, true
	s.info.Unlock()
	s.loop.Post(func(now time.Time) {
		s.c.setProfile(now, report.Profile())
		s.publish(Event{Kind: EventNAT, At: now, Reason: report.Type.String()}) // who dials now has it in the offer
	})
}

// discover asks the servers that are known by now.
func (v *servers) discover() (natprobe.Report, error) {
	s := v.s
	v.mu.Lock()
	cfg := v.prober(slices.Clone(v.stun[:min(len(v.stun), natprobe.MaxServers)]))
	v.mu.Unlock()
	cfg.NoTCP = len(s.tcp) == 0
	if s.ports != nil {
		cfg.Gateway = s.ports.ExternalAddr
	}
	return natprobe.Discover(s.ctx, cfg)
}

func (v *servers) prober(names []string) natprobe.Config {
	c := &v.s.cfg
	return natprobe.Config{Servers: names, ListenPacket: c.ListenPacket, Dial: c.Dial, LoggerFactory: c.LoggerFactory}
}

// lookAtTCP finds out what the NAT does with TCP, where there can be paths of it.
func (v *servers) lookAtTCP() {
	s := v.s
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(s.tcp) == 0 {
		return
	}
	names := slices.Clone(v.stun)
	s.wg.Go(func() {
		p, err := natprobe.NewProber(v.prober(names))
		if err != nil {
			return // Discover has said so
		}
		report, err := p.DiscoverTCP(s.ctx)
		if err != nil {
			s.log.Debugf("NAT, TCP: %v", err)
			return
		}
		s.info.Lock()
		s.nat.TCP = &report
		s.info.Unlock()
		s.loop.Post(func(now time.Time) { s.c.setTCP(now, report.Profile()) })
	})
}

// relay gets a relayed address, from one of several servers, and keeps the session's
// agents told of it. lent says that the signalling has given the credentials, and will give
// others.
func (v *servers) relay(uris []string, credentials turnclient.Credentials, lent bool) {
	s := v.s
	cfg := turnclient.Config{
		Servers: uris, Credentials: credentials, ListenPacket: s.cfg.ListenPacket, Mobility: true, LoggerFactory: s.cfg.LoggerFactory,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.cfg.Dial(ctx, network, netip.AddrPort{}, address)
		},
	}
	if lent {
		cfg.Credentials, cfg.FetchCredentials = turnclient.Credentials{}, v.fetch(credentials)
	}
	client, err := turnclient.Dial(s.ctx, cfg)
	for wait := lookAgainLeast; err != nil; wait = min(2*wait, lookAgainMost) {
		v.useless(err)
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
			return
		}
		client, err = turnclient.Dial(s.ctx, cfg)
	}
	v.mu.Lock()
	v.clients = append(v.clients, client)
	closed := v.closed
	v.mu.Unlock()
	if closed {
		_ = client.Close()
		return
	}
	allocation := v.allocate(client)
	if allocation == nil {
		return
	}
	l, err := s.tapSocket(allocation, ice.HostAddr{Addr: allocation.RelayedAddr().Addr()})
	if err != nil {
		return
	}
	if s.loop.AddSocket(l.id, l.socket) != nil {
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
func (v *servers) allocate(client *turnclient.Client) *turnclient.Allocation {
	for {
		ctx, cancel := context.WithTimeout(v.s.ctx, allocateFor)
		allocation, err := client.Allocate(ctx)
		cancel()
		if err == nil {
			return allocation
		}
		if v.s.ctx.Err() == nil {
			v.useless(err)
		}
		select {
		case <-time.After(allocateAgain):
		case <-v.s.ctx.Done():
			return nil
		}
	}
}

func (v *servers) useless(err error) {
	v.s.log.Debugf("%v", err)
	v.s.publish(Event{Kind: EventServer, At: time.Now(), Err: err})
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
