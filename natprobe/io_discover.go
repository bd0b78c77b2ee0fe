package natprobe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// Progress is how far a discovery has come.
type Progress struct {
	Family string // "IPv4" or "IPv6"
	Stage  Stage
	Report Report // what is known so far
}

// Discover finds out what lies between this host and the internet. It is NewProber and
// one [Prober.Discover].
func Discover(ctx context.Context, cfg Config) (Report, error) {
	p, err := NewProber(cfg)
	if err != nil {
		return Report{}, err
	}
	return p.Discover(ctx)
}

// Prober runs discoveries, one after the other. All together they keep to the pace that
// is polite towards the servers. Its methods are safe for concurrent use; calls of
// Discover wait for each other.
type Prober struct {
	cfg  Config
	turn chan struct{} // holds one value: whose turn it is

	budget [2]bucket // of IPv4 and IPv6: what the last run left
}

// NewProber checks cfg. The error is a *ConfigError.
func NewProber(cfg Config) (*Prober, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Prober{cfg: c, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p, nil
}

// Discover runs one discovery, on sockets of its own. Both address families are looked at
// at the same time where the host and the servers have them.
//
// A Report without type says in its Conclusions why. The error is nil where anything was
// learned: servers that cannot be resolved or do not answer are an error only if all are
// like that, a *NoAnswersError or what [ResolveServers] returns. Where ctx ends first, the
// Report holds what is known by then beside ctx's error.
func (p *Prober) Discover(ctx context.Context) (Report, error) {
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return Report{}, fmt.Errorf("natprobe: %w", ctx.Err())
	}
	servers, unresolved := ResolveServers(ctx, p.cfg.Network, p.cfg.Servers...)
	if len(servers) == 0 {
		return Report{}, unresolved
	}
	var runs [2]familyRun
	for _, s := range servers {
		f := &runs[0]
		if s.Addr().Is6() {
			f = &runs[1]
		}
		f.servers = append(f.servers, s)
	}
	progress := make(chan Progress)
	var wg sync.WaitGroup
	for i := range runs {
		if f := &runs[i]; len(f.servers) > 0 {
			f.budget = &p.budget[i]
			f.name = [...]string{"IPv4", "IPv6"}[i]
			wg.Go(func() { p.run(ctx, f, progress) })
		}
	}
	go func() {
		wg.Wait()
		close(progress)
	}()
	for e := range progress {
		if p.cfg.Progress != nil {
			p.cfg.Progress(e)
		}
	}
	report, err := merge(&runs[0], &runs[1])
	if unresolved != nil {
		report.say("servers", "unresolved", 1, unresolved.Error())
	}
	return report, err
}

// familyRun is the discovery of one family.
type familyRun struct {
	name    string
	servers []netip.AddrPort
	budget  *bucket
	report  Report
	err     error
}

// of no use is a family that was not asked for, or that the host does not have.
var errNoFamily = errors.New("this host has no address of that family")

// merge puts IPv6 into the report of IPv4, where both tell something.
func merge(v4, v6 *familyRun) (Report, error) {
	switch {
	case len(v6.servers) == 0 || errors.Is(v6.err, errNoFamily) && len(v4.servers) > 0:
		return v4.report, v4.err
	case len(v4.servers) == 0 || errors.Is(v4.err, errNoFamily):
		return v6.report, v6.err
	case v4.err != nil && v6.err == nil && v4.report.Type == TypeUnknown:
		return v6.report, nil
	}
	v4.report.IPv6 = &v6.report
	return v4.report, v4.err
}

// run looks at one family.
func (p *Prober) run(ctx context.Context, f *familyRun, progress chan<- Progress) {
	local, err := p.source(ctx, f.servers[0])
	if err != nil {
		f.err = fmt.Errorf("natprobe: %s: %w: %w", f.name, errNoFamily, err)
		return
	}
	m, err := NewDiscovery(f.servers, p.cfg.discovery(local))
	if err != nil {
		f.err = err
		return
	}
	m.tokens = *f.budget
	events := make(chan DiscoveryEvent, 8) // room for all stages: the loop never waits
	loop, err := drive.Run(m, func(e DiscoveryEvent) { events <- e }, drive.Options{
		ListenPacket: p.listen, Dial: p.dial, Log: plog.OrDiscard(p.cfg.LoggerFactory).NewLogger("natprobe"),
	})
	if err != nil {
		f.err = fmt.Errorf("natprobe: %w", err)
		return
	}
	defer func() {
		f.err = errors.Join(f.err, loop.Close())
		*f.budget = m.tokens
	}()
	_ = loop.Do(m.Start) // the loop is closed below only
	over := ctx.Done()
	for {
		select {
		case e := <-events:
			if e.Stage == StageDone {
				f.report, f.err = e.Report, e.Err
				if err := ctx.Err(); err != nil && over == nil {
					f.err = errors.Join(fmt.Errorf("natprobe: %w", err), e.Err)
				}
				return
			}
			progress <- Progress{f.name, e.Stage, e.Report}
		case <-over:
			over = nil
			loop.Post(m.Stop)
		}
	}
}

// source finds the address by which the system reaches server. Connecting a UDP socket
// sends nothing. Sockets that others open are theirs to bind.
func (p *Prober) source(ctx context.Context, server netip.AddrPort) (netip.Addr, error) {
	if p.cfg.ListenPacket != nil {
		return netip.Addr{}, nil
	}
	c, err := new(net.Dialer).DialContext(ctx, "udp", server.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return netio.AddrPortOf(c.LocalAddr()).Addr(), nil
}

func (p *Prober) listen(ctx context.Context, network, address string) (net.PacketConn, error) {
	if p.cfg.ListenPacket != nil {
		return p.cfg.ListenPacket(ctx, network, address)
	}
	return new(net.ListenConfig).ListenPacket(ctx, network, address)
}

// dialTimeout ends attempts over TCP that nobody waits for any more.
const dialTimeout = 5 * time.Second

func (p *Prober) dial(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error) {
	if p.cfg.DialContext != nil {
		return p.cfg.DialContext(ctx, network, remote)
	}
	d := net.Dialer{Timeout: dialTimeout}
	if local.IsValid() {
		d.LocalAddr, d.Control = net.TCPAddrFromAddrPort(local), netio.ReusePort
	}
	return d.DialContext(ctx, network, remote)
}
