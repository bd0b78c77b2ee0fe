package portmap

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
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// Client keeps mappings at this host's routers. Its methods may be called from any
// goroutine.
type Client struct {
	cfg     Config
	loop    *drive.Loop
	log     logging.LeveledLogger
	cancel  context.CancelFunc
	running sync.WaitGroup
	look    chan struct{} // capacity 1: look at the gateways now
	found   chan struct{} // closed once they have been looked at
	over    chan struct{} // closed by EventClosed

	// The loop's.
	m        *Machine
	mappings map[MappingID]*Mapping
}

// lookEvery is how often the gateways are looked at.
const lookEvery = 5 * time.Second

// New starts a client. It asks no router before the first Map. The error is a
// *ConfigError.
func New(cfg Config) (*Client, error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("portmap: %w", err)
	}
	m, err := NewMachine(cfg, mathrand.New(mathrand.NewChaCha8(seed)), rand.Reader)
	if err != nil {
		return nil, err
	}
	cfg = m.cfg
	if cfg.Gateways == nil {
		cfg.Gateways = systemGateways
	}
	if cfg.ListenPacket == nil {
		cfg.ListenPacket = netio.ListenUDP
	}
	if cfg.Dial == nil {
		cfg.Dial = netio.DialTCP
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg, m: m, cancel: cancel, mappings: make(map[MappingID]*Mapping),
		log:  plog.OrDiscard(cfg.LoggerFactory).NewLogger("portmap"),
		look: make(chan struct{}, 1), found: make(chan struct{}), over: make(chan struct{}),
	}
	c.loop, err = drive.Run(m, c.event, drive.Options{ListenPacket: cfg.ListenPacket, Dial: c.dial, Log: c.log})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("portmap: %w", err)
	}
	c.running.Go(func() { c.watch(ctx) })
	return c, nil
}

// errElsewhere is the last of several guards: the machine dials nobody but gateways.
var errElsewhere = errors.New("portmap: is no gateway; nothing is dialled but gateways")

// dial dials for the machine, and nobody but who was a gateway when it was looked last.
func (c *Client) dial(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	all, err := c.cfg.Gateways()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(all, func(g Gateway) bool { return g.Addr.Unmap() == to.Addr() || g.mayBe(to.Addr()) }) {
		return nil, errElsewhere
	}
	return c.cfg.Dial(ctx, network, local, address)
}

// watch looks at the gateways, at first and then again and again.
func (c *Client) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		all, err := c.cfg.Gateways()
		if err != nil {
			c.log.Debugf("gateways: %v", err)
		} else {
			c.loop.Post(func(now time.Time) { c.m.SetGateways(now, all) })
		}
		if first {
			close(c.found)
		}
		select {
		case <-tick.C:
		case <-c.look:
		case <-ctx.Done():
			return
		}
	}
}

// event takes in what the machine tells, on the loop.
func (c *Client) event(e Event) {
	mp := c.mappings[e.Mapping]
	switch {
	case e.Kind == EventClosed:
		close(c.over)
		return
	case mp == nil:
		return
	}
	c.log.Debugf("%v port %d: %v %v %v", mp.request.Protocol, mp.request.Internal.Port(), e.State, e.Info.External, e.Err)
	mp.take(e)
	if e.Kind == EventGone {
		delete(c.mappings, e.Mapping)
	}
}

// Map asks for a mapping of internal, an address and port of this host, and returns it
// once it stands, which takes from some milliseconds to some seconds. An unspecified
// IPv4 address, or none, is mapped at whichever router answers first; an IPv6 address
// gets a pinhole. suggested is the outside port to ask for; 0: the internal one.
//
// The error is a *ConfigError for arguments that cannot be used, ErrClosed, or a
// *MapError with what each router said, also where ctx ends first.
func (c *Client) Map(ctx context.Context, protocol Protocol, internal netip.AddrPort, suggested uint16) (*Mapping, error) {
	if !internal.Addr().IsValid() {
		internal = netip.AddrPortFrom(netip.IPv4Unspecified(), internal.Port())
	}
	mp := &Mapping{
		c: c, request: Request{Protocol: protocol, Internal: internal, Suggested: suggested},
		changes: make(chan Info, 1), decided: make(chan struct{}), gone: make(chan struct{}),
	}
	select {
	case <-c.found:
	case <-ctx.Done():
		return nil, &MapError{Protocol: protocol, Internal: internal, Cause: context.Cause(ctx)}
	}
	var err error
	if c.loop.Do(func(now time.Time) {
		if mp.id, err = c.m.Map(now, mp.request); err == nil {
			c.mappings[mp.id] = mp
		}
	}) != nil {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-mp.decided:
	case <-ctx.Done():
		select {
		case <-mp.decided: // a result beats the end of ctx
		default:
			mp.drop()
			return nil, &MapError{Protocol: protocol, Internal: internal, Methods: c.failures(), Cause: context.Cause(ctx)}
		}
	case <-c.loop.Done():
		return nil, ErrClosed
	}
	if err := mp.Err(); err != nil {
		mp.drop()
		return nil, err
	}
	return mp, nil
}

// failures are the words of the protocols, as errors.
func (c *Client) failures() (all []error) {
	for _, w := range c.Words() {
		all = append(all, &MethodError{w.Gateway, w.Method, bad("%s", w.Says)})
	}
	return all
}

// Words tells what is known of each protocol of each router, in the router's own words
// where it said something; nil after Close.
func (c *Client) Words() (words []Word) {
	_ = c.loop.Do(func(time.Time) { words = c.m.Words() })
	return words
}

// ExternalAddr returns the outside IPv4 address that a router tells: that of a mapping, or
// else of UDP port 9, mapped for a moment. It fits natprobe.Config.Gateway. The errors
// are those of Map.
func (c *Client) ExternalAddr(ctx context.Context) (netip.Addr, error) {
	var told netip.Addr
	_ = c.loop.Do(func(time.Time) {
		for _, mp := range c.m.mappings {
			if a := mp.info.External.Addr(); mp.state == Mapped && a.Is4() {
				told = a
			}
		}
	})
	if told.IsValid() {
		return told, nil
	}
	const discard = 9 // whose service nobody runs
	mp, err := c.Map(ctx, UDP, netip.AddrPortFrom(netip.IPv4Unspecified(), discard), 0)
	if err == nil {
		told = mp.External().Addr()
		return told, mp.Close()
	}
	for _, w := range c.Words() { // a router may tell its address and map nothing
		if w.External.Is4() {
			return w.External, nil
		}
	}
	return netip.Addr{}, err
}

// Recheck has the gateways looked at and the mappings renewed, at most every 5 s: for
// when something else says that the network has changed.
func (c *Client) Recheck() {
	select {
	case c.look <- struct{}{}:
	default:
	}
	c.loop.Post(c.m.Recheck)
}

// Close deletes all mappings, which takes 2 s at most where a router is silent, and
// returns when every goroutine of the client has ended.
func (c *Client) Close() error {
	c.cancel()
	if c.loop.Do(c.m.CloseAll) == nil {
		select {
		case <-c.over:
		case <-c.loop.Done():
		}
	}
	err := c.loop.Close()
	c.running.Wait()
	return err
}
