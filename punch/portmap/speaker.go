package portmap

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// speaker is one protocol towards one router. It does its jobs one after the other, as
// RFC 6886 section 3.6 wants it and as routers bear it.
type speaker struct {
	g        *gateway
	method   Method
	state    speaking
	err      error // why it does not speak
	jobs     []*job
	running  bool // the first of jobs has begun
	timer    machine.Timer
	request  []byte
	sends    int
	deadline time.Time
	epoch    epoch
	external netip.Addr // that the router told
	says     string     // what it said last
	upnp     *upnp      // UPnP alone
}

type speaking uint8

const (
	unasked speaking = iota
	asking
	speaks
	mute
)

type jobKind uint8

const (
	jobProbe jobKind = iota // does the router speak at all?
	jobMap
	jobUnmap
	jobWatch // has it restarted?
)

// job is one thing to be asked of a router.
type job struct {
	kind   jobKind
	mp     *mapping // jobMap, jobUnmap
	target target
}

// target is what a mapping is about, as it was when it was asked for.
type target struct {
	Request                 // with the host's own address
	external netip.AddrPort // granted before, or a port to ask for
	nonce    nonce
	hole     string
	life     time.Duration
}

// grant is what came of a job.
type grant struct {
	external netip.AddrPort
	lifetime time.Duration // 0: until it is deleted
	hole     string
	err      error
}

func newSpeaker(g *gateway, method Method) *speaker {
	s := &speaker{g: g, method: method, err: ErrNoAnswer}
	s.timer.Fire = s.due
	if method == UPnP {
		s.upnp = newUPnP(s)
	}
	return s
}

func (s *speaker) word() Word {
	w := Word{Gateway: s.g.Addr, Method: s.method, Speaks: s.state == speaks, External: s.external, Says: s.says}
	switch {
	case w.Says != "":
	case s.state == speaks:
		w.Says = "answers"
	case s.state == unasked:
		w.Says = "not asked yet"
	default:
		w.Says = s.err.Error()
	}
	return w
}

func (s *speaker) watch(now time.Time) { s.g.watch(now) }

// holds reports whether there are mappings by this protocol.
func (s *speaker) holds() bool {
	return slices.ContainsFunc(s.g.m.mappings, func(mp *mapping) bool { return mp.by == s && mp.state == Mapped })
}

func (s *speaker) add(now time.Time, j *job) {
	s.jobs = append(s.jobs, j)
	s.next(now)
}

// first reports whether a mapping's job is under way.
func (s *speaker) first(mp *mapping) bool {
	return s.running && s.jobs[0].mp == mp && s.jobs[0].kind == jobMap
}

// forget drops the jobs for a mapping; the answer to one under way is not waited for.
func (s *speaker) forget(mp *mapping) {
	if s.first(mp) {
		s.stopFirst()
		s.running = false
	}
	s.jobs = slices.DeleteFunc(s.jobs, func(j *job) bool { return j.mp == mp })
}

func (s *speaker) stopFirst() {
	s.g.m.timers.Stop(&s.timer)
	if s.upnp != nil {
		s.upnp.stop()
	}
}

func (s *speaker) stop() {
	s.stopFirst()
	s.jobs, s.running, s.state = nil, false, mute
}

// fail ends all jobs, because the socket broke or could not be opened.
func (s *speaker) fail(now time.Time, err error) {
	for range len(s.jobs) { // what they bring about may add others, which wait
		s.finish(now, grant{err: err})
	}
}

// next begins the first job, unless it has begun.
func (s *speaker) next(now time.Time) {
	if s.running || len(s.jobs) == 0 || !s.g.bound {
		return
	}
	s.running = true
	j := s.jobs[0]
	s.sends = 0
	s.deadline = now.Add(patience(j.kind))
	if s.method == UPnP {
		s.upnp.begin(now, j)
		return
	}
	s.compose(j)
	s.send(now)
}

// patience is how long an answer to a request is waited for in all.
func patience(k jobKind) time.Duration {
	switch k {
	case jobMap:
		return 12 * time.Second
	case jobUnmap:
		return 3 * time.Second
	}
	return 4 * time.Second
}

// compose makes the request of a job, for PCP and NAT-PMP.
func (s *speaker) compose(j *job) {
	var life uint32
	t := j.target
	if j.kind == jobMap {
		life = uint32(t.life / time.Second)
	} else {
		t.external = netip.AddrPort{}
	}
	local := s.g.Local.WithZone("")
	switch {
	case s.method == PCP && t.Protocol == 0:
		s.request = appendPCP(nil, pcpAnnounce, 0, local)
	case s.method == PCP:
		s.request = appendMap(nil, life, local, t.nonce, t.Protocol, t.Internal.Port(), t.external)
	case t.Protocol == 0:
		s.request = []byte{0, pmpAddress}
	default:
		s.request = appendPMP(nil, t.Protocol, t.Internal.Port(), t.external.Port(), life)
	}
}

