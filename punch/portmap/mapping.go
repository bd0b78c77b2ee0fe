package portmap

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/words"
)

// State is how far a mapping is.
type State uint8

// The states of a mapping.
const (
	Waiting State = iota // for a router that answers, or for its answer
	Mapped
	Refused // by all that answer; it is asked for again after a while
	Closed
)

var states = words.Of[State]("waiting", "mapped", "refused", "closed")

// String returns the state in lower case.
func (s State) String() string { return states.String(s) }

// steps are the changes of state that there are.
var steps = machine.Steps[State]{
	Waiting: {Mapped, Refused, Closed},
	Mapped:  {Waiting, Closed},
	Refused: {Waiting, Closed},
}

// Info is what a mapping is.
type Info struct {
	External netip.AddrPort // what reaches Internal from outside; of a pinhole, Internal itself
	Internal netip.AddrPort
	Gateway  netip.Addr // the router that made it
	Method   Method
	Lifetime time.Duration // as granted last; 0: until it is deleted
	// Public is whether External may be on the internet. It is not where there is another
	// NAT beyond the router: a carrier's, or the router of the house.
	Public bool
}

// mapping is a wish for a mapping, which outlives routers.
type mapping struct {
	m *Machine
	Request
	id    MappingID
	nonce nonce
	state State
	by    *speaker // who has it, or is asked for it; nil: nobody
	asked bool     // by has a job for it
	info  Info
	until time.Time // when it ends unless it is renewed; zero: never
	fresh time.Time // when it was granted last
	hole  string    // UPnP's name of a pinhole
	timer machine.Timer

	refusals []refusal
}

type refusal struct {
	by  *speaker
	err error
}

func (mp *mapping) setState(to State, err error) {
	if steps.Step(&mp.state, to, &mp.m.illegal) {
		mp.tell(err)
	}
}

func (mp *mapping) tell(err error) {
	e := Event{Kind: EventState, Mapping: mp.id, State: mp.state, Err: err}
	if mp.state == Mapped {
		e.Info = mp.info
	}
	mp.m.events.Push(e)
}

// fits tells whether a router can map it.
func (mp *mapping) fits(g *gateway) bool {
	ip := mp.Internal.Addr()
	return ip == g.Local.WithZone("") || ip == netip.IPv4Unspecified() && g.Local.Is4()
}

// place has somebody asked for the mapping, unless somebody is.
func (mp *mapping) place(now time.Time) {
	if mp.by != nil || mp.state != Waiting {
		return
	}
	hope := false
	for _, g := range mp.m.gateways {
		if !mp.fits(g) {
			continue
		}
		g.discover(now)
		for _, s := range g.order {
			if s.state == speaks && !mp.refusedBy(s) {
				mp.by = s
				mp.ask(now)
				return
			}
		}
		hope = hope || g.asking()
	}
	if hope {
		return
	}
	err := &MapError{Protocol: mp.Protocol, Internal: mp.Internal}
	wait := 2 * time.Minute
	for _, g := range mp.m.gateways {
		if !mp.fits(g) {
			continue
		}
		for _, s := range g.speakers {
			why := s.err
			for _, r := range mp.refusals {
				if r.by == s {
					why = r.err
				}
			}
			if re, ok := why.(*RouterError); ok && re.wait > 0 {
				wait = min(max(re.wait, 30*time.Second), 30*time.Minute)
			}
			err.Methods = append(err.Methods, &MethodError{g.Addr, s.method, why})
		}
	}
	if len(err.Methods) == 0 {
		err.Methods = []error{ErrNoGateway}
	}
	mp.setState(Refused, err)
	mp.m.timers.Set(&mp.timer, now.Add(wait))
}

func (mp *mapping) refusedBy(s *speaker) bool {
	return slices.ContainsFunc(mp.refusals, func(r refusal) bool { return r.by == s })
}

// ask has the mapping made, or renewed, by whom it is of.
func (mp *mapping) ask(now time.Time) {
	if !mp.until.IsZero() && mp.state == Mapped {
		mp.m.timers.Set(&mp.timer, mp.until) // if nobody answers
	}
	if !mp.asked {
		mp.asked = true
		mp.by.add(now, &job{kind: jobMap, mp: mp, target: mp.target()})
	}
}

func (mp *mapping) target() target {
	t := target{Request: mp.Request, nonce: mp.nonce, external: mp.info.External, hole: mp.hole, life: mp.m.cfg.Lifetime}
	t.Internal = netip.AddrPortFrom(mp.by.g.Local.WithZone(""), mp.Internal.Port())
	if t.external.Port() == 0 {
		port := mp.Suggested
		if port == 0 {
			port = mp.Internal.Port()
		}
		t.external = netip.AddrPortFrom(netip.Addr{}, port)
	}
	return t
}

