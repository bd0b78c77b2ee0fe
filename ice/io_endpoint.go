package ice

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
	"github.com/bradawl/bradawl/internal/tap"
	"github.com/bradawl/bradawl/internal/work"
	"github.com/bradawl/bradawl/natprobe"
)

// Endpoint is a set of sockets with any number of agents on them. It has one goroutine,
// and one for each socket, however many agents there are. Its methods may be called from
// any goroutine.
//
// A process should have one endpoint: it keeps what starts transactions 5 ms apart, as
// RFC 8445 section 14 wants it of all agents together.
type Endpoint struct {
	cfg    Config
	m      *Machine // the loop's
	loop   *drive.Loop
	log    logging.LeveledLogger
	ctx    context.Context
	cancel context.CancelFunc
	pool   *work.Pool         // what must block: looking up names, asking for relays
	agents map[AgentID]*Agent // the loop's

	mu      sync.Mutex
	sockets map[machine.SocketID]*socketTap
	streams map[streamKey]*streamTap
	next    machine.SocketID
	bases   map[netip.AddrPort]BaseID
	breaker *work.Breaker[string] // of TCP dials, and of names that are looked up
	once    sync.Once
	err     error
}

type streamKey struct{ local, remote netip.AddrPort }

// Listen opens the sockets and starts to gather candidates, which nothing waits for. ctx
// is for the opening alone. The error is a *ConfigError, or the system's.
func Listen(ctx context.Context, cfg Config) (*Endpoint, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	m, err := NewMachine(cfg.machine(), mathrand.New(mathrand.NewChaCha8(seed)), rand.Reader)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{
		cfg: cfg, m: m, pool: work.NewPool(work.PoolConfig{}), agents: make(map[AgentID]*Agent),
		log:     plog.OrDiscard(cfg.LoggerFactory).NewLogger("ice"),
		sockets: make(map[machine.SocketID]*socketTap), streams: make(map[streamKey]*streamTap),
		bases: make(map[netip.AddrPort]BaseID), breaker: work.NewBreaker[string](work.BreakerConfig{}),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	opened, err := e.open(ctx)
	if err != nil {
		opened.close()
		e.cancel()
		return nil, err
	}
	options := drive.Options{Sockets: opened.sockets, Listeners: opened.listeners, Dial: e.dial, Log: e.log}
	if e.loop, err = drive.Run(m, e.handle, options); err != nil {
		opened.close()
		e.cancel()
		return nil, fmt.Errorf("ice: %w", err)
	}
	_ = e.loop.Do(func(now time.Time) {
		m.Hold(now) // until the servers' names are known
		for _, b := range opened.bases {
			id, err := m.AddBase(now, b)
			if err != nil {
				e.log.Debugf("%v", err)
				continue
			}
			e.bases[b.Addr] = id
		}
		for range cfg.Relays {
			m.Hold(now)
		}
	})
	e.submit(e.findServers)
	for _, r := range cfg.Relays {
		e.submit(func(ctx context.Context) { e.allocate(ctx, r) })
	}
	return e, nil
}

// submit runs what must block.
func (e *Endpoint) submit(run func(ctx context.Context)) {
	if err := e.pool.Submit(e.ctx, run); err != nil {
		e.log.Warnf("%v", err)
		e.loop.Post(e.m.Release)
	}
}

// openings is what was opened for an endpoint.
type openings struct {
	sockets   []net.PacketConn
	listeners []net.Listener
	bases     []Base
}

func (o openings) close() {
	for _, s := range o.sockets {
		_ = s.Close()
	}
	for _, l := range o.listeners {
		_ = l.Close()
	}
}

// open opens a socket for each of the host's addresses and networks.
func (e *Endpoint) open(ctx context.Context) (o openings, err error) {
	hosts, err := e.cfg.Addrs()
	if err != nil {
		return o, err
	}
	var failures []error
	for _, h := range hosts {
		h.Addr = h.Addr.Unmap()
		if !h.Addr.IsValid() || e.cfg.Filter != nil && !e.cfg.Filter(h) {
			continue
		}
		family := "6"
		if h.Addr.Is4() {
			family = "4"
		}
		address := netip.AddrPortFrom(h.Addr, e.cfg.Port).String()
		if slices.Contains(e.cfg.Networks, "udp"+family) {
			if err := e.openUDP(ctx, &o, "udp"+family, address, h); err != nil {
				failures = append(failures, err)
			}
		}
		if slices.Contains(e.cfg.Networks, "tcp"+family) {
			if err := e.openTCP(ctx, &o, "tcp"+family, address, h); err != nil {
				failures = append(failures, err)
			}
		}
	}
	if len(o.bases) == 0 && len(failures) > 0 {
		return o, fmt.Errorf("ice: no socket could be opened: %w", errors.Join(failures...))
	}
	for _, err := range failures {
		e.log.Warnf("passed over a local address: %v", err)
	}
	return o, nil
}

func (e *Endpoint) openUDP(ctx context.Context, o *openings, network, address string, h HostAddr) error {
	pc, err := e.cfg.ListenPacket(ctx, network, address)
	if err != nil {
		return fmt.Errorf("%s %s: %w", network, address, err)
	}
	socket, err := newSocketTap(pc)
	if err != nil {
		_ = pc.Close()
		return fmt.Errorf("%s %s: %w", network, address, err)
	}
	e.sockets[e.next] = socket
	o.sockets = append(o.sockets, socket)
	o.bases = append(o.bases, Base{Socket: e.next, Addr: netip.AddrPortFrom(h.Addr, socket.LocalAddrPort().Port()), Interface: h.Interface})
	e.next++
	return nil
}

func (e *Endpoint) openTCP(ctx context.Context, o *openings, network, address string, h HostAddr) error {
	l, err := e.cfg.Listen(ctx, network, address)
	if err != nil {
		return fmt.Errorf("%s %s: %w", network, address, err)
	}
	local := netip.AddrPortFrom(h.Addr, netio.AddrPortOf(l.Addr()).Port())
	o.listeners = append(o.listeners, &tap.Listener{Listener: l, Tap: e.tapStream})
	o.bases = append(o.bases,
		Base{Transport: TCP, TCPType: Passive, Addr: local, Interface: h.Interface},
		Base{Transport: TCP, TCPType: Active, Addr: netip.AddrPortFrom(h.Addr, 0), Interface: h.Interface})
	return nil
}

// findServers looks up the STUN servers.
func (e *Endpoint) findServers(ctx context.Context) {
	servers, err := natprobe.ResolveServers(ctx, "ip", e.cfg.STUN...)
	e.loop.Post(func(now time.Time) {
		for _, s := range servers {
			e.m.AddServer(now, s)
		}
		if err != nil {
			e.handle(Event{Kind: EventServer, At: now, Err: err})
		}
		e.m.Release(now)
	})
}

// allocate gets a relayed address.
func (e *Endpoint) allocate(ctx context.Context, r Allocator) {
	pc, err := r.AllocateRelay(ctx)
	if err == nil && ctx.Err() != nil {
		_ = pc.Close()
		err = ctx.Err()
	}
	if err != nil {
		e.loop.Post(func(now time.Time) {
			e.handle(Event{Kind: EventServer, At: now, Err: fmt.Errorf("ice: no relayed address: %w", err)})
			e.m.Release(now)
		})
		return
	}
	socket, err := newSocketTap(pc)
	if err != nil {
		_ = pc.Close()
		e.loop.Post(e.m.Release)
		return
	}
	e.mu.Lock()
	id := e.next
	e.next++
	e.sockets[id] = socket
	e.mu.Unlock()
	base := Base{Type: Relay, Socket: id, Addr: socket.LocalAddrPort()}
	if m, ok := pc.(interface{ MappedAddr() netip.AddrPort }); ok {
		base.Mapped = m.MappedAddr()
	}
	if err := e.loop.AddSocket(id, socket); err != nil {
		_ = socket.Close()
	}
	e.loop.Post(func(now time.Time) {
		if _, err := e.m.AddBase(now, base); err != nil {
			e.log.Warnf("a relayed address cannot be used: %v", err)
		}
		e.m.Release(now)
	})
}

// dial opens a TCP connection of a pair.
func (e *Endpoint) dial(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error) {
	now := time.Now()
	e.mu.Lock()
	err := e.breaker.Allow(now, remote)
	e.mu.Unlock()
	if err != nil {
		return nil, err
	}
	conn, err := e.cfg.Dial(ctx, network, local, remote)
	if ctx.Err() == nil {
		e.mu.Lock()
		e.breaker.Report(time.Now(), remote, err == nil)
		e.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	return e.tapStream(conn), nil
}

// AddMapped tells an outside address that the router has mapped to one of our sockets:
// local is the address of a host candidate. It is told to peers as a server-reflexive
// candidate. The error is a *ConfigError, or ErrClosed.
func (e *Endpoint) AddMapped(local, outside netip.AddrPort) error {
	var known bool
	err := e.loop.Do(func(now time.Time) {
		var id BaseID
		if id, known = e.bases[local]; known {
			e.m.AddMapped(now, id, outside)
		}
	})
	switch {
	case err != nil:
		return ErrClosed
	case !known:
		return &ConfigError{"local", fmt.Sprintf("%v is not the address of one of our sockets; see LocalAddrs", local)}
	}
	return nil
}

// LocalAddrs returns the addresses of the UDP sockets: the host candidates.
func (e *Endpoint) LocalAddrs() (addrs []netip.AddrPort) {
	_ = e.loop.Do(func(time.Time) {
		for _, b := range e.m.bases {
			if b.Type == Host && b.Transport == UDP {
				addrs = append(addrs, b.addr)
			}
		}
	})
	return addrs
}

// NewAgent makes an agent. The error is a *ConfigError, or ErrClosed.
func (e *Endpoint) NewAgent(cfg AgentConfig) (*Agent, error) {
	a := newAgent(e)
	var err error
	if e.loop.Do(func(now time.Time) {
		var id AgentID
		if id, err = e.m.NewAgent(now, cfg); err == nil {
			a.id = id
			e.agents[id] = a // its first events come right after
		}
	}) != nil {
		err = ErrClosed
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Close closes all agents and sockets, and returns when every goroutine has ended.
func (e *Endpoint) Close() error {
	e.once.Do(func() {
		_ = e.loop.Do(func(now time.Time) {
			for _, a := range e.m.order() {
				a.close(now)
			}
		})
		e.cancel()
		e.err = e.loop.Close()
		e.pool.Close()
	})
	return e.err
}
