package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bradawl/bradawl/turnclient"
)

// transport is a way to a server (RFC 8656 section 3.1).
type transport struct {
	name            string
	scheme, network string // of its URI
	port            uint16 // by default
}

var transports = []transport{
	{"udp", "turn", "udp", 3478},
	{"tcp", "turn", "tcp", 3478},
	{"tls", "turns", "tcp", 5349},
	{"dtls", "turns", "udp", 5349},
}

// target is a server as the user names it.
type target struct {
	text            string
	host            string
	port            uint16 // 0: the transport's
	scheme, network string // of a URI; "": any
}

func parseTarget(arg string) (target, error) {
	t := target{text: arg}
	uri := arg
	if scheme, _, ok := strings.Cut(strings.ToLower(arg), ":"); ok && (scheme == "turn" || scheme == "turns") {
		_, query, _ := strings.Cut(arg, "?")
		t.scheme, t.network = scheme, strings.TrimPrefix(query, "transport=")
	} else {
		uri = "turn:" + arg
	}
	u, err := turnclient.ParseURI(uri)
	if err != nil {
		return t, fmt.Errorf("%q is neither HOST, HOST:PORT nor a URI: %w", arg, err)
	}
	t.host, t.port = u.Host, u.Port
	return t, nil
}

// way is one transport to one address of a target.
type way struct {
	target    target
	transport string
	uri       string
	addr      netip.AddrPort
}

// family names the address family.
func (w way) family() string {
	if w.addr.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// ways are those to a target: every transport that it stands for, to the first address of
// each family.
func (o *options) ways(ctx context.Context, t target) ([]way, error) {
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(t.host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = o.lookup(ctx, "ip", t.host); err != nil {
		return nil, fmt.Errorf("%s: %w", t.text, err)
	}
	var first [2]netip.Addr // IPv4, IPv6
	for _, ip := range ips {
		ip = ip.Unmap()
		if at := &first[ip.BitLen()/128]; !at.IsValid() {
			*at = ip
		}
	}
	var all []way
	for _, tr := range transports {
		if !slices.Contains(o.transports, tr.name) || t.scheme != "" && t.scheme != tr.scheme || t.network != "" && t.network != tr.network {
			continue
		}
		port := t.port
		if port == 0 {
			port = tr.port
		}
		for _, ip := range first {
			if ip.IsValid() {
				addr := netip.AddrPortFrom(ip, port)
				all = append(all, way{t, tr.name, fmt.Sprintf("%s:%v?transport=%s", tr.scheme, addr, tr.network), addr})
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: there is no such transport here, or no address", t.text)
	}
	return all, nil
}
