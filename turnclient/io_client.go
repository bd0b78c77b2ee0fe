package turnclient

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// Client gets allocations from TURN servers. Its methods may be called from any
// goroutine.
type Client struct {
	cfg    Config
	log    logging.LeveledLogger
	m      *Machine
	loop   *drive.Loop
	ctx    context.Context // ends what runs beside the loop; never handed on
	cancel context.CancelFunc
	wg     sync.WaitGroup

	servers *directory

	allocs map[AllocationID]*Allocation // the loop's

	mu     sync.Mutex
	closed bool                 // guarded by mu
	taps   map[linkKey]tapped   // guarded by mu
	open   map[*Allocation]bool // guarded by mu
}

// tapped is a tap of any kind.
type tapped interface {
	sender
	attach(p *path, server netip.AddrPort)
}

// Dial resolves the servers' names and returns a Client, which the caller must Close.
// Nothing is sent to a server before Allocate. ctx bounds Dial alone.
//
// The error is a *ConfigError, or a *ResolveError for each server if none could be found.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	setDefault(&cfg.ReadBuffer, 256)
	if cfg.ListenPacket == nil {
		cfg.ListenPacket = netio.ListenUDP
	}
	if cfg.DialContext == nil {
		cfg.DialContext = (&net.Dialer{}).DialContext
	}
	c := &Client{
		cfg: cfg, log: plog.OrDiscard(cfg.LoggerFactory).NewLogger("turnclient"),
		allocs: make(map[AllocationID]*Allocation), taps: make(map[linkKey]tapped),
		open: make(map[*Allocation]bool),
	}
	var err error
	if c.servers, err = newDirectory(&c.cfg); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.start(ctx); err != nil {
		c.cancel()
		c.wg.Wait()
		return nil, err
	}
	return c, nil
}

// start finds servers and runs the machine.
func (c *Client) start(ctx context.Context) error {
	answers := c.servers.look(c.ctx, c.run, 0)
	if err := c.servers.await(ctx, answers); err != nil {
		return err
	}
	m, err := NewMachine(c.cfg.machine(c.servers.endpoints(), usage{c}), mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())), rand.Reader)
	if err != nil {
		return err
	}
	c.cfg.Credentials = Credentials{} // the machine has them
	c.m = m
	c.loop, err = drive.Run[Event](c.m, c.handle, drive.Options{ListenPacket: c.listen, Dial: c.dial, Log: c.log})
	if err != nil {
		return fmt.Errorf("turnclient: %w", err)
	}
	c.learn(answers)
	return nil
}

// Format implements fmt.Formatter: a client holds secrets, so nothing of it is shown.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprint(f, "turnclient.Client") }

// Allocate gets a relayed address and returns it once it stands. It may be called
// several times; each allocation has a socket of its own.
//
// Where all servers are silent it takes the 39.5 s of RFC 8489 (sections 6.2.1 and 6.2.2), over
// UDP and over TCP: requests may be lost, and a server may be slow. Give ctx a deadline to
// have an error sooner.
//
// The error is ErrClosed or an *AllocateError, which holds a *ServerError for each
// server that was asked and ctx's error, if that ended the wait.
func (c *Client) Allocate(ctx context.Context) (*Allocation, error) {
	return c.AllocateWith(ctx, Options{})
}

// AllocateWith is Allocate with wishes, which may also be the cause of a *ConfigError.
func (c *Client) AllocateWith(ctx context.Context, o Options) (*Allocation, error) {
	a := newAllocationShell(c)
	if err := c.allocate(ctx, a, func(now time.Time) (AllocationID, error) { return c.m.AllocateWith(now, o) }); err != nil {
		return nil, err
	}
	return a, nil
}