// send sends the request, again and again at the times of RFC 6886 section 3.1 (250 ms,
// doubling) or RFC 6887 section 8.1.1 (3 s within 10 %, doubling).
func (s *speaker) send(now time.Time) {
	m := s.g.m
	m.out.Push(machine.Transmit{Op: machine.Send, Socket: s.g.socket, Remote: netip.AddrPortFrom(s.g.Addr, m.cfg.Port), Data: s.request})
	wait := 250 * time.Millisecond << s.sends
	if s.method == PCP {
		wait = time.Duration((0.9 + 0.2*m.random.Float64()) * float64(3*time.Second<<s.sends))
	}
	s.sends++
	m.timers.Set(&s.timer, earlier(now.Add(wait), s.deadline))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (s *speaker) due(now time.Time) {
	switch {
	case s.method == UPnP:
		s.upnp.due(now)
	case !now.Before(s.deadline):
		s.finish(now, grant{err: ErrNoAnswer})
	default:
		s.send(now)
	}
}

// finish takes in what came of the first job, and begins the next one.
func (s *speaker) finish(now time.Time, g grant) {
	if len(s.jobs) == 0 {
		return
	}
	s.stopFirst()
	j := s.jobs[0]
	s.jobs, s.running = s.jobs[1:], false
	if g.err == nil {
		s.says = ""
	} else if _, ok := g.err.(*RouterError); ok || j.kind != jobWatch {
		s.says = g.err.Error()
	}
	switch j.kind {
	case jobProbe:
		if g.err != nil {
			s.state, s.err = mute, g.err
		} else {
			s.state, s.err = speaks, nil
			s.g.order = append(slices.DeleteFunc(s.g.order, func(o *speaker) bool { return o == s }), s)
		}
		if g.err == nil {
			s.restarted(now) // where it was asked because it had been silent
		}
		s.g.m.placeAll(now)
	case jobWatch:
		if g.err != nil && s.method == UPnP { // it may have another URL now
			s.jobs = append(s.jobs, &job{kind: jobProbe})
		}
	case jobMap:
		if errors.Is(g.err, ErrNoAnswer) && j.mp.state != Mapped {
			s.state, s.err = mute, g.err
		}
		j.mp.granted(now, s, g)
	case jobUnmap:
		j.mp.gone()
	}
	s.next(now)
}

// restarted has all mappings of this protocol made anew: within 5 s at random where the
// protocol wants that (RFC 6886 section 3.7), never more often than every 5 s.
func (s *speaker) restarted(now time.Time) {
	for _, mp := range s.g.m.mappings {
		if mp.by == s && mp.state == Mapped && mp.fresh.Before(now) {
			at := now
			if s.method == NATPMP {
				at = now.Add(time.Duration(s.g.m.random.Int64N(int64(5 * time.Second))))
			}
			mp.renewAt(now, at)
		}
	}
}

// readdress takes in the router's outside address, for protocols that tell it apart from
// the mappings.
func (s *speaker) readdress(now time.Time, external netip.Addr) {
	external = external.Unmap()
	if s.external == external {
		return
	}
	s.external = external
	for _, mp := range s.g.m.mappings {
		if mp.by == s && mp.state == Mapped {
			mp.renewAt(now, now)
		}
	}
}

// pcp takes in a response of PCP.
func (s *speaker) pcp(now time.Time, a pcpAnswer) {
	if !s.running {
		return
	}
	j := s.jobs[0]
	if j.target.Protocol == 0 {
		if a.opcode != pcpAnnounce {
			return
		}
	} else if !a.mapped || a.nonce != j.target.nonce || a.protocol != j.target.Protocol || a.internal != j.target.Internal.Port() {
		return
	}
	if s.epoch.restarted(now, a.epoch) {
		defer s.restarted(now)
	}
	refused := &RouterError{Code: int(a.result), Name: named(pcpResults[:], int(a.result)), wait: time.Duration(min(a.lifetime, 86400)) * time.Second}
	switch {
	case j.kind == jobProbe && a.result != 0 && refused.Name != "UNSUPP_OPCODE" && refused.Name != "NOT_AUTHORIZED":
		s.finish(now, grant{err: refused})
	case j.kind != jobMap: // that there is an answer is enough
		s.finish(now, grant{})
	case a.result != 0:
		s.finish(now, grant{err: refused})
	case a.lifetime == 0:
		s.finish(now, grant{err: bad("granted for no time at all")})
	default:
		s.external = a.external.Addr()
		s.finish(now, grant{external: a.external, lifetime: time.Duration(a.lifetime) * time.Second})
	}
}

// pmp takes in a response of NAT-PMP.
func (s *speaker) pmp(now time.Time, a pmpAnswer) {
	if !s.running {
		return
	}
	j := s.jobs[0]
	if j.target.Protocol == 0 {
		if a.opcode != pmpAddress {
			return
		}
	} else if a.opcode != pmpOpcode(j.target.Protocol) || a.result == 0 && a.internal != j.target.Internal.Port() {
		return
	}
	if s.epoch.restarted(now, a.epoch) {
		defer s.restarted(now)
	}
	switch {
	case a.result != 0 && j.kind != jobWatch && j.kind != jobUnmap:
		s.finish(now, grant{err: &RouterError{Code: int(a.result), Name: named(pmpResults[:], int(a.result))}})
	case a.opcode == pmpAddress && a.result == 0:
		s.readdress(now, a.external)
		s.finish(now, grant{})
	case j.kind == jobMap && a.lifetime == 0:
		s.finish(now, grant{err: bad("granted for no time at all")})
	default:
		s.finish(now, grant{external: netip.AddrPortFrom(s.external, a.mapped), lifetime: time.Duration(a.lifetime) * time.Second})
	}
}
