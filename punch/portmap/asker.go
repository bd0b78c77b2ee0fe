package portmap

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// asker asks by datagrams, again and again, as PCP and NAT-PMP do. Both are served at one
// port.
type asker struct {
	s       *speaker
	request []byte
	sends   int
	pause   func(sends int) time.Duration // to the next one
}

// ask begins with a request.
func (a *asker) ask(now time.Time, request []byte) {
	a.request, a.sends = request, 0
	a.send(now)
}

func (a *asker) send(now time.Time) {
	m := a.s.g.m
	m.out.Push(machine.Transmit{Op: machine.Send, Socket: a.s.g.socket, Remote: netip.AddrPortFrom(a.s.g.Addr, m.cfg.Port), Data: a.request})
	wait := a.pause(a.sends)
	a.sends++
	m.timers.Set(&a.s.timer, earlier(now.Add(wait), a.s.deadline))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (a *asker) due(now time.Time) {
	if !now.Before(a.s.deadline) {
		a.s.finish(now, grant{err: ErrNoAnswer})
		return
	}
	a.send(now)
}

func (a *asker) stop() {}

// asked reports whether an address is the one that was asked, whose answers alone count
// (RFC 6886 section 3.3, RFC 6887 section 8.3).
func (a *asker) asked(remote netip.AddrPort) bool {
	g := a.s.g
	return remote.Addr().WithZone("") == g.Addr.WithZone("") && remote.Port() == g.m.cfg.Port
}

// unreachable is a hint alone: what has answered is not given up.
func (a *asker) unreachable(now time.Time, n machine.Notice) {
	if n.Reason.Hard() && a.asked(n.Remote) {
		a.unspoken(now, n.Err)
	}
}

// unspoken takes in that the router does not speak the dialect. It counts only where it
// has not answered yet, for anybody could say so.
func (a *asker) unspoken(now time.Time, why error) {
	if s := a.s; s.state == asking && len(s.jobs) > 0 {
		s.finish(now, grant{err: why})
	}
}
