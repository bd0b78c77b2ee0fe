package portmap

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// upnp is how a speaker speaks UPnP: it finds the description by SSDP, fetches it, and
// calls the actions of the service that maps ports, or of IPv6's firewall.
type upnp struct {
	s         *speaker
	http      httpClient
	searching bool
	searches  int
	trying    bool     // a description
	places    []place  // of descriptions, not yet tried
	known     []string // locations that were told
	why       error    // what was wrong with the last
	at        place    // the service's control URL
	urn       string
}

// maxLocations is how many descriptions of one gateway are looked at.
const maxLocations = 4

// kinds are the services of use, the best first, by family.
var (
	kinds4 = []string{"WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:2", "WANPPPConnection:1"}
	kinds6 = []string{"WANIPv6FirewallControl:1"}
)

func newUPnP(s *speaker) dialect {
	u := &upnp{s: s}
	u.http.m = s.g.m
	u.http.local = netip.AddrPortFrom(s.g.Local, 0)
	return u
}

// habits: a look costs a connection; a router that has restarted may have another URL.
func (u *upnp) habits() habits { return habits{rests: 6, moves: true} }

func (u *upnp) unreachable(time.Time, machine.Notice) {}

func (u *upnp) stop() {
	u.searching, u.trying = false, false
	u.http.stop()
}

func (u *upnp) begin(now time.Time, j *job) {
	switch j.kind {
	case jobProbe:
		u.places, u.known, u.why = nil, nil, ErrNoAnswer
		u.searching, u.searches = true, 0
		u.search(now)
	case jobMap:
		u.mapPort(now, j)
	case jobUnmap:
		u.unmap(now, j)
	case jobWatch:
		u.look(now)
	}
}

// search asks the gateway itself, and everybody, for not all answer both; the gateway's
// answers alone count. Three times, as datagrams get lost.
func (u *upnp) search(now time.Time) {
	g, m := u.s.g, u.s.g.m
	group := group4
	if g.Addr.Is6() {
		group = group6.WithZone(g.Addr.Zone())
	}
	for _, to := range [...]netip.Addr{g.Addr, group} {
		for version := 1; version <= 2; version++ {
			at := netip.AddrPortFrom(to, m.cfg.SSDPPort)
			m.out.Push(machine.Transmit{Op: machine.Send, Socket: g.socket, Remote: at, Data: searchFor(at, version)})
		}
	}
	u.searches++
	wait := u.s.deadline
	if u.searches < 3 {
		wait = earlier(wait, now.Add(time.Second))
	}
	m.timers.Set(&u.s.timer, wait)
}

func (u *upnp) due(now time.Time) {
	switch {
	case !u.searching:
	case now.Before(u.s.deadline):
		u.search(now)
	default:
		u.searching = false
		if !u.trying {
			u.s.finish(now, grant{err: u.why})
		}
	}
}

// hear takes in an answer to the search, from the gateway alone; it must also name the address
// that it came from.
func (u *upnp) hear(now time.Time, d machine.Datagram) {
	if !u.searching || !u.s.g.mayBe(d.Remote.Addr()) {
		return
	}
	location, ok := parseSSDP(d.Data)
	if !ok || len(u.known) == maxLocations || slices.Contains(u.known, location) {
		return
	}
	u.known = append(u.known, location)
	p, err := locate(location)
	if err == nil {
		p, err = p.on(d.Remote.Addr())
	}
	if err != nil {
		u.why = bad("the location that SSDP tells: %q %v", clip(location), err)
		return
	}
	u.places = append(u.places, p)
	if !u.trying {
		u.describe(now)
	}
}

