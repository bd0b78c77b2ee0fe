package turnclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
)

// URI is a TURN server as RFC 7065 writes it.
type URI struct {
	Host      string // a name or an IP address, without brackets
	Port      uint16 // 0: none was given
	Transport Transport
	given     bool // the transport was
}

// Default ports (RFC 8656 section 4.1).
const (
	defaultPort    = 3478
	defaultTLSPort = 5349
)

// ParseURI parses "turn:HOST", "turns:HOST", "turn:HOST:PORT?transport=tcp" and the
// like. Without a transport turn: means UDP and turns: means TLS. The error is a
// *ConfigError.
func ParseURI(s string) (URI, error) {
	fail := func(why string) (URI, error) {
		return URI{}, &ConfigError{"Servers", fmt.Sprintf("%q %s; write turn:HOST:PORT?transport=tcp", s, why)}
	}
	scheme, rest, _ := strings.Cut(s, ":")
	scheme = strings.ToLower(scheme)
	if scheme != "turn" && scheme != "turns" {
		return fail("is no turn: or turns: URI")
	}
	rest, query, asked := strings.Cut(rest, "?")
	u := URI{}
	secure := scheme == "turns"
	if secure {
		u.Transport = TLS
	}
	if asked {
		name, value, _ := strings.Cut(query, "=")
		switch {
		case name != "transport":
			return fail("has a parameter other than transport")
		case value == "udp" && secure:
			u.Transport = DTLS
		case value == "udp":
		case value == "tcp" && !secure:
			u.Transport = TCP
		case value == "tcp":
		default:
			return fail("names an unknown transport")
		}
		u.given = true
	}
	u.Host = rest
	if ip, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		u.Host = ip.Unmap().String()
	} else if strings.Contains(rest, ":") {
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			return fail("has a malformed host or port")
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fail("has a port outside 1 to 65535")
		}
		u.Host, u.Port = host, uint16(n)
	}
	if u.Host == "" || strings.ContainsAny(u.Host, "/@ []") {
		return fail("has no host, or a malformed one")
	}
	return u, nil
}

func (u URI) port() uint16 {
	switch {
	case u.Port != 0:
		return u.Port
	case u.Transport == TLS || u.Transport == DTLS:
		return defaultTLSPort
	}
	return defaultPort
}

// resolve turns the configured URIs into endpoints, in their order. What cannot be
// resolved is passed over, unless nothing can.
func (c *Config) resolve(ctx context.Context) ([]Endpoint, error) {
	if n := len(c.Servers); n == 0 || n > MaxServers {
		return nil, &ConfigError{"Servers", fmt.Sprintf("%d named; name 1 to %d TURN servers", n, MaxServers)}
	}
	lookup := c.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	uris := make([]URI, len(c.Servers))
	for i, s := range c.Servers {
		u, err := ParseURI(s)
		if err != nil {
			return nil, err
		}
		if _, err := netip.ParseAddr(u.Host); err == nil && u.Transport == TLS && (c.TLS == nil || c.TLS.ServerName == "" && !c.TLS.InsecureSkipVerify) {
			// RFC 8489 section 8.1: there is no name to hold the certificate against.
			return nil, &ConfigError{"Servers", fmt.Sprintf("%q names an IP address, for which no certificate can be checked; name the host, or set TLS.ServerName", s)}
		}
		if u.Transport == DTLS {
			return nil, &ConfigError{"Servers", fmt.Sprintf("%q asks for DTLS, which this client does not have; use ?transport=tcp", s)}
		}
		uris[i] = u
	}
	found := make([][]Endpoint, len(uris))
	errs := make([]error, len(uris))
	var wg sync.WaitGroup
	for i, u := range uris {
		wg.Go(func() {
			ips := []netip.Addr{}
			ip, err := netip.ParseAddr(u.Host)
			if err == nil {
				ips = append(ips, ip)
			} else if ips, err = lookup(ctx, "ip", u.Host); err != nil {
				errs[i] = fmt.Errorf("turnclient: server %q: %w", c.Servers[i], err)
				return
			}
			for _, ip := range interleave(ips) {
				found[i] = append(found[i], Endpoint{netip.AddrPortFrom(ip, u.port()), u.Transport, u.Host})
			}
		})
	}
	wg.Wait()
	var all []Endpoint
	for _, f := range found {
		all = append(all, f...)
	}
	if len(all) == 0 {
		return nil, errors.Join(append(errs, ctx.Err())...)
	}
	return all[:min(len(all), MaxServers)], nil
}

// maxAddrs is how many addresses of one host are tried.
const maxAddrs = 4

// interleave puts IPv6 and IPv4 addresses in turn, as the resolver's first has it (RFC
// 8305 section 4).
func interleave(ips []netip.Addr) (all []netip.Addr) {
	var first, second []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); len(first) == 0 || ip.Is4() == first[0].Is4() {
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
