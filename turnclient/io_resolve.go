package turnclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
)

// Resolver looks up what the DNS says of a server's host; *net.Resolver is one. One that
// also is a [NAPTRResolver] is asked for NAPTR records first.
type Resolver interface {
	// LookupNetIP returns the addresses of a host; network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	// LookupSRV returns the records of _service._proto.name, or of name itself where
	// service and proto are empty. Their order does not matter.
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
}

// NAPTRResolver is a Resolver that knows NAPTR records, as net.Resolver does not. By
// them a domain says which transports its servers prefer (RFC 5928).
type NAPTRResolver interface {
	Resolver
	// LookupNAPTR returns the records of a name. Their order does not matter.
	LookupNAPTR(ctx context.Context, name string) ([]NAPTR, error)
}

// ResolveError says why a server of the configuration could not be found.
type ResolveError struct {
	Server string // its URI
	Err    error  // of the lookup, or what is wrong with its answer
}

// Error names the server and the reason.
func (e *ResolveError) Error() string {
	s := strings.TrimPrefix(e.Err.Error(), "turnclient: ")
	return fmt.Sprintf("turnclient: cannot find server %q: %s; check its name and the DNS, or name an address", e.Server, s)
}

// Unwrap returns Err.
func (e *ResolveError) Unwrap() error { return e.Err }

// Bounds of what one URI may lead to, whatever the DNS says.
const (
	maxAddrs   = 4  // of one host
	maxTargets = 8  // SRV records followed
	maxQueries = 16 // for NAPTR records and where they lead
	maxOfKind  = 12 // endpoints over one transport
)

// servicePatience is how long records of a service are waited for once the host's own
// addresses are known: there are networks where such queries are never answered.
const servicePatience = time.Second

// errNoService: RFC 2782 has a record that says so.
var errNoService = errors.New("its DNS says that it has no such service")

// lookup finds out where one URI leads to (RFC 5928 section 3).
type lookup struct {
	cfg    *Config
	uri    URI
	random *rand.Rand // used by one goroutine at a time

	known  chan struct{} // closed when the host's own addresses are, or are not to be had
	ips    []netip.Addr  // read after known
	ipsErr error         // read after known

	// patient ends servicePatience after the host's own addresses are known.
	patient context.Context
}

// resolve returns the ways to reach u's server, the best first. It returns once what it
// has started has ended.
func (c *Config) resolve(ctx context.Context, u URI, random *rand.Rand) ([]Endpoint, error) {
	direct, found, err := c.byProxy(ctx, u)
	if err != nil || len(direct) == 0 {
		return found, err
	}
	if ip, err := netip.ParseAddr(u.Host); err == nil {
		return append(at([]netip.Addr{ip}, u.Port, direct, u.Host), found...), nil
	}
	ctx, cancel := context.WithCancel(ctx)
	patient, giveUp := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	l := &lookup{cfg: c, uri: u, random: random, known: make(chan struct{}), patient: patient}
	wg.Go(func() {
		defer giveUp()
		l.ips, l.ipsErr = l.host(ctx, u.Host)
		close(l.known)
		if l.ipsErr != nil {
			<-ctx.Done() // the services are all the hope there is
			return
		}
		wait := time.NewTimer(servicePatience)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	})
	all, err := l.endpoints(ctx, direct)
	if len(found) > 0 {
		err = nil
	}
	return append(all, found...), err
}

// byProxy returns the endpoints that a proxy is to connect to, and the transports that
// are left.
func (c *Config) byProxy(ctx context.Context, u URI) (direct []Transport, found []Endpoint, err error) {
	for _, t := range u.transports(c.DTLS != nil) {
		if t.stream() && c.Proxy != nil && !u.isIP() {
			server := net.JoinHostPort(u.Host, strconv.Itoa(int(portOr(u.Port, t))))
			proxy, err := c.proxyFor(ctx, server)
			if err != nil {
				return nil, nil, err
			}
			if proxy != nil {
				found = append(found, Endpoint{Host: server, Transport: t, Name: u.Host})
				continue
			}
		}
		direct = append(direct, t)
	}
	return direct, found, nil
}

