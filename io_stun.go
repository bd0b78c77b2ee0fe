package bradawl

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// resolve looks up STUN servers and has them asked, each as soon as it is found: a host that
// was just switched on often has no DNS yet, or not for all names.
func (v *servers) resolve(names []string) {
	v.insist(strings.Join(names, ", "), func(ctx context.Context) error {
		var err error
		names, err = v.lookUp(ctx, names)
		return err
	}, v.useless)
}

// lookUp has those of the servers used that are found, and returns the others.
func (v *servers) lookUp(ctx context.Context, names []string) (missing []string, err error) {
	found, errs := make([][]netip.AddrPort, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { found[i], errs[i] = v.find(ctx, "ip", name) })
	}
	all.Wait()
	var known []string
	var of string // that err is about
	for i, name := range names {
		if errs[i] == nil {
			known = append(known, name)
			continue
		}
		if missing = append(missing, name); err != nil && ctx.Err() == nil {
			v.useless(of, err) // of the last, insist tells
		}
		of, err = name, errs[i]
	}
	if len(known) > 0 {
		v.use(known, slices.Concat(found...))
	}
	return missing, err
}

// use has STUN servers asked whose addresses were found.
func (v *servers) use(names []string, addrs []netip.AddrPort) {
	s := v.s
	s.loop.Post(func(now time.Time) {
		for _, a := range addrs {
			s.c.addServer(now, a)
		}
	})
	v.mu.Lock()
	v.found = append(v.found, addrs...)
	v.asked = append(v.asked, names...)
	close(v.more)
	v.more, v.prober = make(chan struct{}), nil
	begin := !v.surveyed && !s.cfg.NoNATProbe
	v.surveyed = v.surveyed || begin
	v.mu.Unlock()
	if begin {
		s.wg.Go(v.survey)
	}
	s.mapTCPs()
}

// of returns the STUN servers of an address family.
func (v *servers) of(is4 bool) (all []netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range v.found {
		if a.Addr().Is4() == is4 {
			all = append(all, a)
		}
	}
	return all
}

// who returns what looks at the NAT by all servers that there are by now, and a channel that is
// closed when there are more. It is one as long as they are the same, so that it keeps the pace
// over all that is looked at.
func (v *servers) who() (p *natprobe.Prober, more <-chan struct{}, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.prober == nil {
		v.prober, err = natprobe.NewProber(v.probing())
	}
	return v.prober, v.more, err
}

// probing says how the NAT is looked at. The servers are in the order in which they were named.
func (v *servers) probing() natprobe.Config {
	s := v.s
	c := natprobe.Config{
		ListenPacket: s.cfg.ListenPacket, Dial: s.cfg.Dial, LoggerFactory: s.cfg.LoggerFactory, NoTCP: !s.wantsTCP(true) && !s.wantsTCP(false),
	}
	for _, name := range v.stun {
		if slices.Contains(v.asked, name) {
			c.Servers = append(c.Servers, name)
		}
	}
	if s.ports != nil {
		c.Gateway = s.ports.ExternalAddr
	}
	return c
}
