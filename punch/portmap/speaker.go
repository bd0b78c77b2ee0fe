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
	dialect  dialect
	state    speaking
	err      error // why it does not speak
	jobs     []*job
	running  bool // the first of jobs has begun
	timer    machine.Timer
	deadline time.Time // of the first job
	epoch    epoch
	external netip.Addr // that the router told
	says     string     // what it said last
}

// dialect is how a speaker speaks its protocol. There are three: pcp, pmp and upnp.
type dialect interface {
	habits() habits
	// begin asks for what a job wants. The speaker's finish is called when that has come to an end.
	begin(now time.Time, j *job)
	// due is told that the speaker's timer has fired.
	due(now time.Time)
	// hear takes in a datagram to the router's socket, which may be of another dialect, from
	// anybody.
	hear(now time.Time, d machine.Datagram)
	// unreachable takes in what ICMP says of a datagram that left this socket.
	unreachable(now time.Time, n machine.Notice)
	// stop ends what is under way; nothing comes of it.
	stop()
}

// habits are what else is different between dialects.
type habits struct {
	rests  int           // how many of the gateway's ticks go by for one look after the router
	spread time.Duration // within which all is made anew, at random, after the router has restarted
	moves  bool          // the router may have to be found again when it does not answer
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

func newSpeaker(g *gateway, method Method, speak func(*speaker) dialect) *speaker {
	s := &speaker{g: g, method: method, err: ErrNoAnswer}
	s.dialect = speak(s)
	s.timer.Fire = s.dialect.due
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
	s.dialect.stop()
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
	s.deadline = now.Add(patience(j.kind))
	s.dialect.begin(now, j)
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
		if g.err != nil && s.dialect.habits().moves {
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

// restarted has all mappings of this protocol made anew, never more often than every 5 s.
func (s *speaker) restarted(now time.Time) {
	spread := s.dialect.habits().spread
	for _, mp := range s.g.m.mappings {
		if mp.by == s && mp.state == Mapped && mp.fresh.Before(now) {
			at := now
			if spread > 0 {
				at = now.Add(time.Duration(s.g.m.random.Int64N(int64(spread))))
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