func portOr(port uint16, t Transport) uint16 {
	if port == 0 {
		return t.port()
	}
	return port
}

// at returns the endpoints at ips, transport by transport.
func at(ips []netip.Addr, port uint16, transports []Transport, name string) (all []Endpoint) {
	for _, t := range transports {
		for _, ip := range ips {
			all = append(all, Endpoint{Addr: netip.AddrPortFrom(ip, portOr(port, t)), Transport: t, Name: name})
		}
	}
	return all
}

// endpoints is RFC 5928 section 3 for a host that is a name: step 2 where there is a
// port, 3 where there is a transport, else 4 and 5.
func (l *lookup) endpoints(ctx context.Context, transports []Transport) ([]Endpoint, error) {
	if l.uri.Port != 0 {
		ips, err := l.own()
		return at(ips, l.uri.Port, transports, l.uri.Host), err
	}
	if r, ok := l.cfg.Resolver.(NAPTRResolver); ok && l.uri.Network == "" {
		if all, err := l.naptr(ctx, r, transports); len(all) > 0 || err != nil {
			return all, err
		}
	}
	return l.services(ctx, transports)
}

// own returns the host's own addresses, when they are known.
func (l *lookup) own() ([]netip.Addr, error) {
	<-l.known
	return l.ips, l.ipsErr
}

// services finds the servers by their SRV records, and at the host itself for transports
// that have none.
func (l *lookup) services(ctx context.Context, transports []Transport) (all []Endpoint, err error) {
	service := "turn"
	if l.uri.Secure {
		service = "turns"
	}
	records := make([][]*net.SRV, len(transports))
	var wg sync.WaitGroup
	for i, t := range transports {
		wg.Go(func() {
			proto := "udp"
			if t.stream() {
				proto = "tcp"
			}
			// With an error there may be records all the same.
			_, records[i], _ = l.cfg.Resolver.LookupSRV(l.patient, service, proto, l.uri.Host)
		})
	}
	wg.Wait()
	found := make([][]Endpoint, len(transports))
	errs := make([]error, len(transports))
	for i, t := range transports {
		targets, err := l.order(records[i])
		if err != nil {
			errs[i] = err
			continue
		}
		wg.Go(func() {
			if found[i], errs[i] = l.follow(ctx, targets, t); errs[i] == nil && len(targets) == 0 {
				var ips []netip.Addr
				ips, errs[i] = l.own()
				found[i] = at(ips, 0, []Transport{t}, l.uri.Host)
			}
		})
	}
	wg.Wait()
	for _, f := range found {
		all = append(all, f...)
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, firstOf(errs)
}

// firstOf returns the first error there is: those of several transports are mostly the
// same.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// host returns the addresses of a host that can be a server's, IPv6 and IPv4 in turn.
func (l *lookup) host(ctx context.Context, name string) ([]netip.Addr, error) {
	ips, err := l.cfg.Resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	var good []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); ipcheck.Unusable(netip.AddrPortFrom(ip, 1), true) == "" {
			good = append(good, ip)
		}
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("the DNS gives no address of %s that can be a server's", name)
	}
	return interleave(good), nil
}

// interleave puts IPv6 and IPv4 addresses in turn, as the resolver's first has it (RFC
// 8305 section 4).
func interleave(ips []netip.Addr) (all []netip.Addr) {
	var first, second []netip.Addr
	for _, ip := range ips {
		if len(first) == 0 || ip.Is4() == first[0].Is4() {
			first = append(first, ip)
		} else {
			second = append(second, ip)
		}
	}
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			all = append(all, first[i])
		}
		if i < len(second) {
			all = append(all, second[i])
		}
	}
	return all[:min(len(all), maxAddrs)]
}