// describe fetches the next description.
func (u *upnp) describe(now time.Time) {
	if len(u.places) == 0 {
		u.trying = false
		if !u.searching {
			u.s.finish(now, grant{err: u.why})
		}
		return
	}
	p := u.places[0]
	u.places = u.places[1:]
	u.trying = true
	u.http.do(now, p.addr, getRequest(p), maxDescription, func(now time.Time, status int, body []byte, err error) {
		if err == nil && status != 200 {
			err = statusError(status)
		}
		var all []service
		if err == nil {
			all, err = u.services(p, body)
		}
		if err != nil {
			u.why = err
			u.describe(now)
			return
		}
		u.try(now, all)
	})
}

// services are those of a description that are of use, with the best first.
func (u *upnp) services(p place, description []byte) (fit []service, err error) {
	all, base, err := parseDescription(description)
	if err != nil {
		return nil, err
	}
	if base != "" { // UPnP 1.0; one that leads elsewhere is no reason to follow it
		if b, err := p.resolve(base); err == nil {
			p = b
		}
	}
	kinds := kinds4
	if u.s.g.Addr.Is6() {
		kinds = kinds6
	}
	for _, kind := range kinds {
		for _, s := range all {
			if s.urn != servicePrefix+kind || len(fit) == 4 {
				continue
			}
			at, bad := p.resolve(s.control)
			if bad != nil {
				err = bad
				continue
			}
			fit = append(fit, service{s.urn, "http://" + at.addr.String() + at.path})
		}
	}
	if len(fit) == 0 && err == nil {
		err = bad("it has no service that maps ports for this family of addresses")
	}
	if len(fit) > 0 {
		err = nil
	}
	return fit, err
}

// try asks services for the outside address, or the firewall for its state, until one
// is of use.
func (u *upnp) try(now time.Time, all []service) {
	if len(all) == 0 {
		u.describe(now)
		return
	}
	s := all[0]
	at, err := locate(s.control)
	if err != nil {
		u.why = err
		u.try(now, all[1:])
		return
	}
	u.at, u.urn = at, s.urn
	u.check(now, func(now time.Time, err error) {
		if err != nil {
			u.why = err
			u.try(now, all[1:])
			return
		}
		u.searching, u.trying = false, false
		u.s.finish(now, grant{})
	})
}

// check asks whether the service can be of use now.
func (u *upnp) check(now time.Time, then func(time.Time, error)) {
	if u.s.g.Addr.Is6() {
		u.call(now, "GetFirewallStatus", nil, func(now time.Time, a map[string]string, err error) {
			if err == nil && (isFalse(a["InboundPinholeAllowed"]) && !isFalse(a["FirewallEnabled"])) {
				err = bad("its firewall allows no pinholes")
			}
			then(now, err)
		})
		return
	}
	u.call(now, "GetExternalIPAddress", nil, func(now time.Time, a map[string]string, err error) {
		if err == nil {
			ip, bad := netip.ParseAddr(a["NewExternalIPAddress"])
			if bad != nil || !ip.Unmap().Is4() || ip.IsUnspecified() {
				err = notConnected(a["NewExternalIPAddress"])
			} else {
				u.s.readdress(now, ip)
			}
		}
		then(now, err)
	})
}

func notConnected(told string) error {
	return bad("it tells no outside address (%q): it is not connected, or behind another NAT", clip(told))
}

func isFalse(s string) bool {
	return s == "0" || strings.EqualFold(s, "false") || strings.EqualFold(s, "no")
}

// call calls an action of the service.
func (u *upnp) call(now time.Time, action string, args []arg, then func(time.Time, map[string]string, error)) {
	u.http.do(now, u.at.addr, soapRequest(u.at, u.urn, action, args...), maxSOAP, func(now time.Time, status int, body []byte, err error) {
		var a map[string]string
		if err == nil {
			a, err = parseSOAP(status, body, action)
		}
		then(now, a, err)
	})
}

// code is the number of a router's error; 0: it is none.
func code(err error) int {
	var re *RouterError
	if errors.As(err, &re) {
		return re.Code
	}
	return 0
}

func number(n int) string { return strconv.Itoa(n) }