// granted takes in what a router said to a request for the mapping.
func (mp *mapping) granted(now time.Time, s *speaker, g grant) {
	mp.asked = false
	if mp.state == Closed {
		if g.err == nil { // it came too late
			mp.hole, mp.info.External = g.hole, g.external
		}
		if mp.info.External.Addr().IsValid() {
			mp.remove(now)
		} else {
			mp.gone()
		}
		return
	}
	if g.err == nil {
		g.err = mp.check(g)
	}
	if g.err != nil {
		mp.failed(now, s, g.err)
		return
	}
	if g.lifetime > longest {
		g.lifetime = longest // RFC 6887 section 15: what is absurd
	}
	old := mp.info
	mp.refusals, mp.hole, mp.fresh = nil, g.hole, now
	mp.info = Info{
		External: g.external, Internal: netip.AddrPortFrom(s.g.Local.WithZone(""), mp.Internal.Port()), Gateway: s.g.Addr, Method: s.method,
		Lifetime: g.lifetime, Public: ipcheck.Public(g.external.Addr()),
	}
	mp.until = time.Time{}
	mp.m.timers.Stop(&mp.timer)
	if g.lifetime > 0 {
		mp.until = now.Add(g.lifetime)
		// RFC 6887 section 11.2.1: between 1/2 and 5/8 of the lifetime.
		half := g.lifetime / 2
		mp.m.timers.Set(&mp.timer, now.Add(half+time.Duration(mp.m.random.Int64N(int64(half/4)))))
	}
	s.watch(now)
	switch {
	case mp.state != Mapped:
		mp.setState(Mapped, nil)
	case old != mp.info:
		mp.tell(nil)
	}
}

// check says what is wrong with a grant; nil: nothing.
func (mp *mapping) check(g grant) error {
	switch why := ipcheck.Unusable(g.external, mp.m.cfg.Loopback); {
	case why != "":
		return bad("granted %v, which %s", g.external, why)
	case g.lifetime != 0 && g.lifetime < shortest:
		return bad("granted for %v, too short to be kept up", g.lifetime)
	}
	return nil
}

// failed takes in that a router did not do as asked.
func (mp *mapping) failed(now time.Time, s *speaker, err error) {
	if mp.state == Mapped {
		if code(err) == 0 && (mp.until.IsZero() || now.Before(mp.until)) {
			// RFC 6887 section 11.2.1: again after half of what is left, at least 4 s.
			wait := calm
			if !mp.until.IsZero() {
				wait = max(mp.until.Sub(now)/2, calm)
			}
			mp.m.timers.Set(&mp.timer, now.Add(wait))
			return
		}
		mp.lose(now, err)
	}
	mp.by = nil
	mp.refusals = append(mp.refusals, refusal{s, err})
	mp.place(now)
}

// lose takes in that the mapping is no more.
func (mp *mapping) lose(now time.Time, err error) {
	if mp.asked {
		mp.by.forget(mp)
		mp.asked = false
	}
	mp.m.timers.Stop(&mp.timer)
	by := mp.by
	mp.by, mp.hole = nil, ""
	if mp.state != Mapped {
		return
	}
	external := mp.info.External
	mp.info = Info{}
	mp.info.External = netip.AddrPortFrom(netip.Addr{}, external.Port()) // to be asked for again
	mp.setState(Waiting, &MapError{Protocol: mp.Protocol, Internal: mp.Internal, Methods: []error{&MethodError{by.g.Addr, by.method, err}}})
}

// due renews the mapping, or asks for what was refused.
func (mp *mapping) due(now time.Time) {
	switch {
	case mp.state == Refused:
		mp.refusals = nil
		for _, g := range mp.m.gateways {
			g.again = g.again || mp.fits(g)
		}
		mp.setState(Waiting, nil)
		mp.place(now)
	case mp.state == Mapped && !mp.until.IsZero() && !now.Before(mp.until):
		s := mp.by
		mp.lose(now, ErrNoAnswer)
		s.g.again = true
		mp.place(now)
	case mp.state == Mapped:
		mp.ask(now)
	}
}

// renewAt has the mapping renewed at a time, or 5 s after it was granted last.
func (mp *mapping) renewAt(now, at time.Time) {
	if quiet := mp.fresh.Add(calm); at.Before(quiet) {
		at = quiet
	}
	if !mp.asked && (!mp.timer.IsSet() || at.Before(mp.timer.At())) {
		mp.m.timers.Set(&mp.timer, at)
	}
}

// close deletes the mapping at the router.
func (mp *mapping) close(now time.Time) {
	if mp.state == Closed {
		return
	}
	was := mp.state
	mp.m.timers.Stop(&mp.timer)
	mp.setState(Closed, nil)
	switch {
	case mp.by != nil && mp.by.first(mp): // its answer is waited for, or nobody would delete what it grants
	case was == Mapped:
		mp.by.forget(mp)
		mp.remove(now)
	default:
		if mp.by != nil {
			mp.by.forget(mp)
		}
		mp.gone()
	}
}

func (mp *mapping) remove(now time.Time) {
	mp.by.add(now, &job{kind: jobUnmap, mp: mp, target: mp.target()})
}

// gone takes leave of a closed mapping.
func (mp *mapping) gone() {
	mp.m.mappings = slices.DeleteFunc(mp.m.mappings, func(other *mapping) bool { return other == mp })
	mp.m.events.Push(Event{Kind: EventGone, Mapping: mp.id, State: Closed})
	mp.m.finishClose()
}
