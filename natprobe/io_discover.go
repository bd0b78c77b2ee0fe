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
	"github.com/bradawl/bradawl/internal/machine"
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
// one [Prober.Discover], and the error is of either.
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
	gateway := p.askGateway(ctx, f)
	var told error
	err = work(ctx, p, m, func(e DiscoveryEvent) (last bool) {
		f.report, told = e.Report, e.Err
		progress <- Progress{f.name, e.Stage, e.Report}
		return e.Stage == StageDone
	})
	*f.budget = m.tokens
	f.err = errors.Join(err, told)
	if a := <-gateway; a.IsValid() {
		f.report.nesting(nil, a)
	}
	if err == nil && (p.cfg.TCP || f.report.Type == TypeUDPBlocked && !p.cfg.NoTCP) {
		p.runTCP(ctx, f, local)
	}
	if f.err == nil && p.cfg.Lifetime > 0 && f.report.Type != TypeUDPBlocked {
		p.runLifetime(ctx, f, local, progress)
	}
}

// gatewayTimeout is how long a router may take to tell its address.
const gatewayTimeout = 2 * time.Second

// askGateway has the router asked for its outside address meanwhile. What comes back is
// sent at the latest when ctx has ended; the zero value means that it is not known.
func (p *Prober) askGateway(ctx context.Context, f *familyRun) <-chan netip.Addr {
	told := make(chan netip.Addr, 1)
	if p.cfg.Gateway == nil || f.servers[0].Addr().Is6() {
		told <- netip.Addr{}
		return told
	}
	ctx, cancel := context.WithTimeout(ctx, gatewayTimeout)
	go func() {
		defer cancel()
		a, err := p.cfg.Gateway(ctx)
		if err != nil {
			a = netip.Addr{}
		}
		told <- a
	}()
	return told
}

// runTCP finds out how TCP is mapped.
func (p *Prober) runTCP(ctx context.Context, f *familyRun, local netip.Addr) {
	m, err := NewTCPProbe(f.servers, p.cfg.discovery(local))
	if err == nil {
		err = work(ctx, p, m, func(e TCPEvent) (last bool) {
			f.report.TCP = &e.Report
			f.report.say("tcp", e.Report.Mapping.String(), e.Report.Confidence, e.Report.String())
			return true
		})
	}
	f.err = errors.Join(f.err, err)
}

// DiscoverTCP finds out how TCP is mapped over IPv4, and nothing else: for those to whom that
// has come to matter after Discover, as when a peer's network blocks UDP. Where ctx ends
// first, the report holds what is known by then beside ctx's error.
func (p *Prober) DiscoverTCP(ctx context.Context) (TCPReport, error) {
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return TCPReport{}, fmt.Errorf("natprobe: %w", ctx.Err())
	}
	f := familyRun{report: Report{TCP: &TCPReport{}}}
	var err error
	if f.servers, err = ResolveServers(ctx, "ip4", p.cfg.Servers...); len(f.servers) == 0 {
		return TCPReport{}, err
	}
	local, err := p.source(ctx, f.servers[0])
	if err != nil {
		return TCPReport{}, fmt.Errorf("natprobe: IPv4: %w: %w", errNoFamily, err)
	}
	p.runTCP(ctx, &f, local)
	return *f.report.TCP, f.err
}

// runLifetime measures lifetimes.
func (p *Prober) runLifetime(ctx context.Context, f *familyRun, local netip.Addr, progress chan<- Progress) {
	l, err := newLifetimeProbe(f.report.Server, p.cfg.Lifetime, p.cfg.discovery(local))
	if err != nil {
		f.err = err
		return
	}
	l.tokens = *f.budget
	err = work(ctx, p, l, func(e lifetimeEvent) (last bool) {
		f.report.setLifetime(e.Lifetime)
		progress <- Progress{f.name, StageLifetime, f.report}
		return e.Last
	})
	*f.budget = l.tokens
	f.report.Packets += l.packets
	f.err = err
}

// worker is a machine that is started once and ends by itself.
type worker[E any] interface {
	machine.Machine[E]
	Start(now time.Time)
	Stop(now time.Time)
}

// work runs m to its last event, or stops it when ctx ends, which is the error then.
func work[E any](ctx context.Context, p *Prober, m worker[E], each func(E) (last bool)) error {
	queue := make(chan struct{}, 1) // there is something in waiting: the loop never waits
	var mu sync.Mutex
	var waiting []E
	loop, err := drive.Run(m, func(e E) {
		mu.Lock()
		waiting = append(waiting, e)
		mu.Unlock()
		select {
		case queue <- struct{}{}:
		default:
		}
	}, drive.Options{
		ListenPacket: p.listen, Dial: p.dial, Log: plog.OrDiscard(p.cfg.LoggerFactory).NewLogger("natprobe"),
	})
	if err != nil {
		return fmt.Errorf("natprobe: %w", err)
	}
	loop.Post(m.Start)
	over, stopped := ctx.Done(), false // nil from the start where ctx never ends
	for {
		select {
		case <-queue:
			mu.Lock()
			next := waiting
			waiting = nil
			mu.Unlock()
			for _, e := range next {
				if each(e) {
					err := loop.Close()
					if stopped {
						err = errors.Join(fmt.Errorf("natprobe: %w", ctx.Err()), err)
					}
					return err
				}
			}
		case <-over:
			over, stopped = nil, true
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
	if p.cfg.Dial != nil {
		return p.cfg.Dial(ctx, network, local, remote)
	}
	d := net.Dialer{Timeout: dialTimeout}
	if local.IsValid() {
		d.LocalAddr, d.Control = net.TCPAddrFromAddrPort(local), netio.ReusePort
	}
	return d.DialContext(ctx, network, remote)
}
