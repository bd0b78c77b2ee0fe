package natprobe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// defaultPort is the port of a STUN server that none is given for (RFC 8489
// section 8.1).
const defaultPort = 3478

// ResolveServers turns the names of STUN servers into addresses. A name is
// HOST:PORT, or HOST alone for port 3478, where HOST is a DNS name or an IP
// address; "stun:" in front (RFC 7064) is allowed. network is "ip", "ip4" or
// "ip6", as sockets of one family cannot reach the other. A name with several
// addresses gives the first of each family.
//
// The names are looked up at the same time. What could be resolved is returned,
// in the order of names, beside an error that joins the failures of the rest: a
// *ConfigError for a malformed name, a *net.DNSError for one that is not found.
func ResolveServers(ctx context.Context, network string, names ...string) ([]netip.AddrPort, error) {
	if network != "ip" && network != "ip4" && network != "ip6" {
		return nil, &ConfigError{"network", fmt.Sprintf(`%q is not known; use "ip", "ip4" or "ip6"`, network)}
	}
	if n := len(names); n == 0 || n > MaxServers {
		return nil, &ConfigError{"names", fmt.Sprintf("%d STUN servers named; name 1 to %d", n, MaxServers)}
	}
	found := make([][]netip.AddrPort, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { found[i], errs[i] = resolve(ctx, network, name) })
	}
	wg.Wait()
	var all []netip.AddrPort
	for _, f := range found {
		all = append(all, f...)
	}
	return all, joined(errs)
}

// joined is errors.Join in one line.
func joined(errs []error) error {
	failed := lookupErrors(slices.DeleteFunc(errs, func(err error) bool { return err == nil }))
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	}
	return failed
}

// lookupErrors are the errors of several servers.
type lookupErrors []error

func (e lookupErrors) Unwrap() []error { return e }

func (e lookupErrors) Error() string {
	text := e[0].Error()
	for _, err := range e[1:] {
		text += "; " + err.Error()
	}
	return text
}

func resolve(ctx context.Context, network, name string) ([]netip.AddrPort, error) {
	host, port, err := splitServer(name)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, fmt.Errorf("natprobe: STUN server %q: %w; check its name and the DNS, or name an address", name, err)
	}
	var v4, v6 bool
	var addrs []netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		seen := &v4
		if ip.Is6() {
			seen = &v6
		}
		if !*seen {
			addrs = append(addrs, netip.AddrPortFrom(ip, port))
			*seen = true
		}
	}
	return addrs, nil
}

// CheckServer returns a *ConfigError unless name is one that [ResolveServers] can look up.
// It sends nothing.
func CheckServer(name string) error {
	_, _, err := splitServer(name)
	return err
}

func splitServer(name string) (host string, port uint16, err error) {
	host = strings.TrimPrefix(name, "stun:")
	port = defaultPort
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ip.String(), port, nil
	}
	// No name in the DNS has these: it would be looked up as it is.
	switch user := strings.LastIndexByte(host, '@'); {
	case user >= 0: // what stands before it may be a secret
		return "", 0, &ConfigError{"names", fmt.Sprintf("a STUN server needs no user name or password; write %q, and leave out what is before it", host[user+1:])}
	case strings.Contains(host, "/"):
		return "", 0, &ConfigError{"names", fmt.Sprintf("%q is no STUN server; write HOST:PORT, without // and path", name)}
	case strings.Contains(host, "?"):
		return "", 0, &ConfigError{"names", fmt.Sprintf("%q is no STUN server; write HOST:PORT, without ? and what follows", name)}
	}
	if strings.Contains(host, ":") {
		var text string
		host, text, err = net.SplitHostPort(host)
		var n uint64
		if err == nil {
			n, err = strconv.ParseUint(text, 10, 16)
		}
		if err != nil || n == 0 {
			return "", 0, &ConfigError{"names", fmt.Sprintf("%q is no STUN server; write HOST:PORT, with a port from 1 to 65535", name)}
		}
		port = uint16(n)
	}
	if host == "" {
		return "", 0, &ConfigError{"names", fmt.Sprintf("%q is no STUN server; write HOST:PORT", name)}
	}
	return host, port, nil
}
