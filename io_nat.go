package bradawl

import (
	"context"
	"errors"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// survey finds out what the NAT does, and again whenever the network has changed. What fails
// is tried again, and what could not be found out is looked at again when there are more
// servers, as those that the signalling names.
func (v *servers) survey() {
	s := v.s
	wait := lookAgainLeast
	for {
		network, here := v.network(), v.here()
		prober, more, err := v.who()
		lacks, late := true, (<-chan time.Time)(nil)
		if err == nil {
			lacks, err = v.discover(prober, network, here)
		}
		if err != nil {
			s.log.Debugf("NAT: %v", err)
			if silent := new(natprobe.NoAnswersError); errors.As(err, &silent) && s.ctx.Err() == nil && !isClosed(network) {
				v.useless("natprobe", err) // of others, resolve tells
				s.loop.Post(func(time.Time) { s.c.mute = !isClosed(network) && !isClosed(here) })
			}
			late = time.After(wait)
		} else if !lacks {
			more = nil
		}
		select {
		case <-late:
			wait = min(2*wait, lookAgainMost)
		case <-network:
			wait = lookAgainLeast
		case <-more:
			wait = lookAgainLeast
		case <-s.ctx.Done():
			return
		}
	}
}

// discover is one look. It ends when the network changes, for then it has seen two. What was
// found when the host had left the network already is dropped: change has it looked at anew.
// lacks says that other servers may tell more.
func (v *servers) discover(prober *natprobe.Prober, network, here <-chan struct{}) (lacks bool, err error) {
	s := v.s
	ctx, cancel := s.within(network)
	defer cancel()
	report, err := prober.Discover(ctx)
	if err != nil {
		return true, err
	}
	profile := report.Profile()
	s.loop.Post(func(now time.Time) {
		if isClosed(network) || isClosed(here) {
			return
		}
		s.info.Lock()
		s.nat, s.natOK = report, true
		s.info.Unlock()
		s.c.setProfile(now, profile)
		s.publish(Event{Kind: EventNAT, At: now, Reason: report.Type.String()}) // who dials now has it in the offer
	})
	return profile.Mapping == natprobe.MappingUnknown || profile.Filtering == natprobe.FilteringUnknown, nil
}

// leftNetwork forgets what was found out of the network that the host has left. It is called
// on the loop.
func (s *Session) leftNetwork() {
	s.info.Lock()
	s.nat, s.natOK = natprobe.Report{}, false
	s.info.Unlock()
	s.servers.leave()
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
		p, _, err := v.who()
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