// allocate has start begin an allocation for a, and returns once it stands.
func (c *Client) allocate(ctx context.Context, a *Allocation, start func(now time.Time) (AllocationID, error)) error {
	if ctx.Err() != nil {
		return &AllocateError{Cause: context.Cause(ctx)}
	}
	if found := c.lookAgain(fresh); found != nil {
		late := time.NewTimer(freshWait)
		defer late.Stop()
		select {
		case <-found:
		case <-late.C: // what was found before must do
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.open[a] = true
	c.mu.Unlock()
	var err error
	if c.loop.Do(func(now time.Time) {
		if a.isClosed() {
			close(a.released) // by Client.Close, which waits for it
			return
		}
		if a.id, err = start(now); err != nil {
			close(a.released)
			return
		}
		c.allocs[a.id] = a
	}) != nil {
		return ErrClosed
	}
	if err != nil {
		c.mu.Lock()
		delete(c.open, a)
		c.mu.Unlock()
		return err
	}
	select {
	case err = <-a.ready:
	default:
		select {
		case err = <-a.ready:
		case <-ctx.Done():
			select {
			case err = <-a.ready: // it came just now
			default:
				var soFar []error
				_ = c.loop.Do(func(now time.Time) { soFar = c.m.soFar(now, a.id) }) // closed: nothing
				err = &AllocateError{Attempts: soFar, Cause: context.Cause(ctx)}
			}
		case <-a.closing:
			err = ErrClosed
		}
	}
	if err != nil {
		a.abandon()
	}
	return err
}

// NetworkChanged tells the client that the host's addresses or routes have changed, so
// that it need not find out by silence. Allocations keep running on their old path
// while new ones are tried.
func (c *Client) NetworkChanged() { c.loop.Post(func(now time.Time) { c.m.NetworkChanged(now) }) }

// SetMappingLifetime tells the client how long the NAT in front keeps a UDP mapping that
// nothing uses, once that has been measured: see MachineConfig.MappingLifetime.
func (c *Client) SetMappingLifetime(d time.Duration) {
	c.loop.Post(func(now time.Time) { c.m.SetMappingLifetime(now, d) })
}

// Close deletes all allocations at their servers, waiting at most two seconds for the
// answers, and returns once every goroutine has ended. The error is of the first
// allocation that may still stand at its server.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	var all []*Allocation
	for a := range c.open {
		all = append(all, a)
	}
	c.mu.Unlock()
	c.cancel()
	var first error
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, a := range all {
		wg.Go(func() { errs[i] = a.Close() })
	}
	wg.Wait()
	for _, err := range errs {
		if first == nil {
			first = err
		}
	}
	if err := c.loop.Close(); first == nil {
		first = err
	}
	c.wg.Wait()
	return first
}

func (c *Client) listen(ctx context.Context, network, address string) (net.PacketConn, error) {
	pc, err := c.cfg.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	t, err := newSocketTap(pc)
	if err != nil {
		_ = pc.Close()
		return nil, err
	}
	t.closed = c.tap(linkKey{local: t.conn.LocalAddrPort()}, t)
	return t, nil
}

// dial connects to the server that the loop asks for.
func (c *Client) dial(ctx context.Context, network string, _ netip.AddrPort, remote string) (net.Conn, error) {
	id := drive.StreamOf(ctx)
	server := make(chan Endpoint, 1)
	c.loop.Post(func(time.Time) { server <- c.m.dials(id) }) // not Do: the end of the loop waits for us
	var e Endpoint
	select {
	case e = <-server:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	switch e.Transport {
	case UDP:
		return nil, net.ErrClosed // by the machine, at once
	case DTLS:
		return c.associate(ctx, id, e)
	}
	conn, err := c.connect(ctx, network, remote, e)
	if err == nil && e.Transport == TLS {
		conn, err = c.secure(ctx, conn, e.Name)
	}
	if err != nil {
		return nil, err
	}
	t := newStreamTap(conn)
	t.closed = c.tap(linkKey{stream: id}, t)
	return t, nil
}

// tap makes t the tap of a link, until the func it returns is called.
func (c *Client) tap(key linkKey, t tapped) (untap func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taps[key] = t
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.taps[key] == t {
			delete(c.taps, key)
		}
	}
}

// handle takes in the machine's events, on the loop.
func (c *Client) handle(e Event) {
	if e.Kind == EventCredentials {
		c.fetch(e)
		return
	}
	if e.Kind != EventData && e.Kind != EventConnData {
		c.log.Debugf("allocation %d: %v %v %v %v", e.Allocation, e.Kind, e.State, e.Peer, e.Err)
	}
	if (e.Kind == EventState || e.Kind == EventServer) && e.Err != nil {
		c.lookAgain(lookEvery) // the servers may have moved
	}
	a := c.allocs[e.Allocation]
	if a == nil {
		return
	}
	if e.Kind == EventAllocated || e.Kind == EventMoved {
		c.mu.Lock()
		t := c.taps[e.on]
		c.mu.Unlock()
		switch {
		case t == nil: // closed meanwhile: another event follows
		case a.tcp != nil: // nothing goes past the loop
		case e.Kind == EventMoved:
			t.attach(&a.path, e.Server.Addr)
			a.move(t)
		default:
			t.attach(&a.path, e.Server.Addr)
			a.stand(t, e.df)
		}
	}
	a.handle(e)
	if e.Kind == EventReleased {
		delete(c.allocs, e.Allocation)
		c.mu.Lock()
		delete(c.open, a)
		c.mu.Unlock()
	}
}

// fetch asks the user for credentials, off the loop.
func (c *Client) fetch(e Event) {
	c.wg.Go(func() {
		got, err := c.cfg.FetchCredentials(c.ctx, CredentialsRequest{Server: e.Server, Realm: e.Realm, Again: e.Again})
		c.loop.Post(func(now time.Time) { c.m.SetCredentials(now, e.Server, got, err) })
	})
}

// AllocateRelay is Allocate in the shape in which package ice takes its relays.
func (c *Client) AllocateRelay(ctx context.Context) (net.PacketConn, error) {
	a, err := c.Allocate(ctx)
	if err != nil {
		return nil, err // not a nil *Allocation in an interface
	}
	return a, nil
}
