package bradawl

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// survey finds out what the NAT does, and again whenever the network has changed. What fails
// is tried again, as a name that is not found is.
func (v *servers) survey() {
	s := v.s
	var prober *natprobe.Prober
	var known []string
	wait := lookAgainLeast
	for {
		network, here := v.network(), v.here()
		names := v.names()
		var err error
		if prober == nil || !slices.Equal(names, known) {
			prober, err = natprobe.NewProber(v.prober(names)) // one keeps the pace over all that it does
			known = names
		}
		if err == nil {
			err = v.discover(prober, network, here)
		}
		if err == nil {
			wait = lookAgainLeast
			select {
			case <-network:
			case <-s.ctx.Done():
				return
			}
			continue
		}
		s.log.Debugf("NAT: %v", err)
		if silent := new(natprobe.NoAnswersError); errors.As(err, &silent) && s.ctx.Err() == nil && !isClosed(network) {
			v.useless(err) // of others, resolve tells
			s.loop.Post(func(time.Time) { s.c.mute = !isClosed(network) && !isClosed(here) })
		}
		if !v.pause(network, wait) {
			return
		}
		wait = longer(network, wait, lookAgainLeast, lookAgainMost)
	}
}

// discover is one look. It ends when the network changes, for then it has seen two. What was
// found when the host had left the network already is dropped: change has it looked at anew.
func (v *servers) discover(prober *natprobe.Prober, network, here <-chan struct{}) error {
	s := v.s
	ctx, cancel := s.within(network)
	defer cancel()
	report, err := prober.Discover(ctx)
	if err != nil {
		return err
	}
	s.loop.Post(func(now time.Time) {
		if isClosed(network) || isClosed(here) {
			return
		}
		s.info.Lock()
		s.nat, s.natOK = report, true
		s.info.Unlock()
		s.c.setProfile(now, report.Profile())
		s.publish(Event{Kind: EventNAT, At: now, Reason: report.Type.String()}) // who dials now has it in the offer
	})
	return nil
}

// leftNetwork forgets what was found out of the network that the host has left. It is called
// on the loop.
func (s *Session) leftNetwork() {
	s.info.Lock()
	s.nat, s.natOK = natprobe.Report{}, false
	s.info.Unlock()
	s.servers.leave()
}

func (v *servers) names() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.stun[:min(len(v.stun), natprobe.MaxServers)])
}

func (v *servers) prober(names []string) natprobe.Config {
	s := v.s
	c := natprobe.Config{
		Servers: names, ListenPacket: s.cfg.ListenPacket, Dial: s.cfg.Dial, LoggerFactory: s.cfg.LoggerFactory, NoTCP: !s.wantsTCP(true) && !s.wantsTCP(false),
	}
	if s.ports != nil {
		c.Gateway = s.ports.ExternalAddr
	}
	return c
}

// lookAtTCP finds out what the NAT does with TCP, where there can be paths of it. It is called
// on the loop.
func (v *servers) lookAtTCP() {
	s := v.s
	if !s.wantsTCP(true) || s.ctx.Err() != nil {
		return
	}
	network, here := v.network(), v.here()
	s.wg.Go(func() {
		p, err := natprobe.NewProber(v.prober(v.names()))
		if err != nil {
			return // survey has said so
		}
		ctx, cancel := s.within(network)
		defer cancel()
		report, err := p.DiscoverTCP(ctx)
		for wait := lookAgainLeast; err != nil; wait = min(2*wait, lookAgainMost) {
			s.log.Debugf("NAT, TCP: %v", err)
			if !v.pause(network, wait) || isClosed(network) {
				return
			}
			report, err = p.DiscoverTCP(ctx)
		}
		s.loop.Post(func(now time.Time) {
			if isClosed(network) || isClosed(here) {
				return
			}
			s.info.Lock()
			s.nat.TCP = &report
			s.info.Unlock()
			s.c.setTCP(now, report.Profile())
		})
	})
}

// within returns a context that ends with the session, or when the network is another.
func (s *Session) within(network <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.wg.Go(func() {
		select {
		case <-network:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
