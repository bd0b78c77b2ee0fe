package portmap

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// addition is one attempt to map a port, in the way that the router has led to.
type addition struct {
	port  uint16
	lease int // seconds; 0: until it is deleted
	any   bool
	tries int
}

// maxTries is how often a port is asked for in one job, each time in another way.
const maxTries = 6

// mapPort does the job of making or renewing a mapping.
func (u *upnp) mapPort(now time.Time, j *job) {
	lease := int(j.target.life / time.Second)
	if u.s.g.Addr.Is6() {
		u.pinhole(now, j, lease)
		return
	}
	u.add(now, j, addition{
		port: j.target.external.Port(), lease: lease,
		// IGD 2 finds a free port itself; what was granted is renewed by its port.
		any: strings.HasSuffix(u.urn, ":2") && !j.target.external.Addr().IsValid(),
	})
}

func (u *upnp) add(now time.Time, j *job, a addition) {
	action := "AddPortMapping"
	if a.any {
		action = "AddAnyPortMapping"
	}
	a.tries++
	t := j.target
	u.call(now, action, []arg{
		{"NewRemoteHost", ""}, {"NewExternalPort", number(int(a.port))}, {"NewProtocol", t.Protocol.String()},
		{"NewInternalPort", number(int(t.Internal.Port()))}, {"NewInternalClient", t.Internal.Addr().String()}, {"NewEnabled", "1"},
		{"NewPortMappingDescription", u.s.g.m.cfg.Description}, {"NewLeaseDuration", number(a.lease)},
	}, func(now time.Time, said map[string]string, err error) {
		if err != nil {
			if a.tries < maxTries && u.another(&a, t, code(err)) {
				u.add(now, j, a)
			} else {
				u.s.finish(now, grant{err: err})
			}
			return
		}
		if a.any {
			n, err := strconv.ParseUint(said["NewReservedPort"], 10, 16)
			if err != nil || n == 0 {
				u.s.finish(now, grant{err: bad("reserved port %q, which is none", clip(said["NewReservedPort"]))})
				return
			}
			a.port = uint16(n)
		}
		u.s.finish(now, grant{external: netip.AddrPortFrom(u.s.external, a.port), lifetime: time.Duration(a.lease) * time.Second})
	})
}

// another finds another way to ask after an error; false: there is none.
func (u *upnp) another(a *addition, t target, code int) bool {
	switch {
	case a.any && (code == 401 || code == 402 || code == 501 || code == 602):
		a.any = false
	case a.lease != 0 && (code == 725 || code == 402 || code == 501):
		a.lease = 0 // OnlyPermanentLeasesSupported, in other routers' words too
	case code == 724 && a.port != t.Internal.Port():
		a.port = t.Internal.Port() // SamePortValuesRequired
	case code == 718 || code == 729:
		a.port = uint16(49152 + u.s.g.m.random.IntN(16384)) // somebody else has it
	default:
		return false
	}
	return true
}

// unmap deletes a mapping. What the router says to that changes nothing.
func (u *upnp) unmap(now time.Time, j *job) {
	t := j.target
	done := func(now time.Time, _ map[string]string, err error) { u.s.finish(now, grant{err: err}) }
	if u.s.g.Addr.Is6() {
		u.call(now, "DeletePinhole", []arg{{"UniqueID", t.hole}}, done)
		return
	}
	u.call(now, "DeletePortMapping", []arg{
		{"NewRemoteHost", ""}, {"NewExternalPort", number(int(t.external.Port()))}, {"NewProtocol", t.Protocol.String()},
	}, done)
}

// pinhole opens a pinhole in IPv6's firewall, or prolongs it.
func (u *upnp) pinhole(now time.Time, j *job, lease int) {
	t := j.target
	if t.hole != "" {
		u.call(now, "UpdatePinhole", []arg{{"UniqueID", t.hole}, {"NewLeaseTime", number(lease)}}, func(now time.Time, _ map[string]string, err error) {
			if code(err) == 704 { // it is gone
				j.target.hole = ""
				u.pinhole(now, j, lease)
				return
			}
			u.holed(now, t, t.hole, lease, err)
		})
		return
	}
	u.call(now, "AddPinhole", []arg{
		{"RemoteHost", ""}, {"RemotePort", "0"}, {"InternalClient", t.Internal.Addr().String()}, {"InternalPort", number(int(t.Internal.Port()))},
		{"Protocol", number(int(t.Protocol))}, {"LeaseTime", number(lease)},
	}, func(now time.Time, said map[string]string, err error) {
		if err == nil && (said["UniqueID"] == "" || len(said["UniqueID"]) > 64) {
			err = bad("names its pinhole %q", clip(said["UniqueID"]))
		}
		u.holed(now, t, said["UniqueID"], lease, err)
	})
}

func (u *upnp) holed(now time.Time, t target, hole string, lease int, err error) {
	if err != nil {
		u.s.finish(now, grant{err: err})
		return
	}
	u.s.finish(now, grant{external: t.Internal, lifetime: time.Duration(lease) * time.Second, hole: hole})
}

// look asks whether the router has changed its address or lost our mappings; UPnP knows
// no epoch.
func (u *upnp) look(now time.Time) {
	if u.s.g.Addr.Is6() {
		u.s.restarted(now) // to renew a pinhole is to ask whether it is there
		u.s.finish(now, grant{})
		return
	}
	var held []*mapping
	for _, mp := range u.s.g.m.mappings {
		if mp.by == u.s && mp.state == Mapped {
			held = append(held, mp)
		}
	}
	u.check(now, func(now time.Time, err error) {
		if err != nil {
			u.s.finish(now, grant{err: err})
			return
		}
		u.lookAt(now, held)
	})
}

func (u *upnp) lookAt(now time.Time, held []*mapping) {
	if len(held) == 0 {
		u.s.finish(now, grant{})
		return
	}
	mp := held[0]
	t := mp.info
	u.call(now, "GetSpecificPortMappingEntry", []arg{
		{"NewRemoteHost", ""}, {"NewExternalPort", number(int(t.External.Port()))}, {"NewProtocol", mp.Protocol.String()},
	}, func(now time.Time, said map[string]string, err error) {
		lost := code(err) == 714 || code(err) == 713
		if err == nil && said["NewInternalClient"] != "" && said["NewInternalClient"] != t.Internal.Addr().String() {
			lost = true // somebody else has it now
		}
		if lost && mp.by == u.s && mp.state == Mapped {
			mp.renewAt(now, now)
		}
		if errors.Is(err, ErrNoAnswer) {
			u.s.finish(now, grant{err: fmt.Errorf("asked for its mappings: %w", err)})
			return
		}
		u.lookAt(now, held[1:])
	})
}
